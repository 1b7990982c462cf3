"""Network families as data: the kind and place of every block, before any width is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from nasvit.models.parts import FAMILY_BLOCKS, BlockSpec, HeadSpec, StemSpec, Widths
from nasvit.models.plan import ChannelPlan
from search_spaces import make_divisible

T = TypeVar("T")


@dataclass(frozen=True)
class Parts(Generic[T]):
    """One value for every entry of a channel plan, grouped by stem, stages and head."""

    stem: T
    stages: tuple[tuple[tuple[T, ...], ...], ...]
    head: tuple[T, ...]


@dataclass(frozen=True)
class Family:
    """A network family: everything but the width.

    Args:
        name: its name.
        source: publication.
        stem: first layers.
        stages: blocks of every stage.
        head: last layers.
        divisor: channels at other widths are rounded to multiples of it (:func:`make_divisible`); 0: rounded down.
        resolution: side of the images that the family was designed for, in pixels.
        published: channels that follow no rule: for channels at width 1 those at some widths, ``(width, channels)`` in
            ascending order; at widths between they are interpolated, and others are refused.
    """

    name: str
    source: str
    stem: StemSpec
    stages: tuple[tuple[BlockSpec, ...], ...]
    head: HeadSpec = HeadSpec()
    divisor: int = 8
    resolution: int = 224
    published: tuple[tuple[int, tuple[tuple[float, int], ...]], ...] = ()

    def blocks(self) -> Iterator[BlockSpec]:
        """Yield all blocks in order."""
        for stage in self.stages:
            yield from stage

    def decisions(self) -> tuple[str, ...]:
        """Name every entry of a channel plan."""
        names = ["stem"]
        for number, stage in enumerate(self.stages):
            for place, block in enumerate(stage):
                hidden = [f"stages.{number}.{place}.hidden{i}" for i in range(block.decisions - 1)]
                names += [*hidden, f"stages.{number}.{place}.out"]
        return (*names, *(["head"] if self.head.channels else []), *(["mix"] if self.head.mix else []))

    def split(self, values: Sequence[T]) -> Parts[T]:
        """Group one value per entry of a channel plan by stem, stages and head.

        Raises:
            ValueError: if there are too many or too few values.
        """
        expected = len(self.decisions())
        if len(values) != expected:
            raise ValueError(f"{self.name}: a channel plan has {expected} entries, got {len(values)}")
        rest = iter(values)
        stem = next(rest)
        stages = tuple(tuple(tuple(next(rest) for _ in range(b.decisions)) for b in stage) for stage in self.stages)
        return Parts(stem, stages, tuple(rest))

    def widths(self, plans: Sequence[ChannelPlan]) -> Parts[Widths]:
        """Group the channels at each switch by stem, stages and head.

        Args:
            plans: the channels at each switch.

        Raises:
            ValueError: if a plan has too many or too few entries.
        """
        for plan in plans:
            self.split(plan.channels)
        return self.split(tuple(zip(*(plan.channels for plan in plans), strict=True)))

    def fixed(self, plans: Sequence[ChannelPlan]) -> Family:
        """Return the family with fixed shortcuts and gates, so that a subset of the plans gives the same blocks.

        All plans together decide which blocks add their input, and the reduction of their gates.

        Args:
            plans: the channels at each switch.

        Raises:
            ValueError: if a plan has too many or too few entries.
        """
        parts = self.widths(plans)
        stages, widths = [], parts.stem
        for blocks, chosen in zip(self.stages, parts.stages, strict=True):
            stage = []
            for block, decided in zip(blocks, chosen, strict=True):
                stage.append(block.fixed(widths, decided))
                widths = decided[-1]
            stages.append(tuple(stage))
        return replace(self, stages=tuple(stages))

    def scaled(self, channels: float, width: float) -> int:
        """Return ``channels`` times ``width``, rounded as this family rounds, or the published channels of that width.

        Raises:
            ValueError: if the width is outside the published ones.
        """
        for listed, points in self.published:
            if listed == channels:
                return self._interpolated(points, width)
        return make_divisible(channels * width, self.divisor) if self.divisor else int(channels * width)

    def _interpolated(self, points: Sequence[tuple[float, int]], width: float) -> int:
        if not points[0][0] <= width <= points[-1][0]:
            raise ValueError(f"{self.name}: width={width}; legal: {points[0][0]} to {points[-1][0]}")
        channels = np.interp(width, [each for each, _ in points], [each for _, each in points])
        return make_divisible(float(channels), self.divisor)

    def plan(self, width: float = 1.0) -> ChannelPlan:
        """Return the channels of every layer at one width.

        Args:
            width: width multiplier.

        Raises:
            ValueError: if a layer would have no channels.
        """
        if width <= 0:
            raise ValueError(f"{self.name}: width={width}; legal: numbers above 0")
        channels = self.scaled(self.stem.channels, width)
        chosen = [channels]
        for block in self.blocks():
            out = self.scaled(block.out_channels, width)
            chosen += [*self._hidden(block, channels, out, width), out]
            channels = out
        fixed = self.head.fixed and width <= 1
        for most, kept in ((self.head.channels, self.head.kept), (self.head.mix, None)):
            if most is not None:
                chosen.append(kept or (most if fixed else self.scaled(most, width)))
        return ChannelPlan(tuple(chosen))

    def up_to(self, widest: float) -> Family:
        """Return the family for one network of several widths, whose head may be that of the widest at all of them.

        Args:
            widest: the widest of them, as a multiplier.
        """
        if not self.head.of_widest or self.head.kept is not None or widest <= 1:
            return self
        kept, _ = self.head.split(self.split(self.plan(widest).channels).head)
        return replace(self, head=replace(self.head, kept=kept))

    def width_of(self, plan: ChannelPlan) -> float | None:
        """Return the roundest width, in hundredths, that gives these channels; None if none up to 4 does.

        Args:
            plan: the channels of every layer.
        """
        steps = (100, 50, 25, 10, 5, 1)  # the roundest first: close widths can give the same channels
        hundredths = dict.fromkeys(each for step in steps for each in range(step, 401, step))
        return next((each / 100 for each in hundredths if self._gives(each / 100, plan)), None)

    def _gives(self, width: float, plan: ChannelPlan) -> bool:
        try:
            return self.plan(width) == plan
        except ValueError:  # too narrow, or not among those that were published
            return False

    def _hidden(self, block: BlockSpec, in_channels: int, out_channels: int, width: float) -> list[int]:
        if not block.widens:
            return []
        count, out_ratio = FAMILY_BLOCKS[block.kind]
        if out_ratio is not None:
            return [out_channels // out_ratio] * count
        if block.hidden is not None:
            return [self.scaled(block.hidden, width) if width != 1 else block.hidden]
        return [round(in_channels * block.expand)]

    def for_small_images(self) -> Family:
        """Return the family for 32x32 images: the stem and the next layer that would halve the size keep it."""
        stem = replace(self.stem, stride=1, pool=None, kernel_size=3)
        if self.stem.pool is not None:
            return replace(self, stem=stem, resolution=32)
        stages, halved = [], False
        for stage in self.stages:
            if not halved and stage[0].stride == 2:
                stage, halved = (replace(stage[0], stride=1), *stage[1:]), True
            stages.append(stage)
        return replace(self, stem=stem, stages=tuple(stages), resolution=32)
