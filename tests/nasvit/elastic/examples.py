"""For every kind of block, blocks that hold two subnets, as a space or a family would have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

import search_spaces
from nasvit.elastic import ANY, Elastic, Switch
from nasvit.elastic.in_spaces import Place
from nasvit.elastic.norms import NormFactory, calibrated_norm
from nasvit.elastic.registry import KINDS
from nasvit.models.family import Family
from nasvit.models.parts import FAMILY_BLOCKS, BlockSpec, StemSpec
from predictors.blocks import BlockKey
from search_spaces.blocks import BLOCK_FIELDS, STAGE_BLOCKS

SPACE = search_spaces.load("micro8")
CLASSES = 5
LARGE: dict[str, Any] = {
    "kernel_size": 5,
    "expand_ratio": 3,
    "squeeze_excite": True,
    "mlp_ratio": 2,
    "windows": 1,
    "start_kernel_size": 5,
}
SMALL: dict[str, Any] = {
    "kernel_size": 3,
    "expand_ratio": 2,
    "squeeze_excite": True,
    "mlp_ratio": 1,
    "windows": 2,
    "start_kernel_size": 0,
}
SIDE = 8


@dataclass(frozen=True)
class Example:
    """A block of some kind at two switches, the largest first.

    Args:
        kind: its name.
        given: what its entry builds it from, apart from the norm.
        subnets: what its entry gives the plain block of each switch from, apart from the block and the switch.
        channels: channels in at each switch.
        keys: what it costs by at each switch, in a space.
    """

    kind: str
    given: tuple[Any, ...]
    subnets: tuple[tuple[Any, ...], ...]
    channels: tuple[int, ...]
    keys: tuple[BlockKey, ...] = ()

    def build(self, norm: NormFactory = calibrated_norm) -> Elastic:
        return KINDS[self.kind].build(*self.given, norm)

    def at(self, block: Elastic, number: int, switch: Switch = ANY) -> nn.Module:
        return KINDS[self.kind].at(block, *self.subnets[number], switch)

    def shape(self, number: int) -> tuple[int, int, int]:
        return (self.channels[number], SIDE, SIDE)


def examples(kind: str) -> Iterator[Example]:
    """Yield the first block of a stage and one after it, as far as the kind stands there."""
    if kind in FAMILY_BLOCKS:
        yield from _of_family(kind)
    elif kind in BLOCK_FIELDS:
        for first in (True, False):
            if kind in {kinds[0 if first else 1] for kinds in STAGE_BLOCKS.values()}:
                sizes = [{field: values[field] for field in BLOCK_FIELDS[kind]} for values in (LARGE, SMALL)]
                stride, before = (2, (16, 8)) if first else (1, (24, 16))
                yield _of_space(kind, first, before, (24, 16), stride, sizes)
    elif kind == "stem":
        yield _of_space(kind, True, (1, 1), (24, 16), 2, [{"kernel_size": 3}] * 2)
    else:
        yield _of_space(kind, True, (24, 16), (48, 40), 1, [{"expand_ratio": SPACE.head.expand_ratio}] * 2)


def _of_space(
    kind: str, first: bool, ins: tuple[int, ...], outs: tuple[int, ...], stride: int, sizes: list[dict[str, Any]]
) -> Example:
    place = Place(SPACE, CLASSES, first=first)
    keys = tuple(BlockKey(kind, i, o, SIDE, stride, **own) for i, o, own in zip(ins, outs, sizes, strict=True))
    return Example(kind, (place, keys), tuple((place, key) for key in keys), ins, keys)


def _of_family(kind: str) -> Iterator[Example]:
    first = BlockSpec(kind, 48, 2, expand=3, act="relu", groups=2, squeeze_excite=kind == "inverted")
    family = Family(kind, "a test", StemSpec(24), ((first, replace(first, stride=1)),), divisor=4)
    plans = family.plan(1.0), family.plan(0.5)
    parts, widths = family.widths(plans), family.widths(plans).stem
    for spec, decided in zip(family.fixed(plans).blocks(), parts.stages[0], strict=True):
        subnets = tuple((i, own) for i, own in zip(widths, zip(*decided, strict=True), strict=True))
        yield Example(kind, (spec, widths, decided), subnets, widths)
        widths = decided[-1]
