"""Network families as data: what kinds of blocks stand where, before any width is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from nasvit.models.plan import ChannelPlan
from search_spaces import make_divisible

T = TypeVar("T")
Widths = tuple[int, ...]
SMALLEST_SQUEEZE = 16


FAMILY_BLOCKS: dict[str, tuple[int, int | None]] = {
    "inverted": (1, None),
    "basic": (1, 1),
    "bottleneck": (2, 4),
    "shuffle": (1, 4),
    "split_shuffle": (1, 2),
}
"""For every kind of block of families, how many hidden layers it has, and its channels out over the hidden ones.

None: every block says the hidden ones itself, by ``expand`` or ``hidden``. What the kinds are is said in
:mod:`nasvit.elastic.registry`.
"""


@dataclass(frozen=True)
class BlockSpec:
    """One block.

    Args:
        kind: a key of :data:`FAMILY_BLOCKS`. "inverted": widen, convolve each channel, narrow (MobileNetV2; at
            ``expand=1`` nothing is widened). "bottleneck", "basic": the two blocks of ResNet. "shuffle": the grouped
            block of ShuffleNet v1. "split_shuffle": the block of ShuffleNet v2, of which half of the channels pass.
        out_channels: channels out at width 1.
        stride: stride, in pixels.
        kernel_size: side of the middle kernel, in pixels.
        expand: hidden channels of an inverted block over its channels in.
        hidden: hidden channels at width 1, where they are no multiple of the channels in.
        act: name of the activation.
        out_act: name of the activation after the last layer of an inverted block, or None.
        squeeze_excite: whether an inverted block has a gate on its hidden channels.
        reduction: hidden channels over squeezed ones in that gate; None: that of MobileNetV3 at the narrowest width.
        groups: groups of a shuffle block.
        split_input: whether each group of a shuffle block's first layer gets its share of the input or all of it.
        shortcut: whether the block adds its input; None: if it keeps size and, at every width, channels.
    """

    kind: str
    out_channels: int
    stride: int = 1
    kernel_size: int = 3
    expand: float = 1
    hidden: int | None = None
    act: str = "relu6"
    out_act: str | None = None
    squeeze_excite: bool = False
    reduction: float | None = None
    groups: int = 1
    split_input: bool = True
    shortcut: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAMILY_BLOCKS:
            raise ValueError(f"a block of kind {self.kind!r} is unknown; legal: {', '.join(FAMILY_BLOCKS)}")

    @property
    def widens(self) -> bool:
        """Whether the hidden channels of this block are a decision of their own."""
        return FAMILY_BLOCKS[self.kind][1] is not None or self.expand != 1 or self.hidden is not None

    @property
    def decisions(self) -> int:
        """How many entries of a channel plan belong to this block; the last is its channels out."""
        return 1 + (FAMILY_BLOCKS[self.kind][0] if self.widens else 0)

    def squeeze_channels(self, hidden: int) -> int:
        """Return the squeezed channels of the gate for so many hidden ones, once the reduction is fixed."""
        assert self.reduction is not None, "Family.fixed decides it"
        return make_divisible(max(hidden / self.reduction, SMALLEST_SQUEEZE), 1)

    def fixed(self, in_widths: Widths, widths: tuple[Widths, ...]) -> BlockSpec:
        """Return the block with what its channels at all switches decide written down: shortcut and reduction.

        Args:
            in_widths: channels in at each switch.
            widths: hidden channels and channels out at each switch, one entry a decision.
        """
        same = self.stride == 1 and in_widths == widths[-1]
        reduction = self.reduction
        if not self.squeeze_excite:
            reduction = None
        elif reduction is None:
            hidden = widths[0] if self.widens else in_widths
            reduction = _reduction(min(hidden), max(hidden))
        return replace(self, shortcut=same if self.shortcut is None else self.shortcut, reduction=reduction)


def _reduction(least: int, most: int) -> float:
    """Return hidden over squeezed channels: every width in the proportion of the narrowest, that of MobileNetV3."""
    proportion = least / max(make_divisible(least / 4, 8), SMALLEST_SQUEEZE) + 1e-10
    return most / max(round(most / proportion), SMALLEST_SQUEEZE)


@dataclass(frozen=True)
class StemSpec:
    """First layers: a convolution and perhaps max-pooling.

    Args:
        channels: channels out at width 1.
        kernel_size: side of the kernel, in pixels.
        stride: stride, in pixels.
        act: name of the activation.
        pool: side of the max-pooled squares (stride 2), or None.
        pool_padding: padding of the max-pooling, in pixels.
        groups: the channels out come from so many convolutions (each group of the blocks then keeps its own first).
    """

    channels: int
    kernel_size: int = 3
    stride: int = 2
    act: str = "relu6"
    pool: int | None = None
    pool_padding: int = 1
    groups: int = 1


@dataclass(frozen=True)
class HeadSpec:
    """Last layers.

    Args:
        channels: channels of a 1x1 convolution before pooling, or None for none.
        mix: channels of a 1x1 convolution after pooling, or None for none.
        act: name of their activation.
        fixed: the channels stay at widths below 1, and one batch norm serves all switches.
    """

    channels: int | None = None
    mix: int | None = None
    act: str = "relu6"
    fixed: bool = False

    def split(self, values: Sequence[T]) -> tuple[T | None, T | None]:
        """Return which of the head's values belongs to the convolution before pooling and which to that after it."""
        rest = iter(values)
        return (None if self.channels is None else next(rest), None if self.mix is None else next(rest))


