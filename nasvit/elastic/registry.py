"""The registry of block kinds.

A new block is a plain class, an elastic class and one entry:

- the plain class computes (:mod:`nasvit.layers`), the elastic class holds the largest tensors and answers ``at`` with
  explicit sizes (:mod:`nasvit.elastic`);
- the entry here derives those sizes from a stage of a space or from the channel plan of a family, and lists the
  channels that may change places;
- the name of the entry stands in the tables of spaces and families, which need no torch: for spaces
  :data:`search_spaces.blocks.BLOCK_FIELDS` (which fields of a stage size it, and so its cost key) and ``STAGE_BLOCKS``
  (which stages have it), for families :data:`nasvit.models.parts.FAMILY_BLOCKS`.

Supernets, planned networks, cost tables, latency tables and channel sorting read these and know no kind by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from nasvit.elastic import in_families, in_spaces
from nasvit.elastic.base import Elastic
from nasvit.elastic.conv_norm import Axes, ElasticConvNorm
from nasvit.elastic.ends import ElasticHead
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.residual import ElasticResidual
from nasvit.elastic.shuffle import ElasticShuffleBlock, ElasticSplitShuffleBlock
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.elastic.universal import ElasticConvPair, ElasticUniversalBottleneck
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.ghost import GhostBlock
from nasvit.layers.head import Head
from nasvit.layers.mbconv import MBConv
from nasvit.layers.residual import ResidualBlock
from nasvit.layers.shuffle import ShuffleBlock, SplitShuffleBlock
from nasvit.layers.transformer import TransformerBlock
from nasvit.layers.universal import ConvPair, UniversalBottleneck


@dataclass(frozen=True)
class BlockKind:
    """One kind of block.

    Args:
        plain: the plain class.
        elastic: the elastic class.
        build: builds the elastic block for some subnets; in a space ``build(place, keys, norm)`` from its place and its
            key in each of them, in a family ``build(spec, in_widths, widths, norm)`` from its channels.
        at: returns the plain block of one subnet; in a space ``at(block, place, key, switch)``, in a family
            ``at(block, in_channels, channels, switch)``.
        inner_channels: lists the channels inside an elastic block that may change places; left out: none may.
        tied: whether groups tie channels together, so that no layer can be widened alone.
    """

    plain: type[nn.Module]
    elastic: type[Elastic]
    build: Callable[..., Elastic]
    at: Callable[..., nn.Module]
    inner_channels: Callable[[Any], list[Axes]] = lambda block: []
    tied: bool = False


_residual = partial(in_families.build_keeping, ElasticResidual)
_split_shuffle = partial(in_families.build_keeping, ElasticSplitShuffleBlock)
_sorted = ElasticMBConv.inner_channels

KINDS: dict[str, BlockKind] = {
    "stem": BlockKind(ConvNorm, ElasticConvNorm, in_spaces.build_stem, in_spaces.stem_at),
    "mbconv": BlockKind(MBConv, ElasticMBConv, in_spaces.build_mbconv, in_spaces.mbconv_at, _sorted),
    "ghost": BlockKind(GhostBlock, ElasticGhostBlock, in_spaces.build_ghost, in_spaces.ghost_at),
    "transformer": BlockKind(
        TransformerBlock, ElasticTransformerBlock, in_spaces.build_transformer, in_spaces.transformer_at
    ),
    "universal": BlockKind(
        UniversalBottleneck,
        ElasticUniversalBottleneck,
        in_spaces.build_universal,
        in_spaces.universal_at,
        ElasticUniversalBottleneck.inner_channels,
    ),
    "conv_pair": BlockKind(
        ConvPair, ElasticConvPair, in_spaces.build_conv_pair, in_spaces.conv_pair_at, ElasticConvPair.inner_channels
    ),
    "head": BlockKind(Head, ElasticHead, in_spaces.build_head, in_spaces.head_at),
    "inverted": BlockKind(MBConv, ElasticMBConv, in_families.build_inverted, in_families.inverted_at, _sorted),
    "bottleneck": BlockKind(ResidualBlock, ElasticResidual, _residual, ElasticResidual.at),
    "basic": BlockKind(ResidualBlock, ElasticResidual, _residual, ElasticResidual.at),
    "shuffle": BlockKind(
        ShuffleBlock, ElasticShuffleBlock, in_families.build_shuffle, ElasticShuffleBlock.at, tied=True
    ),
    "split_shuffle": BlockKind(
        SplitShuffleBlock, ElasticSplitShuffleBlock, _split_shuffle, ElasticSplitShuffleBlock.at, tied=True
    ),
}
"""All kinds of blocks by name, and the ends of search spaces."""


def inner_channels(block: nn.Module) -> list[Axes]:
    """Return the channels inside an elastic block that may change places; none for any other module."""
    return next((kind.inner_channels(block) for kind in KINDS.values() if type(block) is kind.elastic), [])
