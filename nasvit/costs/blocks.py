"""The blocks of a search space, each alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import ElasticBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d
from nasvit.elastic.conv_norm import ElasticConvNorm
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.head import ElasticHead
from nasvit.elastic.initialization import initialize
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.layers.calibration import track_statistics
from nasvit.supernets.shared_network import independent
from predictors.blocks import BlockKey
from search_spaces import Space


def plain_block(space: Space, block: BlockKey, classes: int) -> nn.Module:
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


def meta_block(space: Space, block: BlockKey, classes: int) -> nn.Module:
    """Build one block on the meta device: without values, to be counted.

    Arguments as in :func:`plain_block`.
    """
    with torch.device("meta"):
        elastic, plain = _BUILDERS[block.kind](space, block, classes)
    elastic.requires_grad_(False)
    module = plain()
    track_statistics(module)
    return module.eval()


Built = tuple[Elastic, Callable[[], nn.Module]]
"""An elastic block that holds one size only, and what gives that size."""


def _stem(space: Space, block: BlockKey, classes: int) -> Built:
    assert block.kernel_size is not None
    conv = ElasticConv2d(block.in_channels, block.out_channels, block.kernel_size, stride=block.stride)
    stem = ElasticConvNorm(conv, ElasticBatchNorm2d(block.out_channels), space.activation)
    return stem, lambda: stem.at(block.in_channels, block.out_channels)


def _mbconv(space: Space, block: BlockKey, classes: int) -> Built:
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


def _transformer(space: Space, block: BlockKey, classes: int) -> Built:
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


def _head(space: Space, block: BlockKey, classes: int) -> Built:
    assert block.expand_ratio is not None
    act, expand_ratio = space.activation, block.expand_ratio
    head = ElasticHead(block.in_channels, block.out_channels, classes, expand_ratio=expand_ratio, act=act)
    return head, lambda: head.at(block.in_channels, block.out_channels)


_BUILDERS: dict[str, Callable[[Space, BlockKey, int], Built]] = {
    "stem": _stem,
    "mbconv": _mbconv,
    "ghost": _mbconv,
    "transformer": _transformer,
    "head": _head,
}