@dataclass(frozen=True)
class Parts(Generic[T]):
    """Something for every decision of a plan, sorted by where it belongs."""

    stem: T
    stages: tuple[tuple[tuple[T, ...], ...], ...]
    head: tuple[T, ...]


@dataclass(frozen=True)
class Family:
    """A network family: everything but the width.

    Args:
        name: its name.
        source: where it was published.
        stem: first layers.
        stages: blocks of every stage.
        head: last layers.
        divisor: channels at other widths are rounded to multiples of it (:func:`make_divisible`); 0: rounded down.
        resolution: side of the images it was made for, in pixels.
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
        """Sort one value a decision by where it belongs.

        Raises:
            ValueError: if there are too many or too few.
        """
        expected = len(self.decisions())
        if len(values) != expected:
            raise ValueError(f"{self.name}: a channel plan has {expected} entries, got {len(values)}")
        rest = iter(values)
        stem = next(rest)
        stages = tuple(tuple(tuple(next(rest) for _ in range(b.decisions)) for b in stage) for stage in self.stages)
        return Parts(stem, stages, tuple(rest))

    def widths(self, plans: Sequence[ChannelPlan]) -> Parts[Widths]:
        """Sort the channels at each switch by where they belong.

        Args:
            plans: the channels at each switch.

        Raises:
            ValueError: if a plan has too many or too few entries.
        """
        for plan in plans:
            self.split(plan.channels)
        return self.split(tuple(zip(*(plan.channels for plan in plans), strict=True)))

    def fixed(self, plans: Sequence[ChannelPlan]) -> Family:
        """Return the family with what followed from the plans written down, so that fewer plans change nothing.

        Which blocks add their input, and how far gates squeeze, is decided by all plans together.

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
        """Return ``channels`` times ``width``, rounded as this family rounds, or what was published for that width.

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
        for most in (self.head.channels, self.head.mix):
            if most is not None:
                chosen.append(most if fixed else self.scaled(most, width))
        return ChannelPlan(tuple(chosen))

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
        """Return the form for 32x32 images: the stem keeps the size, and so does the next layer that would halve it."""
        stem = replace(self.stem, stride=1, pool=None, kernel_size=3)
        if self.stem.pool is not None:
            return replace(self, stem=stem, resolution=32)
        stages, halved = [], False
        for stage in self.stages:
            if not halved and stage[0].stride == 2:
                stage, halved = (replace(stage[0], stride=1), *stage[1:]), True
            stages.append(stage)
        return replace(self, stem=stem, stages=tuple(stages), resolution=32)
