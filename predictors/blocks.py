"""Which blocks the subnets of a space are made of, as far as a device can tell them apart."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

from search_spaces import Architecture, Space, Stage
from search_spaces.blocks import BLOCK_FIELDS
from search_spaces.stages import OPTIONAL
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

    @property
    def name(self) -> str:
        """Everything in one line, such as ``"mbconv 16-24 side 8 stride 2 kernel 3 expand 4"``."""
        sizes = {"kernel": self.kernel_size, "expand": self.expand_ratio, "mlp": self.mlp_ratio}
        sizes["windows"] = self.windows
        words = [f"{self.kind} {self.in_channels}-{self.out_channels} side {self.side} stride {self.stride}"]
        words += [f"{word} {size:g}" for word, size in sizes.items() if size is not None]
        return " ".join([*words, *(["gated"] if self.squeeze_excite else [])])


Blocks: TypeAlias = tuple[tuple[BlockKey, int], ...]
"""Blocks and how often each of them runs."""


@dataclass(frozen=True)
class BlockPart:
    """A part of the network (stem, stage or head) for every combination of the genes it depends on.

    Args:
        columns: the population columns of those genes.
        shape: how many values each of them has.
        combinations: the blocks of every combination, the last gene fastest.
    """

    columns: tuple[int, ...]
    shape: tuple[int, ...]
    combinations: tuple[Blocks, ...]


def block_parts(space: Space) -> tuple[BlockPart, ...]:
    """Return the blocks of the stem, of every stage and of the head."""
    return (_stem(space), *(_stage(space, number) for number in range(len(space.stages))), _head(space))


def blocks_of(space: Space, architecture: Architecture) -> tuple[Blocks, ...]:
    """Return the blocks of one subnet: those of the stem, of every stage and of the head."""
    resolution, widths = architecture.resolution, architecture.width
    sides = space.feature_sizes(resolution)
    stages = []
    for number, stage in enumerate(space.stages):
        choices = [getattr(architecture, field) for field in ("depth", *_fields(stage))]
        sizes = (sides[number], sides[number + 1], widths[number], widths[number + 1])
        stages.append(_stage_blocks(stage, *sizes, *(entries[number] for entries in choices)))
    stem, head = _stem_block(space, resolution, widths[0]), _head_block(space, resolution, *widths[-2:])
    return (stem, *stages, head)


def unique_blocks(space: Space) -> tuple[BlockKey, ...]:
    """Return every block that some subnet of the space has, once, in the order of the network."""
    parts = block_parts(space)
    found = (block for part in parts for blocks in part.combinations for block, _ in blocks)
    return tuple(dict.fromkeys(found))


def fingerprint(space: Space) -> str:
    """Return sixteen hexadecimal digits that differ where spaces differ in more than their name and source."""
    content = {field: value for field, value in asdict(space).items() if field not in ("name", "source")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _part(space: Space, choices: Mapping[str, Sequence[Any]], blocks: Callable[..., Blocks]) -> BlockPart:
    """Ask for the blocks of all combinations; a decision with one choice is no gene and gets no column."""
    genes = [name for name in choices if name in space.genome.names]
    return BlockPart(
        tuple(space.genome.column(name) for name in genes),
        tuple(len(choices[name]) for name in genes),
        tuple(blocks(*chosen) for chosen in itertools.product(*choices.values())),
    )


def _stem(space: Space) -> BlockPart:
    choices = {"resolution": space.resolution, "width.stem": space.stem.width}
    return _part(space, choices, partial(_stem_block, space))


def _stem_block(space: Space, resolution: int, width: int) -> Blocks:
    stem = space.stem
    return ((BlockKey("stem", space.image_channels, width, resolution, stem.stride, stem.kernel_size), 1),)


def _head(space: Space) -> BlockPart:
    last = space.stages[-1]
    choices = {"resolution": space.resolution, f"width.{last.name}": last.width, "width.head": space.head.width}
    return _part(space, choices, partial(_head_block, space))


def _head_block(space: Space, resolution: int, width: int, features: int) -> Blocks:
    side = space.feature_sizes(resolution)[-1]
    return ((BlockKey("head", width, features, side, expand_ratio=space.head.expand_ratio), 1),)


def _stage(space: Space, number: int) -> BlockPart:
    stage = space.stages[number]
    before = space.stages[number - 1].name if number else "stem"
    choices: dict[str, Sequence[Any]] = {
        "resolution": space.resolution,
        f"width.{before}": space.stages[number - 1].width if number else space.stem.width,
    }
    for field in ("width", "depth", *_fields(stage)):
        choices[f"{field}.{stage.name}"] = getattr(stage, field)

    def blocks(resolution: int, *chosen: Any) -> Blocks:
        sides = space.feature_sizes(resolution)
        return _stage_blocks(stage, sides[number], sides[number + 1], *chosen)

    return _part(space, choices, blocks)


def _fields(stage: Stage) -> tuple[str, ...]:
    """The fields that are chosen for all blocks of a stage together."""
    return ("kernel_size", "expand_ratio", *(field for field in OPTIONAL if any(stage.sized_by(field))))


def _stage_blocks(
    stage: Stage, before: int, side: int, in_channels: int, channels: int, depth: int, *chosen: Any
) -> Blocks:
    """The first block, and as often as the depth says the one that follows it."""
    sizes = {**dict(zip(_fields(stage), chosen, strict=True)), "squeeze_excite": stage.squeeze_excite}
    first, rest = ({field: sizes[field] for field in BLOCK_FIELDS[kind]} for kind in stage.kinds)
    blocks = ((BlockKey(stage.kinds[0], in_channels, channels, before, stage.stride, **first), 1),)
    if depth == 1:
        return blocks
    return (*blocks, (BlockKey(stage.kinds[1], channels, channels, side, **rest), depth - 1))
