"""FBNetV3: plain networks found by a joint search over architectures and recipes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nasvit.layers import (
    BatchNorm2d,
    ConvNorm,
    DepthwiseConv2d,
    Head,
    MBConv,
    Network,
    SqueezeExcite,
    activation,
)
from nasvit.layers.calibration import track_statistics
from search_spaces import make_divisible

ACTIVATION = "hard_swish"
FEATURES = 1984
LEAST = 0.95
"""Share of channels that rounding to multiples of 8 leaves at least."""
STRIDES = (1, 2, 2, 2, 1, 2)
SQUEEZE_EXCITE = (False, False, True, False, True, True)


@dataclass(frozen=True)
class Blocks:
    """Equal blocks in a row.

    Args:
        kernel_size: side of the depthwise kernel, in pixels.
        expand_ratio: hidden channels over channels in, before rounding to a multiple of 8.
        channels: channels out.
        count: number of blocks.
    """

    kernel_size: int
    expand_ratio: int
    channels: int
    count: int = 1


@dataclass(frozen=True)
class Design:
    """One FBNetV3.

    Args:
        resolution: side of the images that it was designed for, in pixels.
        stem: channels after the stem.
        stages: the blocks of the six stages.
        paddings: padding of the strided depthwise convolution by stage, where the release pads by another number than
            half the kernel. It makes maps smaller and the network cheaper.
        head_ratio: channels before pooling over channels of the last stage.
    """

    resolution: int
    stem: int
    stages: tuple[tuple[Blocks, ...], ...]
    paddings: tuple[tuple[int, int], ...] = ()
    head_ratio: int = 6


_A = Design(
    224,
    16,
    (
        (Blocks(3, 1, 16, 2),),
        (Blocks(5, 4, 24), Blocks(5, 2, 24, 3)),
        (Blocks(5, 5, 40), Blocks(5, 3, 40, 4)),
        (Blocks(5, 5, 72), Blocks(3, 3, 72, 4)),
        (Blocks(3, 5, 120), Blocks(5, 3, 120, 5)),
        (Blocks(3, 6, 184), Blocks(5, 4, 184, 5), Blocks(5, 6, 224)),
    ),
    paddings=((3, 1), (5, 0)),
)

DESIGNS: dict[str, Design] = {
    "a0": Design(
        224,
        12,
        (
            (Blocks(3, 1, 12),),
            (Blocks(3, 4, 24), Blocks(3, 2, 24, 2)),
            (Blocks(3, 4, 40), Blocks(3, 2, 40, 2)),
            (Blocks(5, 4, 72), Blocks(3, 3, 72, 2)),
            (Blocks(3, 4, 104), Blocks(5, 3, 104, 3)),
            (Blocks(3, 4, 176), Blocks(3, 4, 176, 3), Blocks(3, 5, 208)),
        ),
        head_ratio=5,
    ),
    "a": _A,
    "b": Design(248, _A.stem, _A.stages, _A.paddings),
    "c": Design(
        248,
        16,
        (
            (Blocks(3, 1, 16, 2),),
            (Blocks(5, 5, 24), Blocks(3, 3, 24, 4)),
            (Blocks(5, 5, 48), Blocks(5, 2, 48, 4)),
            (Blocks(5, 4, 88), Blocks(3, 3, 88, 4)),
            (Blocks(3, 4, 120), Blocks(5, 3, 120, 5)),
            (Blocks(5, 5, 216), Blocks(5, 5, 216, 5), Blocks(5, 6, 216)),
        ),
        paddings=((3, 1), (5, 1)),
    ),
    "d": Design(
        248,
        24,
        (
            (Blocks(3, 1, 16, 2),),
            (Blocks(3, 5, 24), Blocks(3, 2, 24, 5)),
            (Blocks(5, 4, 40), Blocks(3, 3, 40, 4)),
            (Blocks(3, 5, 72), Blocks(3, 3, 72, 4)),
            (Blocks(3, 5, 128), Blocks(5, 3, 128, 6)),
            (Blocks(3, 6, 208), Blocks(5, 5, 208, 5), Blocks(5, 6, 240)),
        ),
    ),
    "e": Design(
        264,
        24,
        (
            (Blocks(3, 1, 16, 3),),
            (Blocks(5, 4, 24), Blocks(5, 2, 24, 4)),
            (Blocks(5, 4, 48), Blocks(5, 3, 48, 4)),
            (Blocks(5, 5, 80), Blocks(3, 3, 80, 4)),
            (Blocks(3, 5, 128), Blocks(5, 3, 128, 7)),
            (Blocks(3, 6, 216), Blocks(5, 5, 216, 5), Blocks(5, 6, 240)),
        ),
        paddings=((3, 1),),
    ),
    "f": Design(
        272,
        24,
        (
            (Blocks(3, 1, 24, 3),),
            (Blocks(5, 4, 32), Blocks(5, 2, 32, 4)),
            (Blocks(5, 4, 56), Blocks(5, 3, 56, 4)),
            (Blocks(5, 5, 88), Blocks(3, 3, 88, 4)),
            (Blocks(3, 5, 144), Blocks(5, 3, 144, 8)),
            (Blocks(3, 6, 248), Blocks(5, 5, 248, 6), Blocks(5, 6, 272)),
        ),
        paddings=((5, 0),),
    ),
    "g": Design(
        320,
        32,
        (
            (Blocks(3, 1, 24, 3),),
            (Blocks(5, 4, 40), Blocks(5, 2, 40, 4)),
            (Blocks(5, 4, 56), Blocks(5, 3, 56, 4)),
            (Blocks(5, 5, 104), Blocks(3, 3, 104, 4)),
            (Blocks(3, 5, 160), Blocks(5, 3, 160, 8)),
            (Blocks(3, 6, 264), Blocks(5, 5, 264, 6), Blocks(5, 6, 288, 2)),
        ),
    ),
}
"""The published networks A to G by letter, and A0, a smaller A. A and B differ only in resolution."""


def fbnetv3(
    name: str, classes: int = 1000, *, seed: int = 0, half_kernel_padding: bool = False, stem_bias: bool = True
) -> Network:
    """Build a FBNetV3.

    The network does not resize images; ``DESIGNS[name].resolution`` is the side that it was designed for. Its
    search trained candidates one by one, not in a supernet.

    Source: Dai et al., FBNetV3 (CVPR 2021), https://arxiv.org/abs/2006.02049; sizes and paddings of the models released
    in mobile-vision.

    Args:
        name: one of :data:`DESIGNS`.
        classes: number of classes.
        seed: seed of the initial weights.
        half_kernel_padding: pad every depthwise convolution by half its kernel, as timm does, and not as the release
            does in a, b, c, e and f.
        stem_bias: whether the stem's convolution has a bias, as in the release; timm's has none.

    Raises:
        ValueError: if there is no network of that name.
    """
    if name not in DESIGNS:
        raise ValueError(f"FBNetV3 {name!r} is unknown; legal: {', '.join(DESIGNS)}")
    design = DESIGNS[name]
    stem = nn.Conv2d(3, design.stem, 3, 2, 1, bias=stem_bias)
    stages, channels = [], design.stem
    for number, groups in enumerate(design.stages):
        padding = None if half_kernel_padding else dict(design.paddings).get(number)
        blocks = _stage(groups, channels, STRIDES[number], SQUEEZE_EXCITE[number], padding)
        stages.append(blocks)
        channels = groups[-1].channels
    head = _head(channels, channels * design.head_ratio, classes)
    network = Network(None, ConvNorm(stem, BatchNorm2d(design.stem), activation(ACTIVATION)), stages, head)
    _initialize(network, seed)
    track_statistics(network)
    return network


def _stage(
    groups: tuple[Blocks, ...], channels: int, stride: int, squeeze_excite: bool, padding: int | None
) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for group in groups:
        for _ in range(group.count):
            first = not blocks
            block = _block(group, channels, stride if first else 1, squeeze_excite, padding if first else None)
            blocks.append(block)
            channels = group.channels
    return blocks


def _block(group: Blocks, channels: int, stride: int, squeeze_excite: bool, padding: int | None) -> MBConv:
    hidden = make_divisible(channels * group.expand_ratio, least=LEAST)
    depthwise = DepthwiseConv2d(hidden, group.kernel_size, stride=stride)
    if padding is not None:
        depthwise.padding = (padding, padding)
    return MBConv(
        None if hidden == channels else _conv_norm(channels, hidden, ACTIVATION),
        ConvNorm(depthwise, BatchNorm2d(hidden), activation(ACTIVATION)),
        _squeeze_excite(hidden, make_divisible(channels / 4, least=LEAST)) if squeeze_excite else None,
        _conv_norm(hidden, group.channels),
        nn.Identity() if stride == 1 and channels == group.channels else None,
    )


def _squeeze_excite(channels: int, squeezed: int) -> SqueezeExcite:
    reduce, expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
    return SqueezeExcite(reduce, expand, activation(ACTIVATION), activation("hard_sigmoid"))


def _head(channels: int, hidden: int, classes: int) -> Head:
    mix = ConvNorm(nn.Conv2d(hidden, FEATURES, 1, bias=False), None, activation(ACTIVATION))
    return Head(_conv_norm(channels, hidden, ACTIVATION), mix, nn.Linear(FEATURES, classes))


def _conv_norm(in_channels: int, out_channels: int, act: str | None = None) -> ConvNorm:
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return ConvNorm(conv, BatchNorm2d(out_channels), None if act is None else activation(act))


@torch.no_grad()
def _initialize(network: Network, seed: int) -> None:
    """Initialize as He et al. (2015), by fan-out; the last batch norm of a block with a shortcut starts at gain 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and not module.weight.is_meta:
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, MBConv) and module.shortcut is not None:
            nn.init.zeros_(module.project.norm.weight)  # type: ignore[union-attr, arg-type]
