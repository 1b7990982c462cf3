"""Cheaper steps for a sandwich: the largest subnet first, one other subnet a step, low resolutions first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nasvit.training.sampling import Member, Moment, Sampling


@dataclass(frozen=True)
class Savings:
    """Which members of a sandwich take part in a step, and how large their images are.

    Source: Cai et al., Once-for-All (2020), section 3.3, https://arxiv.org/abs/1908.09791, for training the largest
    subnet before the others; Tan and Le, EfficientNetV2 (2021), section 4, https://arxiv.org/abs/2104.00298, for images
    that grow.

    Args:
        largest_first: share of the steps, the first ones, in which only the first member trains.
        one_other: afterwards, whether only one of the other members takes part, each of them in turn.
        resolution_first: share of the steps, the first ones, in which no member sees larger images than the smallest
            resolution, or, where there are more than two, than one that grows.
    """

    largest_first: float = 0.0
    one_other: bool = False
    resolution_first: float = 0.0


class Saving(Sampling):
    """A rule whose steps are made cheaper; what takes part follows from the number of the step alone.

    Args:
        rule: draws architectures.
        savings: what is saved.
        resolutions: the resolutions there are, ascending.
    """

    def __init__(self, rule: Sampling, savings: Savings, resolutions: Sequence[int]) -> None:
        self.rule, self.savings, self.resolutions = rule, savings, tuple(resolutions)
        self._step, self._steps = 0, 1

    def before_step(self, moment: Moment) -> None:
        """Take note of how far the training is."""
        self.rule.before_step(moment)
        self._step, self._steps = moment.step, moment.steps

    def __call__(self, rng: np.random.Generator) -> list[Member]:
        """Return the members that take part."""
        first, *others = self.rule(rng)
        return [self._resized(member) for member in (first, *self._taking_part(others))]

    def _taking_part(self, others: list[Member]) -> list[Member]:
        if self._step < self.savings.largest_first * self._steps:
            return []
        if self.savings.one_other and others:
            return [others[self._step % len(others)]]
        return others

    def _resized(self, member: Member) -> Member:
        """Return the member at the largest resolution of the step if its own is larger."""
        first = self.savings.resolution_first * self._steps
        if self._step >= first:
            return member
        most = self.resolutions[int(self._step / first * (len(self.resolutions) - 1))]
        if member.subnet.resolution <= most:
            return member
        return replace(member, subnet=replace(member.subnet, resolution=most))
