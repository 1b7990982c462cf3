"""What is measured: the blocks of a space alone, and a few whole networks to check their sum on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from nasvit.costs.blocks import plain_block
from nasvit.supernets.supernet import build
from predictors.blocks import BlockKey, unique_blocks
from predictors.pool import distinct
from search_spaces import Architecture, Space


@dataclass(frozen=True)
class Subject:
    """Something whose latency is measured.

    Args:
        name: unlike that of any other subject of the same space.
        shape: of its input, the batch first.
        make: returns it as a plain module in evaluation mode.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], nn.Module]


def block_subjects(space: Space, classes: int, batch_size: int) -> list[Subject]:
    """Return every unique block of a space with the shape of its input."""
    return [
        Subject(block.name, (batch_size, block.in_channels, block.side, block.side), _maker(space, block, classes))
        for block in unique_blocks(space)
    ]


def _maker(space: Space, block: BlockKey, classes: int) -> Callable[[], nn.Module]:
    return lambda: plain_block(space, block, classes)


def network_subject(space: Space, architecture: Architecture, classes: int, batch_size: int) -> Subject:
    """Return a whole subnet, which takes images that have its resolution already."""

    def make() -> nn.Module:
        network = build(space, architecture, classes)
        network.resize = None
        return network.eval()

    side = architecture.resolution
    return Subject(network_name(architecture), (batch_size, space.image_channels, side, side), make)


def network_name(architecture: Architecture) -> str:
    """Return the name that the measurements of a whole subnet go by."""
    return f"network {architecture.key}"


_DRAWN = 4096  # always as many, so that asking for more networks adds to those there were


def choose_networks(space: Space, count: int, seed: int) -> list[Architecture]:
    """Return the smallest and the largest subnet, and then random ones, all different.

    Args:
        space: where they come from.
        count: how many; fewer are returned only where the space holds fewer.
        seed: decides which.
    """
    ends = space.encode([space.smallest, space.largest])
    drawn = space.genome.sample(max(_DRAWN, 4 * count), np.random.default_rng(seed))
    return space.decode(distinct(np.concatenate([ends, drawn]))[:count])
