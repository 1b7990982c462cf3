"""What is measured: the blocks of a space alone, and a few whole networks to check their sum on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from nasvit.calibration import track_statistics
from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.head import ElasticHead
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.initialization import initialize
from nasvit.shared_network import independent
from nasvit.supernet import build
from predictors.blocks import Block, unique_blocks
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


def _maker(space: Space, block: Block, classes: int) -> Callable[[], nn.Module]:
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


def plain_block(space: Space, block: Block, classes: int) -> nn.Module:
    """Build one block alone, with weights of its own, as it stands in a subnet of the space.

    Args:
        space: what its blocks have in common.
        block: which.
        classes: number of classes, for a head.
    """
    elastic, plain = _BUILDERS[block.kind](space, block, classes)
    initialize(elastic, seed=0)
    module = independent(plain())
    track_statistics(module)
    return module.eval()


Built = tuple[Elastic, Callable[[], nn.Module]]
"""An elastic block that holds one size only, and what gives that size."""


def _stem(space: Space, block: Block, classes: int) -> Built:
    assert block.kernel_size is not None
    conv = ElasticConv2d(block.in_channels, block.out_channels, block.kernel_size, stride=block.stride)
    stem = ElasticConvNorm(conv, ElasticBatchNorm2d(block.out_channels), space.activation)
    return stem, lambda: stem.at(block.in_channels, block.out_channels)


def _mbconv(space: Space, block: Block, classes: int) -> Built:
    assert block.kernel_size is not None
    assert block.expand_ratio is not None
    kernel_size, expand_ratio = block.kernel_size, block.expand_ratio
    kind = ElasticGhostBlock if block.kind == "ghost" else ElasticMBConv
    mbconv = kind(
        block.in_channels,
        block.out_channels,
        kernel_size=kernel_size,
        expand_ratio=expand_ratio,
        stride=block.stride,
        squeeze_excite=block.squeeze_excite,
        act=space.activation,
        options=space.mbconv,
    )
    return mbconv, lambda: mbconv.at(block.in_channels, block.out_channels, kernel_size, expand_ratio)


def _transformer(space: Space, block: Block, classes: int) -> Built:
    assert space.transformer is not None
    assert block.mlp_ratio is not None
    assert block.windows is not None
    mlp_ratio, windows = block.mlp_ratio, block.windows
    transformer = ElasticTransformerBlock(
        block.in_channels,
        block.side,
        mlp_ratio=mlp_ratio,
        scales=(1, 1),
        act=space.activation,
        options=space.transformer,
    )
    return transformer, lambda: transformer.at(
        block.in_channels, block.side, mlp_ratio=mlp_ratio, windows=windows, scale=(0, 0)
    )


def _head(space: Space, block: Block, classes: int) -> Built:
    assert block.expand_ratio is not None
    act, expand_ratio = space.activation, block.expand_ratio
    head = ElasticHead(block.in_channels, block.out_channels, classes, expand_ratio=expand_ratio, act=act)
    return head, lambda: head.at(block.in_channels, block.out_channels)


_BUILDERS: dict[str, Callable[[Space, Block, int], Built]] = {
    "stem": _stem,
    "mbconv": _mbconv,
    "ghost": _mbconv,
    "transformer": _transformer,
    "head": _head,
}
