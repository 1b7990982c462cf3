"""The blocks of search spaces: built for the largest of some subnets, sized by their cost keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasvit.elastic.batch_norm import Switch, Widths
from nasvit.elastic.conv_norm import ElasticConvNorm, full
from nasvit.elastic.ends import ElasticHead
from nasvit.elastic.ghost import ElasticGhostBlock
from nasvit.elastic.mbconv import ElasticMBConv, Shortcut
from nasvit.elastic.norms import NormFactory
from nasvit.elastic.squeeze_excite import ElasticSqueezeExcite
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.elastic.universal import ElasticConvPair, ElasticUniversalBottleneck
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.ghost import GhostBlock
from nasvit.layers.head import Head
from nasvit.layers.mbconv import MBConv
from nasvit.layers.transformer import TransformerBlock
from nasvit.layers.universal import ConvPair, UniversalBottleneck
from predictors.blocks import BlockKey
from search_spaces import Space, Stage

CLASSIFIER_DEVIATION = 0.01


@dataclass(frozen=True)
class Place:
    """Place of a block in a search space, beside its key.

    Args:
        space: the space.
        classes: number of classes, for a head.
        stage: stage of the block; None for a block alone, whose switchable scales are those of one kind of subnet.
        first: whether the block is the first of its stage, whose channels in differ from those out.
        depth: number of blocks of the stage in the subnet.
    """

    space: Space
    classes: int
    stage: Stage | None = None
    first: bool = True
    depth: int = 1


Keys = Sequence[BlockKey]
"""The keys of one block at every switch; without switches only the key in the largest subnet."""


def build_stem(place: Place, keys: Keys, norm: NormFactory) -> ElasticConvNorm:
    """Build the elastic first convolution."""
    side, (ins, outs) = _largest_kernel(keys), _widths(keys)
    return full(ins, outs, norm, place.space.activation, kernel_size=side, stride=keys[0].stride)


def stem_at(stem: ElasticConvNorm, place: Place, key: BlockKey, switch: Switch) -> ConvNorm:
    """Return the first convolution of one subnet."""
    return stem.at(key.in_channels, key.out_channels, switch)


def build_mbconv(place: Place, keys: Keys, norm: NormFactory) -> ElasticMBConv:
    """Build an elastic MBConv; hidden channels are channels in times the expand ratio, rounded as in the space."""
    options, (ins, outs) = place.space.mbconv, _widths(keys)
    stride, same = keys[0].stride, ins == outs and keys[0].stride == 1
    hidden = _all_hidden(place, keys)
    shortcut: Shortcut = "pool" if options.shortcut == "pool" else "where_equal"
    return ElasticMBConv(
        ins,
        hidden if any(key.expand_ratio != 1 for key in keys) else None,
        outs,
        kernel_size=_largest_kernel(keys),
        stride=stride,
        gate=_gate(place, keys, hidden),
        act=place.space.activation,
        shortcut=shortcut,
        zero_last_gain=options.zero_init_last_gain and (shortcut == "pool" or same),
        norm=norm,
    )


def mbconv_at(block: ElasticMBConv, place: Place, key: BlockKey, switch: Switch) -> MBConv:
    """Return the MBConv of one subnet; at expand ratio 1 it has no widening convolution."""
    hidden = None if key.expand_ratio == 1 else _hidden(place, key)
    counted = _counted(place, key)
    return block.at(key.in_channels, hidden, key.out_channels, key.kernel_size, switch, counted, key.trim)


def build_ghost(place: Place, keys: Keys, norm: NormFactory) -> ElasticGhostBlock:
    """Build an elastic Ghost block, whose hidden channels follow the rule of MBConvs."""
    hidden, (ins, outs) = _all_hidden(place, keys), _widths(keys)
    return ElasticGhostBlock(
        ins,
        hidden,
        outs,
        kernel_size=_largest_kernel(keys),
        stride=keys[0].stride,
        gate=_gate(place, keys, hidden),
        act=place.space.activation,
        keeps=not place.first,
        norm=norm,
    )


def ghost_at(block: ElasticGhostBlock, place: Place, key: BlockKey, switch: Switch) -> GhostBlock:
    """Return the Ghost block of one subnet."""
    assert key.kernel_size is not None
    hidden, counted = _hidden(place, key), _counted(place, key)
    return block.at(key.in_channels, hidden, key.out_channels, key.kernel_size, switch, counted)


def build_universal(place: Place, keys: Keys, norm: NormFactory) -> ElasticUniversalBottleneck:
    """Build an elastic universal bottleneck, whose hidden channels follow the rule of MBConvs."""
    (ins, outs), stride = _widths(keys), keys[0].stride
    return ElasticUniversalBottleneck(
        ins,
        _all_hidden(place, keys),
        outs,
        start_kernel_size=max(key.start_kernel_size or 0 for key in keys),
        kernel_size=_largest_kernel(keys),
        stride=stride,
        act=place.space.activation,
        zero_last_gain=place.space.mbconv.zero_init_last_gain and ins == outs and stride == 1,
        norm=norm,
    )


def universal_at(block: ElasticUniversalBottleneck, place: Place, key: BlockKey, switch: Switch) -> UniversalBottleneck:
    """Return the universal bottleneck of one subnet."""
    kernels = key.start_kernel_size or 0, key.kernel_size or 0
    return block.at(key.in_channels, _hidden(place, key), key.out_channels, *kernels, switch)


def build_conv_pair(place: Place, keys: Keys, norm: NormFactory) -> ElasticConvPair:
    """Build an elastic pair of convolutions, whose hidden channels follow the rule of MBConvs."""
    (ins, outs), hidden, act = _widths(keys), _all_hidden(place, keys), place.space.activation
    sides = {"kernel_size": _largest_kernel(keys), "stride": keys[0].stride}
    return ElasticConvPair(ins, hidden, outs, act=act, norm=norm, **sides)


def conv_pair_at(block: ElasticConvPair, place: Place, key: BlockKey, switch: Switch) -> ConvPair:
    """Return the pair of convolutions of one subnet."""
    assert key.kernel_size is not None
    return block.at(key.in_channels, _hidden(place, key), key.out_channels, key.kernel_size, switch)


def build_transformer(place: Place, keys: Keys, norm: NormFactory) -> ElasticTransformerBlock:
    """Build an elastic transformer block; all subnets share its layer norms."""
    options, stage = place.space.transformer, place.stage
    assert options is not None, "a space with transformer blocks has options for them"
    scales = (1, 1)
    if stage is not None and options.scale != "shared":
        by_width = options.scale == "width_depth"
        scales = (len(stage.width), len(stage.depth)) if by_width else (max(stage.depth) + 1, 8)
    return ElasticTransformerBlock(
        max(key.out_channels for key in keys),
        max(key.side for key in keys),
        mlp_ratio=max(key.mlp_ratio for key in keys if key.mlp_ratio is not None),
        scales=scales,
        act=place.space.activation,
        options=options,
    )


def transformer_at(block: ElasticTransformerBlock, place: Place, key: BlockKey, switch: Switch) -> TransformerBlock:
    """Return the transformer block of one subnet, with the switchable scales of its kind of subnets."""
    assert key.mlp_ratio is not None
    assert key.windows is not None
    scale = (0, 0)
    if place.stage is not None and block.options.scale == "width_depth":
        scale = place.stage.width.index(key.out_channels), place.stage.depth.index(place.depth)
    elif place.stage is not None and block.options.scale == "depth_tokens":
        scale = place.depth, key.side * key.side % 8
    return block.at(key.out_channels, key.side, mlp_ratio=key.mlp_ratio, windows=key.windows, scale=scale)


def build_head(place: Place, keys: Keys, norm: NormFactory) -> ElasticHead:
    """Build the elastic head; the convolution after pooling has no bias."""
    ins, mixed = _widths(keys)
    hidden = tuple(place.space.head.hidden_channels(width) for width in ins)
    act, deviation = place.space.activation, CLASSIFIER_DEVIATION
    return ElasticHead(ins, hidden, mixed, place.classes, act=act, mix_bias=False, deviation=deviation, norm=norm)


def head_at(head: ElasticHead, place: Place, key: BlockKey, switch: Switch) -> Head:
    """Return the last layers of one subnet."""
    return head.at(key.in_channels, place.space.head.hidden_channels(key.in_channels), key.out_channels, switch)


def _widths(keys: Keys) -> tuple[Widths, Widths]:
    return tuple(key.in_channels for key in keys), tuple(key.out_channels for key in keys)


def _largest_kernel(keys: Keys) -> int:
    return max(key.kernel_size for key in keys if key.kernel_size is not None)


def _hidden(place: Place, key: BlockKey) -> int:
    assert key.expand_ratio is not None
    if key.expand_ratio == 1:
        return key.in_channels
    return place.space.mbconv.hidden_channels(key.in_channels, key.expand_ratio)


def _all_hidden(place: Place, keys: Keys) -> Widths:
    return tuple(_hidden(place, key) for key in keys)


def _gate(place: Place, keys: Keys, hidden: Widths) -> ElasticSqueezeExcite | None:
    if not keys[0].squeeze_excite:
        return None
    options, counted = place.space.mbconv, [_counted(place, key) for key in keys]
    return ElasticSqueezeExcite(
        max(hidden),
        options.squeeze_channels,
        counted=max((each for each in counted if each is not None), default=None),
        act=options.squeeze_excite_activation,
    )


def _counted(place: Place, key: BlockKey) -> int | None:
    """Return the channels that those of a gate are counted from, if they are not the hidden ones."""
    return key.in_channels if place.space.mbconv.squeeze_excite_of == "input" else None
