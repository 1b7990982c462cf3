"""Cost tables of whole spaces, counted block by block on the meta device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import torch

from nasvit.costs.blocks import meta_block
from nasvit.costs.counting import BYTES, Cost, count_on_meta
from nasvit.costs.kept_tables import keep_table, kept_table
from predictors.blocks import BlockKey, BlockPart, Blocks, block_parts, unique_blocks
from predictors.cost import CostTable, Integers, Part, integers
from search_spaces import Space


@functools.lru_cache(maxsize=8)
def cost_table(space: Space, classes: int) -> CostTable:
    """Return the costs of every subnet of a space as tables.

    Every block that the space can hold is counted, once: the tables are kept in the user's cache folder.

    Args:
        space: the search space.
        classes: number of classes of the classifier.

    Raises:
        ValueError: for the space of an elastic network, which is counted with its network.
    """
    if not isinstance(space, Space):
        raise ValueError(
            f"cost_table counts search spaces, and this is {type(space).__name__}; of a network made elastic count "
            "subnets: nasvit.count(elastic.extract(architecture), channels, height, width)"
        )
    parts = block_parts(space)
    table = kept_table(space, classes, parts)
    if table is None:
        costs = {block: count_block(space, block, classes) for block in unique_blocks(space)}
        table = CostTable([_part(space, part, costs) for part in parts], len(space.genome))
        keep_table(table, space, classes, parts)
    return table


def count_block(space: Space, block: BlockKey, classes: int) -> Cost:
    """Count one block of a space alone; arguments as in :func:`nasvit.costs.blocks.meta_block`."""
    x = torch.empty(1, block.in_channels, block.side, block.side, device="meta")
    return count_on_meta(meta_block(space, block, classes), x)


def image_bytes(space: Space, resolution: int) -> int:
    """Return the bytes of an input image, which stays alive to the end of the network."""
    return space.image_channels * BYTES * resolution**2


def _part(space: Space, part: BlockPart, costs: Mapping[BlockKey, Cost]) -> Part:
    def table(cost: Callable[[Blocks], int]) -> Integers:
        return integers([cost(blocks) for blocks in part.combinations]).reshape(part.shape)

    return Part(
        part.columns,
        macs=table(lambda blocks: sum(times * costs[block].macs for block, times in blocks)),
        params=table(lambda blocks: sum(times * costs[block].params for block, times in blocks)),
        memory=table(lambda blocks: max((costs[block].memory for block, _ in blocks), default=0))
        + _image_bytes(space, part),
        int8_size=table(lambda blocks: sum(times * costs[block].int8_size for block, times in blocks)),
    )


def _image_bytes(space: Space, part: BlockPart) -> Integers | int:
    """Return the bytes of the input image for every resolution; the stem counts it itself."""
    if part.stage < 0:
        return 0
    bytes_of = np.array([image_bytes(space, each) for each in space.resolution], dtype=np.int64)
    if "resolution" not in space.genome.names:
        return int(bytes_of[0])
    axes = [-1 if column == space.genome.column("resolution") else 1 for column in part.columns]
    return bytes_of.reshape(axes)
