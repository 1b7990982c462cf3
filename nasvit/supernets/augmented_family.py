"""NetAug: a tiny network trained as part of wider ones that share its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nasvit.elastic.batch_norm import ANY, ElasticBatchNorm2d
from nasvit.elastic.initialization import initialize
from nasvit.elastic.norms import shared_norm
from nasvit.elastic.registry import KINDS
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.calibration import calibrate
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.parts import FAMILY_BLOCKS
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.factors import checked_factors
from nasvit.supernets.planned import PlannedNetwork
from nasvit.supernets.shared_network import independent
from search_spaces import make_divisible

RATIO_MARGIN = 1e-10  # keeps a ratio that is rounded down in floating point from losing a channel


class AugmentedNetwork(PlannedNetwork):
    """A tiny network inside wider ones: it has their first channels, and trains with one of them a step.

    ``network.at(network.base)`` is the tiny network, ``network.at(network.sample(generator))`` an augmented one; both
    are ordinary modules whose backward pass adds to the same gradients. Batch norms, statistics included, are shared,
    so the tiny network's statistics are to be taken by :meth:`calibrate` before it evaluates.

    Weights start as PyTorch starts them (``initialize(..., fan="in")``), as in the release.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), https://arxiv.org/abs/2110.08890; released
    code.

    Args:
        family: the tiny network, which is the family at width 1.
        classes: number of classes.
        width: factors on the channels of the stem, of every block that may change them, and of the head.
        expand: factors on the expand ratio of every block (in ResNets: on the hidden channels over those in).
        seed: seed of the initial weights.
        image_channels: channels of the images.

    Raises:
        ValueError: if factors are missing or the least is not 1, or the family has grouped blocks.
    """

    base: ChannelPlan
    """The channels of the tiny network."""

    def __init__(
        self,
        family: Family,
        classes: int,
        *,
        width: Sequence[float] = (1.0, 1.8, 2.6),
        expand: Sequence[float] = (1.0, 1.6, 2.2, 2.8),
        seed: int = 0,
        image_channels: int = 3,
    ) -> None:
        width, expand = checked_factors("width", width), checked_factors("expand", expand)
        for block in family.blocks():
            if KINDS[block.kind].tied:
                legal = ", ".join(kind for kind in FAMILY_BLOCKS if not KINDS[kind].tied)
                raise ValueError(
                    f"{family.name} has {block.kind} blocks, whose groups tie channels together; legal are families "
                    f"of {legal} blocks"
                )
        base = family.plan()
        super().__init__(
            family,
            (base, _largest(family, base, max(width), max(expand))),
            classes,
            norm=shared_norm,
            head_norm=shared_norm,
            seed=seed,
            image_channels=image_channels,
        )
        self.width, self.expand, self.base = width, expand, base
        initialize(self, seed, fan="in")

    def at(self, plan: ChannelPlan) -> Network:
        """Return the network of a plan as a plain network that shares this one's weights.

        Args:
            plan: :attr:`base`, :attr:`largest_plan`, a plan from :meth:`sample`, or any other that fits.

        Raises:
            ValueError: if the plan does not fit.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        return self.network_at(plan, ANY)

    def extract(self, plan: ChannelPlan | None = None, calibration: Iterable[Tensor] | None = None) -> Network:
        """Return an independent copy of the tiny network, or of that of a plan.

        Args:
            plan: the channels; those of the tiny network if left out.
            calibration: batches of images to take batch-norm statistics from, for this copy alone.
        """
        return independent(self.at(self.base if plan is None else plan), calibration)

    def sample(self, generator: torch.Generator, *, widths: bool = True, expands: bool = True) -> ChannelPlan:
        """Draw the channels of an augmented network: one factor for each layer by itself.

        Args:
            generator: the source of randomness.
            widths: augment widths; otherwise they are the tiny network's.
            expands: augment expand ratios; otherwise they are the tiny network's.
        """

        def draw(factors: tuple[float, ...], augment: bool) -> float:
            return factors[int(torch.randint(len(factors), (1,), generator=generator))] if augment else 1.0

        base = self.family.split(self.base.channels)
        channels, base_channels = _widened(base.stem, draw(self.width, widths)), base.stem
        chosen = [channels]
        for keeps, own in self._blocks():
            out = channels if keeps else _widened(own[-1], draw(self.width, widths))
            for hidden in own[:-1]:
                ratio = expand_ratio(hidden, base_channels, draw(self.expand, expands))
                chosen.append(make_divisible(ratio * channels, 1))
            chosen.append(out)
            channels, base_channels = out, own[-1]
        return ChannelPlan((*chosen, *(_widened(each, draw(self.width, widths)) for each in base.head)))

    def _blocks(self) -> Iterator[tuple[bool, tuple[int, ...]]]:
        """Yield for every block whether it keeps its channels, and its hidden channels and channels out when tiny."""
        base = self.family.split(self.base.channels)
        for stage, chosen in zip(self.fixed_family.stages, base.stages, strict=True):
            for block, own in zip(stage, chosen, strict=True):
                yield bool(block.shortcut), own

    def calibrate(self, batches: Iterable[Tensor], plan: ChannelPlan | None = None) -> None:
        """Take new batch-norm statistics for the tiny network, or that of a plan, and store them.

        Args:
            batches: images of equal numbers, each of shape ``(batch, channels, height, width)``.
            plan: the channels; those of the tiny network if left out.

        Raises:
            ValueError: if there are no batches.
        """
        network = self.at(self.base if plan is None else plan)
        calibrate(network, batches, unbiased=False)
        own = dict(self.named_modules())
        for name, module in network.named_modules():
            if isinstance(module, BatchNorm2d):
                shared = own[name]
                assert isinstance(shared, ElasticBatchNorm2d)
                for statistic in ("running_mean", "running_var"):
                    shared._buffers[statistic][: module.num_features].copy_(getattr(module, statistic))  # type: ignore[index]


def expand_ratio(hidden: int, in_channels: int, factor: float) -> float:
    """Return the expand ratio of an augmented block, from the tiny block's channels."""
    return (hidden / in_channels + RATIO_MARGIN) * factor


def _widened(channels: int, factor: float) -> int:
    return make_divisible(channels * factor, 1)


def _largest(family: Family, base: ChannelPlan, width: float, expand: float) -> ChannelPlan:
    parts = family.split(base.channels)
    chosen, channels = [_widened(parts.stem, width)], parts.stem
    for stage in parts.stages:
        for own in stage:
            wide = _widened(channels, width)
            chosen += [make_divisible(wide * expand_ratio(hidden, channels, expand), 1) for hidden in own[:-1]]
            channels = own[-1]
            chosen.append(_widened(channels, width))
    return ChannelPlan((*chosen, *(_widened(each, width) for each in parts.head)))
