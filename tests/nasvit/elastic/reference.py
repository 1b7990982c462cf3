"""A second, independent way to compute any subnet: functions that slice the largest tensors through autograd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces import Architecture, MBConvOptions, Space, TransformerOptions
from search_spaces.stages import Stage

Weights = Mapping[str, Tensor]

ACTIVATIONS = {
    "swish": F.silu,
    "relu": F.relu,
    "hard_swish": F.hardswish,
    "hard_sigmoid": lambda x: F.relu6(x + 3) / 6,
}


def below(weights: Weights, name: str) -> Weights:
    """The tensors of one submodule, by their names in it."""
    return {key[len(name) + 1 :]: tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}


def center(kernel: Tensor, side: int) -> Tensor:
    start = (kernel.shape[-1] - side) // 2
    return kernel[..., start : start + side, start : start + side]


def conv(w: Weights, x: Tensor, out: int, side: int, stride: int = 1) -> Tensor:
    bias = w["bias"][:out] if "bias" in w else None
    return F.conv2d(x, center(w["weight"][:out, : x.shape[1]], side), bias, stride, side // 2)


def depthwise(w: Weights, x: Tensor, side: int, stride: int = 1) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, center(w["weight"][:channels], side), None, stride, side // 2, groups=channels)


def linear(w: Weights, x: Tensor, out: int) -> Tensor:
    return F.linear(x, w["weight"][:out, : x.shape[-1]], w["bias"][:out] if "bias" in w else None)


def batch_norm(w: Weights, x: Tensor) -> Tensor:
    channels = x.shape[1]
    return F.batch_norm(x, None, None, w["weight"][:channels], w["bias"][:channels], True, 0.1, 1e-5)


def layer_norm(w: Weights, x: Tensor, over: str) -> Tensor:
    gain, bias = w["weight"][: x.shape[-1]], w["bias"][: x.shape[-1]]
    if over == "token":
        return F.layer_norm(x, x.shape[-1:], gain, bias)
    return torch.addcmul(bias, F.layer_norm(x, x.shape[1:]), gain)


def conv_norm(w: Weights, x: Tensor, out: int, side: int, act: str | None, stride: int = 1) -> Tensor:
    x = batch_norm(below(w, "norm"), conv(below(w, "conv"), x, out, side, stride))
    return x if act is None else ACTIVATIONS[act](x)


def squeeze_excite(w: Weights, x: Tensor, squeezed: int, act: str) -> Tensor:
    inner = ACTIVATIONS[act](conv(below(w, "reduce"), x.mean((2, 3), keepdim=True), squeezed, 1))
    return x * ACTIVATIONS["hard_sigmoid"](conv(below(w, "expand"), inner, x.shape[1], 1))


def mbconv(
    w: Weights,
    x: Tensor,
    out: int,
    side: int,
    expand: float,
    stride: int,
    act: str,
    options: MBConvOptions,
    gated: bool,
) -> Tensor:
    channels = x.shape[1]
    hidden = x
    if expand != 1:
        hidden = conv_norm(below(w, "expand"), x, options.hidden_channels(channels, expand), 1, act)
    inner = below(w, "depthwise")
    hidden = depthwise(below(inner, "conv"), hidden, side, stride)
    hidden = ACTIVATIONS[act](batch_norm(below(inner, "norm"), hidden))
    if gated:
        squeezed = options.squeeze_channels(channels if options.squeeze_excite_of == "input" else hidden.shape[1])
        hidden = squeeze_excite(below(w, "squeeze_excite"), hidden, squeezed, options.squeeze_excite_activation)
    hidden = conv_norm(below(w, "project"), hidden, out, 1, None)
    if stride == 1 and channels == out:
        return x + hidden
    if options.shortcut == "identity":
        return hidden
    if stride > 1:
        x = F.avg_pool2d(x, stride, padding=x.shape[2] % stride)
    return (x if channels == out else conv(below(w, "shortcut"), x, out, 1)) + hidden


def talking_heads(w: Weights, maps: Tensor) -> Tensor:
    heads = maps.shape[1]
    weight = w["weight"][:heads, :heads].expand(len(maps), -1, -1)
    return torch.baddbmm(w["bias"][:heads][:, None], weight, maps.flatten(2)).view_as(maps)


def position_bias(w: Weights, side: int, heads: int) -> Tensor:
    table, middle = w["table"], w["table"].shape[0] // 2
    crop = table[middle - side + 1 : middle + side, middle - side + 1 : middle + side, :heads]
    steps = torch.arange(side)
    rows = (steps[:, None] - steps + side - 1)[:, None, :, None].expand(side, side, side, side)
    columns = (steps[:, None] - steps + side - 1)[None, :, None, :].expand(side, side, side, side)
    picked = crop.reshape(-1, heads).index_select(0, (rows * (2 * side - 1) + columns).reshape(-1))
    return picked.t().reshape(heads, side * side, side * side)


def attention(w: Weights, x: Tensor, windows: int, act: str, options: TransformerOptions) -> Tensor:
    batch, side, _, channels = x.shape
    heads, values, small = channels // options.head_dim, channels * options.value_ratio, side // windows

    def split(tokens: Tensor) -> Tensor:
        tokens = tokens.reshape(batch, windows, small, windows, small, heads, -1).permute(0, 1, 3, 5, 2, 4, 6)
        return tokens.reshape(batch * windows**2, heads, small**2, -1)

    value = linear(below(w, "value"), x, values).permute(0, 3, 1, 2)
    value = split(depthwise(below(w, "value_conv"), value, 3).permute(0, 2, 3, 1))
    query = split(linear(below(w, "query"), x, channels) * options.head_dim**-0.5)
    key = split(linear(below(w, "key"), x, channels))
    logits = query @ key.transpose(2, 3) + position_bias(below(w, "position_bias"), small, heads)
    logits = talking_heads(below(w, "mix_logits"), logits)
    mixed = talking_heads(below(w, "mix_weights"), logits.softmax(3)) @ value
    mixed = mixed.reshape(batch, windows, windows, heads, small, small, -1).permute(0, 1, 4, 2, 5, 3, 6)
    mixed = mixed.reshape(batch, side, side, values)
    if options.projection_activation == "before":
        return linear(below(w, "project"), ACTIVATIONS[act](mixed), channels)
    return ACTIVATIONS[act](linear(below(w, "project"), mixed, channels))


def mlp(w: Weights, x: Tensor, ratio: float, act: str) -> Tensor:
    hidden = linear(below(w, "widen"), x, round(x.shape[-1] * ratio))
    if "conv.weight" in w:
        hidden = depthwise(below(w, "conv"), hidden.permute(0, 3, 1, 2), 3).permute(0, 2, 3, 1)
    return linear(below(w, "narrow"), ACTIVATIONS[act](hidden), x.shape[-1])


def transformer(
    w: Weights,
    x: Tensor,
    ratio: float,
    windows: int,
    scale: tuple[int, int],
    act: str,
    options: TransformerOptions,
) -> Tensor:
    channels = x.shape[1]
    tokens = x.permute(0, 2, 3, 1)
    macaron = options.mlp_order == "macaron"
    for name in ("mlp1", "attention", "mlp2") if macaron else ("attention", "mlp2", "mlp1"):
        normal = layer_norm(below(w, f"norms.{name}"), tokens, options.norm)
        if name == "attention":
            change, scales = attention(below(w, name), normal, windows, act, options), w["attention_scale.weight"]
        else:
            change, scales = mlp(below(w, name), normal, ratio, act), w["mlp_scale.weight"]
        own = scales[scale[0], scale[1], :channels]
        if options.scale == "depth_tokens":
            own = own * (options.head_dim / channels)
        tokens = tokens + change * own
    return tokens.permute(0, 3, 1, 2)


def ghost_module(w: Weights, x: Tensor, out: int, side: int, act: str | None) -> Tensor:
    """Channel 2i is the i-th of the 1x1 convolution, channel 2i + 1 is made of it alone."""
    primary = conv_norm(below(w, "primary"), x, (out + 1) // 2, 1, act)
    inner = below(w, "cheap")
    cheap = batch_norm(below(inner, "norm"), depthwise(below(inner, "conv"), primary, side, 1))
    cheap = cheap if act is None else ACTIVATIONS[act](cheap)
    return torch.stack((primary, cheap), 2).flatten(1, 2)[:, :out]


def ghost_block(
    w: Weights,
    x: Tensor,
    out: int,
    side: int,
    expand: float,
    stride: int,
    act: str,
    options: MBConvOptions,
    gated: bool,
) -> Tensor:
    channels = x.shape[1]
    wide = channels if expand == 1 else options.hidden_channels(channels, expand)
    hidden = ghost_module(below(w, "widen"), x, wide, side, act)
    if stride > 1:
        inner = below(w, "depthwise")
        hidden = batch_norm(below(inner, "norm"), depthwise(below(inner, "conv"), hidden, side, stride))
    if gated:
        squeezed = options.squeeze_channels(channels if options.squeeze_excite_of == "input" else wide)
        hidden = squeeze_excite(below(w, "squeeze_excite"), hidden, squeezed, options.squeeze_excite_activation)
    hidden = ghost_module(below(w, "narrow"), hidden, out, side, None)
    if stride == 1 and channels == out:
        return x + hidden
    inner = below(w, "shortcut.0")
    x = batch_norm(below(inner, "norm"), depthwise(below(inner, "conv"), x, side, stride))
    return conv_norm(below(w, "shortcut.1"), x, out, 1, None) + hidden


def universal(
    w: Weights,
    x: Tensor,
    out: int,
    sides: tuple[int, int],
    expand: float,
    stride: int,
    act: str,
    options: MBConvOptions,
) -> Tensor:
    channels, (start, side) = x.shape[1], sides
    hidden = x
    if start:
        hidden = batch_norm(below(w, "start.norm"), depthwise(below(w, "start.conv"), x, start))
    wide = channels if expand == 1 else options.hidden_channels(channels, expand)
    hidden = conv_norm(below(w, "expand"), hidden, wide, 1, act)
    if side:
        hidden = batch_norm(below(w, "depthwise.norm"), depthwise(below(w, "depthwise.conv"), hidden, side, stride))
        hidden = ACTIVATIONS[act](hidden)
    hidden = conv_norm(below(w, "project"), hidden, out, 1, None)
    return x + hidden if stride == 1 and channels == out else hidden


def conv_pair(
    w: Weights, x: Tensor, out: int, side: int, expand: float, stride: int, act: str, options: MBConvOptions
) -> Tensor:
    wide = x.shape[1] if expand == 1 else options.hidden_channels(x.shape[1], expand)
    return conv_norm(below(w, "narrow"), conv_norm(below(w, "widen"), x, wide, side, act, stride), out, 1, act)


def network(w: Weights, space: Space, architecture: Architecture, x: Tensor) -> Tensor:
    """Class scores of one subnet."""
    side = architecture.resolution
    if x.shape[2] != side:
        x = F.interpolate(x, size=(side, side), mode="bicubic", align_corners=False)
    x = conv_norm(
        below(w, "stem"), x, architecture.width[0], space.stem.kernel_size, space.activation, space.stem.stride
    )
    for number, stage in enumerate(space.stages):
        x = _stage(below(w, f"stages.{number}"), x, space, stage, number, architecture)
    head = below(w, "head")
    hidden = round(x.shape[1] * space.head.expand_ratio)
    x = conv_norm(below(head, "expand"), x, hidden, 1, space.activation).mean((2, 3), keepdim=True)
    x = ACTIVATIONS[space.activation](conv(below(head, "mix.conv"), x, architecture.width[-1], 1)).flatten(1)
    return linear(below(head, "classifier"), x, len(head["classifier.weight"]))


def own_size(architecture: Architecture, field: str, number: int, block: int) -> Any:
    """A size of one block: the first one of a stage may have its own."""
    entries = getattr(architecture, f"first_{field}")
    if block == 0 and entries and entries[number] is not None:
        return entries[number]
    return getattr(architecture, field)[number]


def _stage(w: Weights, x: Tensor, space: Space, stage: Stage, number: int, architecture: Architecture) -> Tensor:
    out, depth = architecture.width[number + 1], architecture.depth[number]
    for block in range(depth):
        kernel_size = own_size(architecture, "kernel_size", number, block)
        expand = own_size(architecture, "expand_ratio", number, block)
        own = below(w, str(block))
        if block and stage.hybrid:
            ratio, windows = architecture.mlp_ratio[number], architecture.windows[number]
            assert space.transformer is not None
            assert ratio is not None
            assert windows is not None
            scale = {
                "width_depth": (stage.width.index(out), stage.depth.index(depth)),
                "depth_tokens": (depth, x.shape[2] * x.shape[3] % 8),
                "shared": (0, 0),
            }[space.transformer.scale]
            x = transformer(own, x, ratio, windows, scale, space.activation, space.transformer)
        else:
            stride, gated = 1 if block else stage.stride, stage.squeeze_excite
            if stage.block == "universal":
                sides = own_size(architecture, "start_kernel_size", number, block), kernel_size
                x = universal(own, x, out, sides, expand, stride, space.activation, space.mbconv)
                continue
            if stage.block == "conv_pair":
                x = conv_pair(own, x, out, kernel_size, expand, stride, space.activation, space.mbconv)
                continue
            compute = ghost_block if stage.block == "ghost" else mbconv
            x = compute(own, x, out, kernel_size, expand, stride, space.activation, space.mbconv, gated)
    return x
