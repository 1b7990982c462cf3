"""Families of convolutional networks whose width is chosen: MobileNet, MNasNet, ResNet, ShuffleNet."""

from __future__ import annotations

from dataclasses import replace

from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec


def _repeat(first: BlockSpec, count: int) -> tuple[BlockSpec, ...]:
    return (first, *(replace(first, stride=1) for _ in range(count - 1)))


def mobilenet_v1() -> Family:
    """MobileNet v1: depthwise separable convolutions throughout."""
    settings = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
    stages = tuple(
        _repeat(BlockSpec("inverted", channels, stride, out_act="relu6", shortcut=False), count)
        for channels, count, stride in settings
    )
    return Family("mobilenet_v1", "Howard et al. (2017), https://arxiv.org/abs/1704.04861", StemSpec(32), stages)


def mobilenet_v2() -> Family:
    """MobileNet v2: inverted residuals; the head keeps its 1280 channels at widths below 1.

    In a slimmable network all widths have the head of the widest, as released: 1,664 channels up to 1.3.
    """
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    stages = tuple(
        _repeat(BlockSpec("inverted", channels, stride, expand=expand), count)
        for expand, channels, count, stride in settings
    )
    head = HeadSpec(1280, fixed=True, of_widest=True)
    return Family("mobilenet_v2", "Sandler et al. (2018), https://arxiv.org/abs/1801.04381", StemSpec(32), stages, head)


def mnasnet() -> Family:
    """MNasNet-B1 (no squeeze-and-excite), with ReLU6 as in the released AutoSlim code."""
    settings = (
        (1, 16, 1, 1, 3),
        (3, 24, 3, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 3, 2, 5),
        (6, 96, 2, 1, 3),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    stages = tuple(
        _repeat(BlockSpec("inverted", channels, stride, kernel_size=side, expand=expand), count)
        for expand, channels, count, stride, side in settings
    )
    source = "Tan et al. (2019), https://arxiv.org/abs/1807.11626"
    return Family("mnasnet", source, StemSpec(32), stages, HeadSpec(1280))


RESNET_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int = 50) -> Family:
    """ResNet with basic blocks (18, 34) or bottlenecks that stride in their 3x3 convolution (50, 101, 152).

    Args:
        depth: layers.

    Raises:
        ValueError: if there is no ResNet of that depth.
    """
    if depth not in RESNET_DEPTHS:
        raise ValueError(f"resnet: depth={depth}; legal: {', '.join(map(str, RESNET_DEPTHS))}")
    bottleneck = depth >= 50
    stages = []
    for number, count in enumerate(RESNET_DEPTHS[depth]):
        channels = 64 * 2**number * (4 if bottleneck else 1)
        stride = 1 if number == 0 else 2
        stages.append(_repeat(BlockSpec("bottleneck" if bottleneck else "basic", channels, stride, act="relu"), count))
    stem = StemSpec(64, kernel_size=7, act="relu", pool=3)
    source = "He et al. (2016), https://arxiv.org/abs/1512.03385"
    return Family(f"resnet{depth}", source, stem, tuple(stages), divisor=0)


def shufflenet_v1(groups: int = 3) -> Family:
    """ShuffleNet v1 with 3 groups; width 1 has 240, 480 and 960 channels.

    The max-pooling of the stem is not padded, and groups are convolutions of their own, as in the released slimmable
    network.

    Args:
        groups: groups of the 1x1 convolutions.
    """
    stages = []
    for channels, count in ((240, 4), (480, 8), (960, 4)):
        first = BlockSpec("shuffle", channels, 2, act="relu", groups=groups, split_input=channels != 240)
        rest = replace(first, stride=1, split_input=True)
        stages.append((first, *[rest] * (count - 1)))
    stem = StemSpec(24, act="relu", pool=3, pool_padding=0, groups=groups)
    source = "Zhang et al. (2018), https://arxiv.org/abs/1707.01083"
    return Family("shufflenet_v1", source, stem, tuple(stages), divisor=0)


SHUFFLENET_V2_WIDTHS = (0.5, 1.0, 1.5, 2.0)
"""The published widths of ShuffleNet v2."""

_SHUFFLENET_V2_CHANNELS = (
    (24, 24, 24, 24),
    (48, 116, 176, 244),
    (96, 232, 352, 488),
    (192, 464, 704, 976),
    (1024, 1024, 1024, 2048),
)


def shufflenet_v2() -> Family:
    """ShuffleNet v2 at widths from 0.5 to 2; the published channels of 0.5, 1, 1.5 and 2 are no multiples."""
    stages = [
        _repeat(BlockSpec("split_shuffle", row[1], 2, act="relu"), count)
        for row, count in zip(_SHUFFLENET_V2_CHANNELS[1:4], (4, 8, 4), strict=True)
    ]
    return Family(
        "shufflenet_v2",
        "Ma et al. (2018), https://arxiv.org/abs/1807.11164",
        StemSpec(24, act="relu", pool=3),
        tuple(stages),
        HeadSpec(1024, act="relu"),
        divisor=2,
        published=tuple(
            (row[1], tuple(zip(SHUFFLENET_V2_WIDTHS, row, strict=True))) for row in _SHUFFLENET_V2_CHANNELS
        ),
    )
