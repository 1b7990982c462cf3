"""The parts of a network family as data: blocks, stem and head, before any width is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

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
"""For every kind of block of families, the number of hidden layers, and channels out over hidden channels.

None: every block gives its hidden channels itself, by ``expand`` or ``hidden``. :mod:`nasvit.elastic.registry` holds
the classes of the kinds.
"""


@dataclass(frozen=True)
class BlockSpec:
    """One block of a family.

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
        """Number of entries of a channel plan that belong to this block; the last is its channels out."""
        return 1 + (FAMILY_BLOCKS[self.kind][0] if self.widens else 0)

    def squeeze_channels(self, hidden: int) -> int:
        """Return the squeezed channels of the gate for a number of hidden channels, once the reduction is fixed."""
        assert self.reduction is not None, "Family.fixed decides it"
        return make_divisible(max(hidden / self.reduction, SMALLEST_SQUEEZE), 1)

    def fixed(self, in_widths: Widths, widths: tuple[Widths, ...]) -> BlockSpec:
        """Return the block with fixed shortcut and reduction, which its channels at all switches decide.

        Args:
            in_widths: channels in at each switch.
            widths: hidden channels and channels out at each switch, one entry per decision.
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
    """First layers of a family: a convolution and perhaps max-pooling.

    Args:
        channels: channels out at width 1.
        kernel_size: side of the kernel, in pixels.
        stride: stride, in pixels.
        act: name of the activation.
        pool: side of the max-pooled squares (stride 2), or None.
        pool_padding: padding of the max-pooling, in pixels.
        groups: number of convolutions side by side (each group of the blocks then keeps its own first channels).
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
    """Last layers of a family.

    Args:
        channels: channels of a 1x1 convolution before pooling, or None for none.
        mix: channels of a 1x1 convolution after pooling, or None for none.
        act: name of their activation.
        fixed: the channels stay at widths below 1, and one batch norm serves all switches.
        of_widest: in a network of several widths all of them have the channels of the widest one.
        kept: channels that the first convolution has at every width; None: they follow the width.
    """

    channels: int | None = None
    mix: int | None = None
    act: str = "relu6"
    fixed: bool = False
    of_widest: bool = False
    kept: int | None = None

    def split(self, values: Sequence[T]) -> tuple[T | None, T | None]:
        """Return the value of the convolution before pooling and that of the one after it, None where there is none."""
        rest = iter(values)
        return (None if self.channels is None else next(rest), None if self.mix is None else next(rest))
