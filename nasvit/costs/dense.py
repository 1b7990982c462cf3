"""Costs of the subnets of a space as backbones with a head, at any size of images."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.costs.blocks import meta_block
from nasvit.costs.counting import Cost, count_on_meta
from nasvit.heads.head import Head, Size
from predictors.blocks import BlockKey, Blocks, block_parts
from predictors.cost import CostTable, Integers, Part, integers
from search_spaces import Space
from search_spaces.values import FieldError

SUMMED = ("macs", "params", "int8_size")
"""The costs that are known of a network with a head. Its activation memory is no maximum over blocks: the head reads
maps that stay alive while later blocks run."""


@dataclass(frozen=True)
class Taps:
    """The stages of a space whose maps a head reads.

    Args:
        stages: number of the stage of every map, finest map first.
    """

    stages: tuple[int, ...]

    @classmethod
    def of(cls, space: Space, strides: Sequence[int]) -> Taps:
        """Find the last stage of every stride.

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
        return cls(tuple(last[stride] for stride in strides))


def as_backbones(space: Space, head: Head) -> Space:
    """Return the space of the backbones of a head: of one resolution, without what lies behind the maps it reads.

    Images are of one size, whatever the space says; its largest resolution only says how large the tables of positions
    are, from which others are interpolated.

    Raises:
        FieldError: if the space has no map of a stride of the head.
    """
    stages = space.stages[: max(Taps.of(space, head.strides).stages) + 1]
    ends = replace(space.head, width=space.head.width[:1])
    return replace(space, resolution=space.resolution[-1:], stages=stages, head=ends)


@functools.lru_cache(maxsize=8)
def dense_cost_table(space: Space, head: Head, classes: int, size: Size) -> CostTable:
    """Return what every subnet of a space costs with a head: of its stages those that the head needs.

    Args:
        space: the search space, of one resolution.
        head: the head.
        classes: number of classes.
        size: height and width of the images.
    """
    taps = Taps.of(space, head.strides)
    stem, *stages, _ = block_parts(space)
    used = [stem, *stages[: max(taps.stages) + 1]]
    sides = _sides(space, size)
    parts = []
    for part, before, after in zip(used, sides, sides[1:]):
        at = {after.side: after.size} | {before.side: before.size}
        costs = {key: _count(space, key, at[key.side]) for blocks in part.combinations for key, _ in blocks}
        tables = {name: _summed(part.combinations, costs, name).reshape(part.shape) for name in SUMMED}
        parts.append(_part(part.columns, tables))
    return CostTable([*parts, *_head_parts(space, taps, head, classes, size)], len(space.genome))


@dataclass(frozen=True)
class _Side:
    """A map: its side at the space's resolution, and its height and width in images of another size."""

    side: int
    size: Size


def _sides(space: Space, size: Size) -> list[_Side]:
    """Return the image and the maps after the stem and after every stage."""
    (resolution,) = space.resolution
    chains = [(each, *space.feature_sizes(each)) for each in (resolution, *size)]
    return [_Side(side, (height, width)) for side, height, width in zip(*chains, strict=True)]


@functools.lru_cache(maxsize=4096)
def _count(space: Space, block: BlockKey, size: Size) -> Cost:
    x = torch.empty(1, block.in_channels, *size, device="meta")
    return count_on_meta(meta_block(space, block, classes=1), x)


def _summed(combinations: Sequence[Blocks], costs: Mapping[BlockKey, Cost], name: str) -> Integers:
    return integers([sum(times * getattr(costs[key], name) for key, times in blocks) for blocks in combinations])


def _part(columns: tuple[int, ...], tables: Mapping[str, Integers]) -> Part:
    return Part(columns, memory=np.zeros_like(tables["macs"]), **tables)


def _head_parts(space: Space, taps: Taps, head: Head, classes: int, size: Size) -> list[Part]:
    """Return the head's costs, which are the sum of a constant and of one number for the width of every map."""
    choices = [space.stages[stage].width for stage in taps.stages]
    least = tuple(min(each) for each in choices)
    smallest = _count_head(head, least, classes, size)
    parts = [_part((), {name: np.array(getattr(smallest, name), dtype=np.int64) for name in SUMMED})]
    for place, (stage, widths) in enumerate(zip(taps.stages, choices, strict=True)):
        gene = f"width.{space.stages[stage].name}"
        if gene not in space.genome.names:
            continue
        costs = [_count_head(head, (*least[:place], width, *least[place + 1 :]), classes, size) for width in widths]
        tables = {
            name: np.array([getattr(cost, name) - getattr(smallest, name) for cost in costs], dtype=np.int64)
            for name in SUMMED
        }
        parts.append(_part((space.genome.column(gene),), tables))
    return parts


def _count_head(head: Head, channels: tuple[int, ...], classes: int, size: Size) -> Cost:
    with torch.device("meta"):
        module = head.build(channels, classes).eval()
    return count_on_meta(_WithMaps(module, channels, head.strides, size), torch.empty(1, device="meta"))


class _WithMaps(nn.Module):
    """A head that gets maps of certain sizes, whatever it is called with."""

    def __init__(self, head: nn.Module, channels: Sequence[int], strides: Sequence[int], size: Size) -> None:
        super().__init__()
        self.head, self.channels, self.strides, self.size = head, channels, strides, size

    def forward(self, x: Tensor) -> object:
        height, width = self.size
        maps = [
            x.new_empty(1, channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(self.channels, self.strides, strict=True)
        ]
        return self.head(maps, self.size)
