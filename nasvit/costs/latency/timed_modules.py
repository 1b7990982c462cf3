"""The modules that are timed: the blocks of a space alone, and a few whole networks to check their sum on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from nasvit.costs.blocks import plain_block
from nasvit.supernets.supernet import build_subnet
from predictors.blocks import BlockKey, unique_blocks
from predictors.pool import distinct
from search_spaces import Architecture, Space, Subnet


@dataclass(frozen=True)
class TimedModule:
    """A block or a whole network whose latency is measured.

    Args:
        name: unique in the space.
        shape: shape of the input, the batch first.
        make: builds the plain module, in evaluation mode.
        stride: strides of the input, of code that is not ours; None: those of maps, channel by channel where that is
            fast.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], nn.Module]
    stride: tuple[int, ...] | None = None


def timed_blocks(space: Space, classes: int, batch_size: int) -> list[TimedModule]:
    """Return every unique block of a space as a module to time."""
    return [
        TimedModule(block.name, (batch_size, block.in_channels, block.side, block.side), _maker(space, block, classes))
        for block in unique_blocks(space)
    ]


def _maker(space: Space, block: BlockKey, classes: int) -> Callable[[], nn.Module]:
    return lambda: plain_block(space, block, classes)


def timed_network(space: Space, architecture: Architecture, classes: int, batch_size: int) -> TimedModule:
    """Return a whole subnet as a module to time; its input has the subnet's resolution already."""

    def make() -> nn.Module:
        network = build_subnet(space, architecture, classes)
        network.resize = None
        return network.eval()

    side = architecture.resolution
    return TimedModule(network_name(architecture), (batch_size, space.image_channels, side, side), make)


def network_name(architecture: Subnet) -> str:
    """Return the name of a whole subnet in the timing log."""
    return f"network {architecture.key}"


_DRAWN = 4096  # a fixed number, so that asking for more networks keeps those of a smaller count


def choose_networks(space: Space, count: int, seed: int) -> list[Architecture]:
    """Return the smallest and the largest subnet, and then random ones, all different.

    Args:
        space: the space to draw from.
        count: number of subnets; fewer are returned only where the space holds fewer.
        seed: seed of the draw.
    """
    ends = space.encode([space.smallest, space.largest])
    drawn = space.genome.sample(max(_DRAWN, 4 * count), np.random.default_rng(seed))
    return space.decode(distinct(np.concatenate([ends, drawn]))[:count])
