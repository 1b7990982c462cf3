"""Costs of the subnets of a space as backbones with a head, at any size of images."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from nasvit.costs.blocks import meta_block
from nasvit.costs.counting import BYTES, Cost, count_on_meta
from nasvit.heads.alone import HeadAlone
from nasvit.heads.head import Head, Size
from predictors.blocks import BlockKey, Blocks, block_parts
from predictors.cost import CostTable, Integers, Part, integers
from search_spaces import Space
from search_spaces.values import FieldError

SizedBlock: TypeAlias = "tuple[BlockKey, Size, int]"
"""A block, height and width of the map that comes in, and how often it runs."""

Channels: TypeAlias = "tuple[int, ...]"
"""Channels of every map that a head reads, finest map first."""


_SUMMED = ("macs", "params", "int8_size")
"""The costs that are sums; activation memory is the most that is alive at once."""


def tapped(space: Space, strides: Sequence[int]) -> tuple[int, ...]:
    """Return the number of the stage whose map a head reads, the last one, of every stride.

    Raises:
        FieldError: if the space has none of a stride.
    """
    last: dict[int, int] = {}
    reached = space.stem.stride
    for number, stage in enumerate(space.stages):
        reached *= stage.stride
        last[reached] = number
    missing = [stride for stride in strides if stride not in last]
    if missing:
        legal = ", ".join(map(str, last))
        raise FieldError(["head", "strides"], f"{missing[0]} is no stride of {space.name}'s stages; legal: {legal}")
    return tuple(last[stride] for stride in strides)


def as_backbones(space: Space, head: Head) -> Space:
    """Return the space of the backbones of a head: of one resolution, without what lies behind the maps it reads.

    Images are of one size, whatever the space says; its largest resolution only says how large the tables of positions
    are, from which others are interpolated.

    Raises:
        FieldError: if the space has no map of a stride of the head.
    """
    stages = space.stages[: max(tapped(space, head.strides)) + 1]
    ends = replace(space.head, width=space.head.width[:1])
    return replace(space, resolution=space.resolution[-1:], stages=stages, head=ends)


@dataclass(frozen=True)
class SizedPart:
    """The stem or a stage of backbones, in images of a certain size, for every combination of the genes it depends on.

    Args:
        columns: the population columns of those genes.
        shape: how many values each of them has.
        combinations: the blocks of every combination, the last gene fastest.
        stage: number of the stage; -1 for the stem.
        first: whether the first block of the stage is among them.
    """

    columns: tuple[int, ...]
    shape: tuple[int, ...]
    combinations: tuple[tuple[SizedBlock, ...], ...]
    stage: int
    first: bool


def sized_parts(space: Space, size: Size) -> list[SizedPart]:
    """Return the stem and the stages of a space of backbones.

    Args:
        space: what :func:`as_backbones` returned.
        size: height and width of the images.
    """
    maps, parts = _map_sizes(space, size), []
    for part in block_parts(space)[:-1]:
        sides = maps[part.stage + 1 :] if part.first else maps[part.stage + 2 :]
        sized = tuple(_sized(blocks, sides) for blocks in part.combinations)
        parts.append(SizedPart(part.columns, part.shape, sized, part.stage, part.first))
    return parts


def _sized(blocks: Blocks, sides: Sequence[Size]) -> tuple[SizedBlock, ...]:
    """Return blocks with the maps that come in: that of the first one, and that which it makes for the others."""
    return tuple((block, side, times) for (block, times), side in zip(blocks, sides))


def _map_sizes(space: Space, size: Size) -> list[Size]:
    """Return height and width of the image, and of the maps after the stem and after every stage."""
    height, width = size
    return [size, *zip(space.feature_sizes(height), space.feature_sizes(width), strict=True)]


@dataclass(frozen=True)
class TakenMap:
    """A map that a head reads of every subnet.

    Args:
        stage: number of the stage that makes it.
        size: its height and width.
        widths: the channels that it can have.
        columns: the population column of the gene that decides which; empty if there is no choice.
    """

    stage: int
    size: Size
    widths: tuple[int, ...]
    columns: tuple[int, ...]

    def bytes(self, width: int) -> int:
        """Return the bytes of the map with so many channels."""
        return BYTES * width * math.prod(self.size)


def taken_maps(space: Space, head: Head, size: Size) -> list[TakenMap]:
    """Return the maps that a head reads, finest first; arguments as in :func:`dense_cost_table`."""
    sizes, found = _map_sizes(space, size), []
    for number in tapped(space, head.strides):
        stage = space.stages[number]
        gene = f"width.{stage.name}"
        columns = (space.genome.column(gene),) if gene in space.genome.names else ()
        found.append(TakenMap(number, sizes[number + 2], stage.width, columns))
    return found


def head_alone(head: Head, maps: Sequence[TakenMap], channels: Channels, classes: int, size: Size) -> HeadAlone:
    """Return a head of maps with so many channels."""
    shapes = [(own, *each.size) for own, each in zip(channels, maps, strict=True)]
    return HeadAlone(head.build(channels, classes).eval(), shapes, size)


def narrowest(maps: Sequence[TakenMap]) -> Channels:
    """Return the fewest channels that the maps have."""
    return tuple(min(each.widths) for each in maps)


def one_by_one(maps: Sequence[TakenMap]) -> list[list[Channels]]:
    """Return for every map each width that it has, beside the others at their narrowest.

    No layer of a head reads two maps of the backbone, so that what it takes is a sum over them.
    """
    least = narrowest(maps)
    return [[(*least[:at], width, *least[at + 1 :]) for width in each.widths] for at, each in enumerate(maps)]


@functools.lru_cache(maxsize=8)
def dense_cost_table(space: Space, head: Head, classes: int, size: Size) -> CostTable:
    """Return what every subnet of a space costs with a head.

    Args:
        space: what :func:`as_backbones` returned for the head.
        head: the head.
        classes: number of classes.
        size: height and width of the images.
    """
    maps = taken_maps(space, head, size)
    image = BYTES * space.image_channels * math.prod(size)
    parts = [_part(space, part, maps, image) for part in sized_parts(space, size)]
    return CostTable([*parts, _head_part(maps, head, classes, size, image)], len(space.genome))


def _part(space: Space, part: SizedPart, maps: Sequence[TakenMap], image: int) -> Part:
    """Return the costs of a stage, or of the stem, number -1.

    While it runs, the image is alive and every map that was taken; that of the stage before comes into its first block,
    which counts it itself, as the stem does the image.
    """
    last = part.stage - part.first  # the map of this stage comes into the part
    earlier = [each for each in maps if each.stage < last]
    before = next((each for each in maps if part.first and each.stage == last), None)
    rows: list[tuple[int, ...]] = []
    for blocks in part.combinations:
        costs = [(_count(space, block, size), times) for block, size, times in blocks]
        taken = 0 if before is None else before.bytes(blocks[0][0].in_channels)
        memory = max((cost.memory + (taken if number else 0) for number, (cost, _) in enumerate(costs)), default=0)
        sums = [sum(times * getattr(cost, name) for cost, times in costs) for name in _SUMMED]
        rows.append((*sums, memory if part.stage < 0 else memory + image))
    tables = (integers(column).reshape(part.shape) for column in zip(*rows, strict=True))
    own = dict(zip((*_SUMMED, "memory"), tables, strict=True))
    held = _over(earlier, [[each.bytes(width) for width in each.widths] for each in earlier])
    beside = {name: held if name == "memory" else np.zeros_like(held) for name in own}
    return Part((*part.columns, *_columns(earlier)), **{name: np.add.outer(own[name], beside[name]) for name in own})


def _head_part(maps: Sequence[TakenMap], head: Head, classes: int, size: Size, image: int) -> Part:
    """Return the costs of the head. While it runs, the image is alive and every map."""

    @functools.cache
    def count(channels: Channels) -> Cost:
        with torch.device("meta"):
            alone = head_alone(head, maps, channels, classes, size)
        cost = count_on_meta(alone, torch.empty(1, alone.numbers, device="meta"))
        return replace(cost, memory=cost.memory - BYTES * alone.numbers)

    least, most = narrowest(maps), tuple(max(each.widths) for each in maps)
    tables = {}
    for name in _SUMMED:
        base = getattr(count(least), name)
        effects = [[getattr(count(channels), name) - base for channels in each] for each in one_by_one(maps)]
        tables[name] = base + _over(maps, effects)
    held = _over(maps, [[each.bytes(width) for width in each.widths] for each in maps])
    # Wider maps need no less. So where the ends are equal, as of heads that read maps by convolutions alone, all are.
    same = count(least).memory == count(most).memory
    every = [least] if same else list(itertools.product(*(each.widths for each in maps)))
    memory = integers([count(channels).memory for channels in every])
    return Part(_columns(maps), **tables, memory=image + held + memory.reshape(() if same else held.shape))


def _columns(maps: Sequence[TakenMap]) -> tuple[int, ...]:
    return tuple(column for each in maps for column in each.columns)


def _over(maps: Sequence[TakenMap], values: Sequence[ArrayLike]) -> Integers:
    """Return sums of a value for each width of every map, one axis for every map that has a choice."""
    total: Integers = functools.reduce(np.add.outer, map(np.asarray, values), np.zeros((), dtype=np.int64))
    return total.reshape([len(each.widths) for each in maps if each.columns])


@functools.lru_cache(maxsize=4096)
def _count(space: Space, block: BlockKey, size: Size) -> Cost:
    x = torch.empty(1, block.in_channels, *size, device="meta")
    return count_on_meta(meta_block(space, block, classes=1), x)
