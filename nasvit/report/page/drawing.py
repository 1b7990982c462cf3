"""The picture of a network: a bar for every block, from left to right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nasvit.report.page.blocks import Block

_NARROW, _WIDE, _WHOLE = 34, 54, 980
_GAP, _STAGE_GAP = 4, 10
_HIGHEST, _LOWEST, _TEXT = 110, 26, 15
_HANGING = 56  # what the largest share of the costs is drawn as


@dataclass(frozen=True)
class Bar:
    """A block as it is drawn: as high as its map is large, with its channels above and its kernel inside.

    Args:
        block: the block.
        x: left side.
        y: top.
        height: height.
        above: text above it.
        inside: lines of text inside it.
        macs: length of the bar below it that stands for its multiply-adds.
        params: the same of its parameters.
    """

    block: Block
    x: int
    y: int
    height: int
    above: str
    inside: tuple[str, ...]
    macs: float
    params: float


@dataclass(frozen=True)
class Drawing:
    """A network as it is drawn.

    Args:
        bars: its blocks from left to right.
        width: width of the picture.
        height: height of the picture.
        bar: width of a bar.
        ground: height at which the bars stand, and their costs hang.
    """

    bars: tuple[Bar, ...]
    width: int
    height: int
    bar: int
    ground: int

    @property
    def blocks(self) -> list[Block]:
        """The blocks in their order."""
        return [bar.block for bar in self.bars]


def drawing(found: Sequence[Block]) -> Drawing | None:
    """Return the picture of blocks: maps that are larger are higher bars, costs hang below them; None without any."""
    if not found:
        return None
    sides = [_side(block) for block in found]
    largest = max(math.log2(side) for side in sides) or 1.0
    most = max(max(block.macs_share, block.params_share) for block in found) or 1.0
    width = min(_WIDE, max(_NARROW, _WHOLE // max(1, len(found)) - _STAGE_GAP))
    ground, x, bars = _TEXT + _HIGHEST, _GAP, list[Bar]()
    for number, (block, side) in enumerate(zip(found, sides)):
        if number:
            x += width + (_GAP if block.stage == found[number - 1].stage else _STAGE_GAP)
        height = round(_LOWEST + (_HIGHEST - _LOWEST) * math.log2(side) / largest)
        costs = (round(_HANGING * share / most, 1) for share in (block.macs_share, block.params_share))
        bars.append(Bar(block, x, ground - height, height, _channels(block), _inside(block, height), *costs))
    return Drawing(tuple(bars), x + width + _GAP, ground + _HANGING + _GAP, width, ground)


def _channels(block: Block) -> str:
    """Return the channels of what a block returns: the first axis of a map, the last one of tokens."""
    axes = block.shape.split(" x ")
    return {1: "", 2: axes[-1]}.get(len(axes), axes[0])


def _side(block: Block) -> int:
    """Return the side of the map that a block returns, in pixels, or of one of as many tokens; 1 for class scores."""
    axes = block.shape.split(" x ")
    if len(axes) == 1 or not all(axis.isdigit() for axis in axes):
        return 1
    return max(1, math.isqrt(int(axes[0])) if len(axes) == 2 else int(axes[-1]))


def _inside(block: Block, height: int) -> tuple[str, ...]:
    """Return the few letters that there is room for: kernel, expand ratio, windows."""
    letters = {"kernel": "k", "expand": "e", "MLP": "m", "windows": "w"}
    words = [fact.partition(" ") for fact in block.facts]
    short_words = [f"{letters[name]}{size}" for name, _, size in words if name in letters]
    return tuple(short_words[: max(1, (height - 6) // 12)])
