"""The one registry of block kinds.

A new block is a plain class, an elastic class and one entry:

- the plain class computes (:mod:`nasvit.layers`), the elastic class holds the largest tensors and answers ``at`` with
  explicit sizes (:mod:`nasvit.elastic`);
- the entry here says how those sizes follow from a stage of a space or from the channel plan of a family, and which
  channels may change places;
- the name of the entry stands in the table of where it may be used, which needs no torch: for spaces
  :data:`search_spaces.blocks.BLOCK_FIELDS` (which fields of a stage size it, and so its cost key) and ``STAGE_BLOCKS``
  (which stages have it), for families :data:`nasvit.models.family.FAMILY_BLOCKS`.

Supernets, planned networks, cost tables, latency tables and channel sorting read these and know no kind by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from nasvit.elastic import in_families, in_spaces
from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import Switch, Widths
from nasvit.elastic.conv_norm import Axes, ElasticConvNorm
from nasvit.elastic.ends import ElasticHead
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.in_families import Channels
from nasvit.elastic.in_spaces import Keys, Place
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.norms import NormFactory
from nasvit.elastic.residual import ElasticResidual
from nasvit.elastic.shuffle import ElasticShuffleBlock, ElasticSplitShuffleBlock
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.ghost import GhostBlock
from nasvit.layers.head import Head
from nasvit.layers.mbconv import MBConv
from nasvit.layers.residual import ResidualBlock
from nasvit.layers.shuffle import ShuffleBlock, SplitShuffleBlock
from nasvit.layers.transformer import TransformerBlock
from nasvit.models.family import BlockSpec
from predictors.blocks import BlockKey


@dataclass(frozen=True)
class InSpace:
    """How a block of a search space gets its sizes.

    Args:
        build: makes the elastic block that holds some subnets, from its place, its key in each of them, and its norm.
        at: gives the plain block of one subnet, from the elastic one, its place, its key and the subnet.
    """

    build: Callable[[Place, Keys, NormFactory], Elastic]
    at: Callable[[Any, Place, BlockKey, Switch], nn.Module]


@dataclass(frozen=True)
class InFamily:
    """How a block of a family gets its sizes.

    Args:
        build: makes the elastic block, from what it is, its channels in, those that are decided, and its norm.
        at: gives the plain block of one subnet, from the elastic one, its channels in, those decided and the subnet.
    """

    build: Callable[[BlockSpec, Widths, tuple[Widths, ...], NormFactory], Elastic]
    at: Callable[[Any, int, Channels, Switch], nn.Module]


def _none(block: Any) -> list[Axes]:
    return []


@dataclass(frozen=True)
class BlockKind:
    """One kind of block.

    Args:
        plain: the plain class.
        elastic: the elastic class.
        sizes: how it gets its sizes, in a space or in a family.
        inner_channels: lists the channels inside an elastic block that may change places; kinds whose channels are
            tied to each other have none.
    """

    plain: type[nn.Module]
    elastic: type[Elastic]
    sizes: InSpace | InFamily
    inner_channels: Callable[[Any], list[Axes]] = _none


_MBCONV = InSpace(in_spaces.build_mbconv, in_spaces.mbconv_at)
_GHOST = InSpace(in_spaces.build_ghost, in_spaces.ghost_at)
_TRANSFORMER = InSpace(in_spaces.build_transformer, in_spaces.transformer_at)
_INVERTED = InFamily(in_families.build_inverted, in_families.inverted_at)
_RESIDUAL = InFamily(in_families.build_residual, in_families.residual_at)
_SHUFFLE = InFamily(in_families.build_shuffle, in_families.shuffle_at)
_SPLIT_SHUFFLE = InFamily(in_families.build_split_shuffle, in_families.shuffle_at)

KINDS: dict[str, BlockKind] = {
    "stem": BlockKind(ConvNorm, ElasticConvNorm, InSpace(in_spaces.build_stem, in_spaces.stem_at)),
    "mbconv": BlockKind(MBConv, ElasticMBConv, _MBCONV, ElasticMBConv.inner_channels),
    "ghost": BlockKind(GhostBlock, ElasticGhostBlock, _GHOST),
    "transformer": BlockKind(TransformerBlock, ElasticTransformerBlock, _TRANSFORMER),
    "head": BlockKind(Head, ElasticHead, InSpace(in_spaces.build_head, in_spaces.head_at)),
    "inverted": BlockKind(MBConv, ElasticMBConv, _INVERTED, ElasticMBConv.inner_channels),
    "bottleneck": BlockKind(ResidualBlock, ElasticResidual, _RESIDUAL),
    "basic": BlockKind(ResidualBlock, ElasticResidual, _RESIDUAL),
    "shuffle": BlockKind(ShuffleBlock, ElasticShuffleBlock, _SHUFFLE),
    "split_shuffle": BlockKind(SplitShuffleBlock, ElasticSplitShuffleBlock, _SPLIT_SHUFFLE),
}
"""All kinds of blocks by name, and the ends of search spaces."""


def in_space(kind: str) -> InSpace:
    """Return how blocks of a kind get their sizes in a space."""
    sizes = KINDS[kind].sizes
    assert isinstance(sizes, InSpace), f"{kind} blocks are those of families"
    return sizes


def in_family(kind: str) -> InFamily:
    """Return how blocks of a kind get their sizes in a family."""
    sizes = KINDS[kind].sizes
    assert isinstance(sizes, InFamily), f"{kind} blocks are those of search spaces"
    return sizes


def inner_channels(block: nn.Module) -> list[Axes]:
    """Return the channels inside an elastic block that may change places, those of any other module being none."""
    return next((kind.inner_channels(block) for kind in KINDS.values() if type(block) is kind.elastic), [])
