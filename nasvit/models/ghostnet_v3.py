"""GhostNetV3 as a plain network, with branches for training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from nasvit.layers.activation import activation
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.calibration import track_statistics
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.depthwise import DepthwiseConv2d
from nasvit.layers.ghost import DecoupledAttention, GhostBlock, GhostModule
from nasvit.layers.head import Head
from nasvit.layers.network import Network
from nasvit.layers.reparameterized import Reparameterized
from nasvit.layers.squeeze_excite import SqueezeExcite
from search_spaces import make_divisible

DIVISOR = 4
HEAD_CHANNELS = 1280
WITHOUT_ATTENTION = 2  # the first blocks, whose maps are large


@dataclass(frozen=True)
class Setting:
    """One block at width 1: kernel size, hidden channels, channels out, gate, stride."""

    kernel_size: int
    hidden: int
    out_channels: int
    gated: bool = False
    stride: int = 1


SETTINGS: tuple[tuple[Setting, ...], ...] = (
    (Setting(3, 16, 16),),
    (Setting(3, 48, 24, stride=2),),
    (Setting(3, 72, 24),),
    (Setting(5, 72, 40, gated=True, stride=2),),
    (Setting(5, 120, 40, gated=True),),
    (Setting(3, 240, 80, stride=2),),
    (
        Setting(3, 200, 80),
        Setting(3, 184, 80),
        Setting(3, 184, 80),
        Setting(3, 480, 112, gated=True),
        Setting(3, 672, 112, gated=True),
    ),
    (Setting(5, 672, 160, gated=True, stride=2),),
    (
        Setting(5, 960, 160),
        Setting(5, 960, 160, gated=True),
        Setting(5, 960, 160),
        Setting(5, 960, 160, gated=True),
    ),
)


@dataclass(frozen=True)
class GhostOptions:
    """Options of all blocks: branches and attention.

    Args:
        branches: convolutions side by side in every ghost module and strided depthwise convolution.
        scale: add a 1x1 depthwise branch to depthwise convolutions.
        identity: add the input to depthwise convolutions that keep the size.
        attention: weigh the widening ghost modules by decoupled attention.
    """

    branches: int = 3
    scale: bool = True
    identity: bool = True
    attention: bool = True


def ghostnet_v3(
    width: float = 1.0,
    classes: int = 1000,
    *,
    options: GhostOptions = GhostOptions(),
    seed: int = 0,
    image_channels: int = 3,
    small_images: bool = False,
) -> Network:
    """Return a freshly initialized GhostNetV3; its batch norms keep statistics.

    Source: Liu et al., GhostNetV3 (2024), https://arxiv.org/abs/2404.11202; sizes as in the released code.

    Args:
        width: width multiplier; published are 0.5, 1.0, 1.3 and 1.6.
        classes: number of classes.
        options: branches and attention.
        seed: seed of the initial weights.
        image_channels: channels of the images.
        small_images: for 32x32 images: the stem and the first strided block keep the size.

    Raises:
        ValueError: if the width is not above 0, there is less than one class or branch.
    """
    if width <= 0 or classes < 1 or options.branches < 1:
        raise ValueError(f"ghostnet_v3: width={width}, classes={classes}, {options}; legal: above 0, from 1, from 1")
    channels = make_divisible(16 * width, DIVISOR)
    stem = _unit(nn.Conv2d(image_channels, channels, 3, 1 if small_images else 2, 1, bias=False), "relu")
    stages: list[list[nn.Module]] = []
    number, halved = 0, not small_images
    for settings in SETTINGS:
        stages.append([])
        for setting in settings:
            stride = setting.stride if halved else 1
            halved = halved or setting.stride > 1
            attention = options.attention and number >= WITHOUT_ATTENTION
            stages[-1].append(_block(setting, stride, channels, width, attention, options))
            channels = make_divisible(setting.out_channels * width, DIVISOR)
            number += 1
    wide = make_divisible(SETTINGS[-1][-1].hidden * width, DIVISOR)
    network = Network(None, stem, stages, _head(channels, wide, classes))
    track_statistics(network)
    _initialize(network, seed)
    return network


def _head(channels: int, wide: int, classes: int) -> Head:
    expand = _unit(nn.Conv2d(channels, wide, 1, bias=False), "relu")
    mix = ConvNorm(nn.Conv2d(wide, HEAD_CHANNELS, 1), None, activation("relu"))
    return Head(expand, mix, nn.Linear(HEAD_CHANNELS, classes))


def _block(
    setting: Setting, stride: int, in_channels: int, width: float, attention: bool, options: GhostOptions
) -> GhostBlock:
    hidden = make_divisible(setting.hidden * width, DIVISOR)
    out = make_divisible(setting.out_channels * width, DIVISOR)
    side = setting.kernel_size
    gate = None
    if setting.gated:
        squeezed = make_divisible(hidden / 4, DIVISOR)
        reduce, expand = nn.Conv2d(hidden, squeezed, 1), nn.Conv2d(squeezed, hidden, 1)
        gate = SqueezeExcite(reduce, expand, activation("relu"), activation("hard_sigmoid"))
    return GhostBlock(
        _ghost(in_channels, hidden, "relu", attention, options),
        branched_depthwise(hidden, side, stride, None, options) if stride > 1 else None,
        gate,
        _ghost(hidden, out, None, False, options),
        nn.Identity() if stride == 1 and in_channels == out else _shortcut(in_channels, out, side, stride),
    )


def _shortcut(in_channels: int, out_channels: int, side: int, stride: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("depthwise", _unit(DepthwiseConv2d(in_channels, side, stride=stride), None))
    layers.add_module("project", _unit(nn.Conv2d(in_channels, out_channels, 1, bias=False), None))
    return layers


def _ghost(in_channels: int, out_channels: int, act: str | None, attention: bool, options: GhostOptions) -> GhostModule:
    half = math.ceil(out_channels / 2)
    primary = Reparameterized(
        [_unit(nn.Conv2d(in_channels, half, 1, bias=False), None) for _ in range(options.branches)],
        act=None if act is None else activation(act),
    )
    cheap = branched_depthwise(half, 3, 1, act, options)
    return GhostModule(primary, cheap, out_channels, _attention(in_channels, out_channels) if attention else None)


def _attention(in_channels: int, out_channels: int) -> DecoupledAttention:
    def along(kernel_size: tuple[int, int], padding: tuple[int, int]) -> nn.Conv2d:
        return nn.Conv2d(out_channels, out_channels, kernel_size, 1, padding, groups=out_channels, bias=False)

    return DecoupledAttention(
        _unit(nn.Conv2d(in_channels, out_channels, 1, bias=False), None),
        _unit(along((1, 5), (0, 2)), None),
        _unit(along((5, 1), (2, 0)), None),
    )


def branched_depthwise(
    channels: int, kernel_size: int, stride: int, act: str | None, options: GhostOptions
) -> Reparameterized:
    """Return a depthwise convolution with branches: several of its size, a 1x1 one, and the input where size stays.

    Args:
        channels: channels in and out.
        kernel_size: side of the kernel, in pixels.
        stride: stride, in pixels.
        act: name of the activation after the sum, or None.
        options: number of branches, and whether there are a 1x1 one and the input.
    """
    count = range(options.branches)
    branches = [_unit(DepthwiseConv2d(channels, kernel_size, stride=stride), None) for _ in count]
    scale = _unit(DepthwiseConv2d(channels, 1, stride=stride), None) if options.scale else None
    identity = BatchNorm2d(channels) if options.identity and stride == 1 else None
    return Reparameterized(branches, scale, identity, None if act is None else activation(act))


def _unit(conv: nn.Conv2d, act: str | None) -> ConvNorm:
    return ConvNorm(conv, BatchNorm2d(conv.out_channels), None if act is None else activation(act))


@torch.no_grad()
def _initialize(network: nn.Module, seed: int) -> None:
    """Initialize convolutions: normal, variance ``2 / fan_out`` (He et al., 2015); classifier: deviation 0.01."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not module.weight.is_meta:
            deviation = 0.01
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels // module.groups * module.weight[0, 0].numel()
                deviation = (2 / fan_out) ** 0.5
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * deviation)
            if module.bias is not None:
                module.bias.zero_()
