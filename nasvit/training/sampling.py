"""Sampling rules of all shared networks: the subnets of a training step, and the weights of their losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from nasvit.any_network.augmented import AugmentedModel
from nasvit.dense.shared import DenseAugmented
from nasvit.supernets.augment import Augmented
from nasvit.supernets.sorting import sort_channels
from nasvit.supernets.widths import Slimmable
from search_spaces import SearchSpace, Subnet
from search_spaces.genome import Population
from search_spaces.ranges import Checked, Share


class Moment(Protocol):
    """State of a training before a step, with the optimizer and averages that sorting of channels must follow."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def steps(self) -> int:
        """Steps of the whole training."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the images."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, whose moments belong to the weights."""

    @property
    def averages(self) -> list[Any]:
        """Networks that follow the weights, such as a moving average."""


@dataclass(frozen=True)
class Member:
    """One subnet of a training step.

    Args:
        subnet: argument of the shared network's ``at``: an architecture, a width, a channel plan.
        weight: weight of its loss.
        regularized: whether the recipe's dropout and stochastic depth act on it.
        name: name of its loss in the log, ``loss_NAME``; empty: not logged.
        fixed: whether it takes part in every step, so that it is worth compiling.
    """

    subnet: Any
    weight: float = 1.0
    regularized: bool = False
    name: str = ""
    fixed: bool = False


class Sampling:
    """Draws the subnets of every step. A rule defines ``__call__``."""

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the subnets of one step; the first one learns from the targets and may teach the others."""
        raise NotImplementedError

    def before_step(self, moment: Moment) -> None:
        """Prepare a step, by sorting channels for example; a function of step, seed and state alone."""


@dataclass(frozen=True)
class Alone(Sampling):
    """The rule of a plain network, which has no subnets."""

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the network as the only member."""
        return [Member(None, regularized=True, fixed=True)]


@dataclass(frozen=True, eq=False)
class Family:
    """The subnets that a sandwich is made of where they are not those of a whole space.

    Args:
        largest: the subnet that learns from the targets and teaches the others.
        smallest: the one that takes part in every step too.
        space: the space that the pools belong to.
        pools: populations to draw from, each as often as every other one: those within one budget, for example.
    """

    largest: Subnet
    smallest: Subnet
    space: SearchSpace
    pools: tuple[Population, ...]

    def sample(self, count: int, rng: np.random.Generator) -> list[Subnet]:
        """Draw subnets, uniformly from a pool that is drawn first."""
        pools = [self.pools[number] for number in rng.integers(len(self.pools), size=count)]
        rows = [pool[rng.integers(len(pool))] for pool in pools]
        return self.space.decode(np.stack(rows)) if rows else []


@dataclass(frozen=True)
class Sandwich(Sampling):
    """The sandwich rule: the largest subnet, the smallest, and some at random.

    Source: Yu and Huang, Universally Slimmable Networks (2019), section 3.2, https://arxiv.org/abs/1903.05134

    Args:
        space: the space to draw subnets from.
        random: number of subnets drawn per step.
        smallest: whether the smallest subnet takes part.
        family: the subnets that take part instead of those of the space.
    """

    space: SearchSpace
    random: int = 2
    smallest: bool = True
    family: Family | None = None

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the subnets of one step, the largest first."""
        ends = self.space if self.family is None else self.family
        least = [Member(ends.smallest, name="smallest", fixed=True)] if self.smallest else []
        return [Member(ends.largest, regularized=True, fixed=True), *least, *map(Member, self._drawn(rng))]

    def _drawn(self, rng: np.random.Generator) -> Sequence[Subnet]:
        if not self.random:
            return ()
        if self.family is not None:
            return self.family.sample(self.random, rng)
        return self.space.decode(self.space.genome.sample(self.random, rng))


class AllSwitches(Sampling):
    """Every switch takes part in every step, the largest first.

    Source: Yu et al., Slimmable Neural Networks (2019), algorithm 1, https://arxiv.org/abs/1812.08928

    Args:
        network: the network with the switches.
    """

    def __init__(self, network: Slimmable[Any]) -> None:
        widths = sorted(network.widths, key=network.channels, reverse=True)
        self.members = [
            Member(width, regularized=number == 0, name=_name(width) if number else "", fixed=True)
            for number, width in enumerate(widths)
        ]

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the widths of one step; nothing is drawn."""
        return self.members


def _name(width: Any) -> str:
    return str(width) if isinstance(width, (int, float)) else width.key


@dataclass(frozen=True)
class RandomWidths(Sampling):
    """The sandwich rule: the largest width, the smallest, and some at random between them.

    Source: Yu and Huang, Universally Slimmable Networks (2019), section 3.2, https://arxiv.org/abs/1903.05134

    Args:
        smallest: width multiplier.
        largest: width multiplier.
        random: number of widths drawn per step.
        gaps: open intervals that no width is drawn from, ``(low, high)`` each.

    Raises:
        ValueError: if the widths are not in order, or nothing is left to draw from.
    """

    smallest: float
    largest: float
    random: int = 2
    gaps: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.smallest < self.largest:
            raise ValueError(f"widths {self.smallest}..{self.largest}; legal: 0 < smallest < largest")
        reached = self.smallest
        for low, high in sorted(self.gaps):
            reached = max(reached, high) if low <= reached else reached
        if reached >= self.largest:
            raise ValueError(f"gaps {self.gaps} leave nothing of the widths {self.smallest}..{self.largest} to draw")

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the widths of one step, the largest first."""
        drawn = (Member(self._draw(rng)) for _ in range(self.random))
        ends = (
            Member(self.largest, regularized=True, fixed=True),
            Member(self.smallest, name=str(self.smallest), fixed=True),
        )
        return [*ends, *drawn]

    def _draw(self, rng: np.random.Generator) -> float:
        while True:
            width = float(rng.uniform(self.smallest, self.largest))
            if not any(low < width < high for low, high in self.gaps):
                return width


@dataclass(frozen=True)
class Phases(Checked):
    """Phases of a NetAug training.

    Args:
        widths: share of the training in which widths are augmented too; afterwards only expand ratios are.
        sort: sort channels by importance at the start of every epoch in which widths are augmented.

    Raises:
        ValueError: if the share is not from 0 to 1.

    Source: Cai et al. (2022), released code: the widths stop after half of the epochs.
    """

    widths: Share = 0.5
    sort: bool = True


class NetAug(Sampling):
    """A tiny network, and one of the wider ones that hold it.

    The augmented network of a step follows from the trainer's seed and the number of the step.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), section 3.2, https://arxiv.org/abs/2110.08890

    Args:
        network: the augmented network.
        weight: weight of the wider network's loss; the release has 1.
        phases: when widths are augmented and channels sorted.
    """

    def __init__(
        self, network: Augmented | AugmentedModel | DenseAugmented, weight: float = 1.0, phases: Phases = Phases()
    ) -> None:
        self.network, self.weight, self.phases = network, weight, phases
        self.augments_widths = True

    def before_step(self, moment: Moment) -> None:
        """Choose the phase of the coming step; at the start of an epoch sort channels, moments and averages."""
        self.augments_widths = moment.step < self.phases.widths * moment.steps
        if self.phases.sort and self.augments_widths and moment.step % moment.steps_per_epoch == 0:
            sort_channels(self.network, [moment.optimizer], moment.averages)

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the tiny network and an augmented one."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        drawn = self.network.sample(generator, widths=self.augments_widths)
        return [
            Member(self.network.base, regularized=True, fixed=True),
            Member(drawn, self.weight, regularized=True, name="augmented"),
        ]
