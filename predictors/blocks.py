"""Which blocks the subnets of a space are made of, as far as a device can tell them apart."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

from search_spaces import Architecture, Space, Stage
from search_spaces.blocks import BLOCK_FIELDS
from search_spaces.values import Number


@dataclass(frozen=True)
class BlockKey:
    """One block on one size of map: what its latency depends on, apart from what a whole space has in common.

    Args:
        kind: what it is, a key of :data:`search_spaces.blocks.BLOCK_FIELDS`; "stem" and "head" are the ends of the
            network.
        in_channels: channels in.
        out_channels: channels out; of a head, the channels that enter the classifier.
        side: side of the map that comes in, in pixels.
        stride: of the convolution, 1 or 2.
        kernel_size: side of the convolution's kernel, or None.
        expand_ratio: hidden channels over channels in, or None.
        squeeze_excite: whether there is a gate on the hidden channels.
        mlp_ratio: of a transformer block, or None.
        windows: attention windows along a side of the map, or None.
        start_kernel_size: side of the first depthwise kernel of a universal bottleneck, or None.
        trim: pixels that the strided convolution pads less than half its kernel.
    """

    kind: str
    in_channels: int
    out_channels: int
    side: int
    stride: int = 1
    kernel_size: int | None = None
    expand_ratio: Number | None = None
    squeeze_excite: bool = False
    mlp_ratio: Number | None = None
    windows: int | None = None
    start_kernel_size: int | None = None
    trim: int = 0

    @property
    def name(self) -> str:
        """Everything in one line, such as ``"mbconv 16-24 side 8 stride 2 kernel 3 expand 4"``."""
        sizes = {"kernel": self.kernel_size, "expand": self.expand_ratio, "mlp": self.mlp_ratio}
        sizes |= {"windows": self.windows, "start": self.start_kernel_size}
        words = [f"{self.kind} {self.in_channels}-{self.out_channels} side {self.side} stride {self.stride}"]
        words += [f"{word} {size:g}" for word, size in sizes.items() if size is not None]
        words += ["gated"] if self.squeeze_excite else []
        return " ".join([*words, *([f"trim {self.trim}"] if self.trim else [])])


Blocks: TypeAlias = tuple[tuple[BlockKey, int], ...]
"""Blocks and how often each of them runs."""


@dataclass(frozen=True)
class BlockPart:
    """A part of the network for every combination of the genes it depends on: the stem, a stage or the head.

    A stage is two parts where its first block is sized apart from the others, which would have too many combinations.

    Args:
        columns: the population columns of those genes.
        shape: how many values each of them has.
        combinations: the blocks of every combination, the last gene fastest.
        stage: number of the stage; -1 for the stem, and the number of stages for the head.
        first: whether the first block of the stage is among them.
    """

    columns: tuple[int, ...]
    shape: tuple[int, ...]
    combinations: tuple[Blocks, ...]
    stage: int
    first: bool = True


def block_parts(space: Space) -> tuple[BlockPart, ...]:
    """Return the blocks of the stem, of every stage and of the head."""
    stages = (part for number in range(len(space.stages)) for part in _stage(space, number))
    return (_stem(space), *stages, _head(space))


def blocks_of(space: Space, architecture: Architecture) -> tuple[Blocks, ...]:
    """Return the blocks of one subnet: those of the stem, of every stage and of the head."""
    resolution, widths = architecture.resolution, architecture.width
    sides = space.feature_sizes(resolution)
    stages = []
    for number, stage in enumerate(space.stages):
        sizes = {field: getattr(architecture, field)[number] for part in stage.parts for field in part[1:]}
        sizes["width"] = widths[number + 1]
        first = _first_block(stage, sides[number], widths[number], sizes)
        stages.append((*first, *_later_blocks(stage, sides[number + 1], sizes)))
    stem, head = _stem_block(space, resolution, widths[0]), _head_block(space, resolution, *widths[-2:])
    return (stem, *stages, head)


def unique_blocks(space: Space) -> tuple[BlockKey, ...]:
    """Return every block that some subnet of the space has, once, in the order of the network."""
    parts = block_parts(space)
    found = (block for part in parts for blocks in part.combinations for block, _ in blocks)
    return tuple(dict.fromkeys(found))


_LATER: dict[str, Any] = {
    "start_kernel_size": (),
    "first_start_kernel_size": (),
    "first_kernel_size": (),
    "first_expand_ratio": (),
    "squeeze_excite_of": "hidden",
    "rounding_share": 0.9,
    "trim": 0,
}
"""Fields that came after tables of spaces had been written, and what always was: tables that people have stay good."""


def fingerprint(space: Space) -> str:
    """Return sixteen hexadecimal digits that differ where spaces differ in more than their name and source."""

    def told(fields: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in fields if name not in _LATER or value != _LATER[name]}

    content = asdict(space, dict_factory=told)
    content = {field: value for field, value in content.items() if field not in ("name", "source")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _part(
    space: Space, choices: Mapping[str, Sequence[Any]], blocks: Callable[..., Blocks], stage: int, first: bool = True
) -> BlockPart:
    """Ask for the blocks of all combinations; a decision with one choice is no gene and gets no column."""
    genes = [name for name in choices if name in space.genome.names]
    return BlockPart(
        tuple(space.genome.column(name) for name in genes),
        tuple(len(choices[name]) for name in genes),
        tuple(blocks(*chosen) for chosen in itertools.product(*choices.values())),
        stage,
        first,
    )


def _stem(space: Space) -> BlockPart:
    choices = {"resolution": space.resolution, "width.stem": space.stem.width}
    return _part(space, choices, partial(_stem_block, space), -1)


def _stem_block(space: Space, resolution: int, width: int) -> Blocks:
    stem = space.stem
    return ((BlockKey("stem", space.image_channels, width, resolution, stem.stride, stem.kernel_size), 1),)


def _head(space: Space) -> BlockPart:
    last = space.stages[-1]
    choices = {"resolution": space.resolution, f"width.{last.name}": last.width, "width.head": space.head.width}
    return _part(space, choices, partial(_head_block, space), len(space.stages))


def _head_block(space: Space, resolution: int, width: int, features: int) -> Blocks:
    side = space.feature_sizes(resolution)[-1]
    return ((BlockKey("head", width, features, side, expand_ratio=space.head.expand_ratio), 1),)


def _stage(space: Space, number: int) -> Iterator[BlockPart]:
    stage = space.stages[number]
    for fields in stage.parts:
        first, later = fields == stage.parts[0], fields == stage.parts[-1]
        choices: dict[str, Sequence[Any]] = {"resolution": space.resolution}
        if first:
            before = space.stages[number - 1] if number else None
            choices[f"width.{before.name if before else 'stem'}"] = before.width if before else space.stem.width
        choices |= {f"{field}.{stage.name}": getattr(stage, field) for field in fields}
        yield _part(space, choices, partial(_stage_blocks, space, number, fields, first, later), number, first)


def _stage_blocks(
    space: Space, number: int, fields: Sequence[str], first: bool, later: bool, resolution: int, *chosen: Any
) -> Blocks:
    """The blocks of one combination of choices: the first one, those after it, or all."""
    stage, sides = space.stages[number], space.feature_sizes(resolution)
    sizes = dict(zip(fields, chosen[first:], strict=True))
    return (
        *(_first_block(stage, sides[number], chosen[0], sizes) if first else ()),
        *(_later_blocks(stage, sides[number + 1], sizes) if later else ()),
    )


def _first_block(stage: Stage, side: int, in_channels: int, sizes: Mapping[str, Any]) -> Blocks:
    kind = stage.kinds[0]
    own = {field: _size(stage, stage.first_field(field), sizes) for field in BLOCK_FIELDS[kind]}
    return ((BlockKey(kind, in_channels, sizes["width"], side, stage.stride, trim=stage.trim, **own), 1),)


def _later_blocks(stage: Stage, side: int, sizes: Mapping[str, Any]) -> Blocks:
    """The block after the first one, as often as the depth says."""
    if sizes["depth"] == 1:
        return ()
    kind, channels = stage.kinds[1], sizes["width"]
    own = {field: _size(stage, field, sizes) for field in BLOCK_FIELDS[kind]}
    return ((BlockKey(kind, channels, channels, side, **own), sizes["depth"] - 1),)


def _size(stage: Stage, field: str, sizes: Mapping[str, Any]) -> Any:
    return stage.squeeze_excite if field == "squeeze_excite" else sizes[field]
