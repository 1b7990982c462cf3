"""Tiny networks that NetAug was published with."""

from __future__ import annotations

import re
from collections.abc import Callable

from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from search_spaces import make_divisible

NETAUG = "https://arxiv.org/abs/2110.08890"
SMALL_IMAGES = "@32"
MOBILENET_V2 = "Sandler et al. (2018), https://arxiv.org/abs/1801.04381"


def mobilenet_v2_tiny() -> Family:
    """MobileNetV2-Tiny: MobileNetV2 at width 0.35 with a smaller head, 144x144 images."""
    stages = _mobilenet_v2_stages(0.35)
    last = (BlockSpec("inverted", 112, expand=6, shortcut=False),)
    source = f"Cai et al. (2022), {NETAUG}"
    return Family("tinymbv2", source, StemSpec(16), (*stages, last), HeadSpec(448), resolution=144)


def mobilenet_v2_small(width: float = 0.35) -> Family:
    """MobileNetV2 at a small width, 160x160 images.

    Args:
        width: width multiplier; the head keeps its 1280 channels below 1.
    """
    last = (BlockSpec("inverted", make_divisible(320 * width, 8), expand=6, shortcut=False),)
    head = HeadSpec(max(make_divisible(1280 * width, 8), 1280))
    stem = StemSpec(make_divisible(32 * width, 8))
    return Family("mbv2", MOBILENET_V2, stem, (*_mobilenet_v2_stages(width), last), head, resolution=160)


def _mobilenet_v2_stages(width: float) -> tuple[tuple[BlockSpec, ...], ...]:
    settings = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2))
    stages = [
        _stage(make_divisible(channels * width, 8), stride, (6,) * count, (3,) * count)
        for channels, count, stride in settings
    ]
    return (_first(make_divisible(16 * width, 8)), *stages)


def mcunet() -> Family:
    """MCUNet for ImageNet on microcontrollers, 176x176 images.

    Source: Lin et al., MCUNet (2020), https://arxiv.org/abs/2007.10319
    """
    stages = (
        _first(8),
        _stage(16, 2, (3, 5, 5, 4), (7, 3, 7, 5)),
        _stage(24, 2, (5, 5, 5), (5, 5, 5)),
        _stage(40, 2, (5, 6, 4), (3, 7, 5)),
        _stage(48, 1, (5, 5, 5), (5, 7, 3)),
        _stage(96, 2, (6, 5, 4), (3, 7, 3)),
        (BlockSpec("inverted", 160, kernel_size=7, expand=5, shortcut=False),),
    )
    return Family("mcunet", "Lin et al. (2020), https://arxiv.org/abs/2007.10319", StemSpec(16), stages, resolution=176)


def proxylessnas(width: float = 0.35) -> Family:
    """ProxylessNAS-Mobile at a small width, 160x160 images.

    Args:
        width: width multiplier; the head keeps its 1280 channels below 1.
    """
    settings = (
        (32, 2, (3, 3), (5, 3)),
        (40, 2, (3, 3, 3, 3), (7, 3, 5, 5)),
        (80, 2, (6, 3, 3, 3), (7, 5, 5, 5)),
        (96, 1, (6, 3, 3, 3), (5, 5, 5, 5)),
        (192, 2, (6, 6, 3, 3), (7, 7, 7, 7)),
    )
    stages = [_stage(make_divisible(c * width, 8), stride, expand, sides) for c, stride, expand, sides in settings]
    last = (BlockSpec("inverted", make_divisible(320 * width, 8), kernel_size=7, expand=6, shortcut=False),)
    first = _first(make_divisible(16 * width, 8))
    head = HeadSpec(max(make_divisible(1280 * width, 8), 1280))
    source = "Cai et al. (2019), https://arxiv.org/abs/1812.00332"
    stem = StemSpec(make_divisible(32 * width, 8))
    return Family("proxylessnas", source, stem, (first, *stages, last), head, resolution=160)


def mobilenet_v3(width: float = 0.35) -> Family:
    """MobileNetV3-Large at a small width, 160x160 images; the head keeps its 1280 channels.

    Args:
        width: width multiplier.
    """
    settings = (
        (24, 3, 2, (64, 72), "relu", False),
        (40, 5, 2, (72, 120, 120), "relu", True),
        (80, 3, 2, (240, 200, 184, 184), "hard_swish", False),
        (112, 3, 1, (480, 672), "hard_swish", True),
        (160, 5, 2, (672, 960, 960), "hard_swish", True),
    )
    channels = make_divisible(16 * width, 8)
    stages: list[tuple[BlockSpec, ...]] = [(BlockSpec("inverted", channels, act="relu", shortcut=True),)]
    for out, side, stride, hidden, act, gated in settings:
        out_channels = make_divisible(out * width, 8)
        stages.append(
            tuple(
                BlockSpec(
                    "inverted",
                    out_channels,
                    stride if place == 0 else 1,
                    side,
                    hidden=make_divisible(round(each * width), 8),
                    act=act,
                    squeeze_excite=gated,
                    shortcut=place > 0,
                )
                for place, each in enumerate(hidden)
            )
        )
    head = HeadSpec(make_divisible(960 * width, 8), max(make_divisible(1280 * width, 8), 1280), "hard_swish")
    source = "Howard et al. (2019), https://arxiv.org/abs/1905.02244"
    stem = StemSpec(channels, act="hard_swish")
    return Family("mbv3", source, stem, tuple(stages), head, resolution=160)


def _first(channels: int) -> tuple[BlockSpec, ...]:
    return (BlockSpec("inverted", channels, shortcut=False),)


def _stage(channels: int, stride: int, expand: tuple[int, ...], sides: tuple[int, ...]) -> tuple[BlockSpec, ...]:
    """Return the blocks of a stage: the first may stride and has no shortcut, the others have one."""
    return tuple(
        BlockSpec("inverted", channels, stride if place == 0 else 1, side, expand=ratio, shortcut=place > 0)
        for place, (ratio, side) in enumerate(zip(expand, sides, strict=True))
    )


TARGETS: dict[str, Callable[[], Family]] = {
    "tinymbv2": mobilenet_v2_tiny,
    "mcunet": mcunet,
    "mbv2": mobilenet_v2_small,
    "mbv3": mobilenet_v3,
    "proxylessnas": proxylessnas,
}
"""Targets by the names of the released code, at their published widths."""

_WITH_WIDTH: dict[str, Callable[[float], Family]] = {
    "mbv2": mobilenet_v2_small,
    "mbv3": mobilenet_v3,
    "proxylessnas": proxylessnas,
}


def target(name: str) -> Family:
    """Return the family that the released code calls ``name``, such as ``mcunet`` or ``mbv2-0.35``.

    Args:
        name: one of :data:`TARGETS`; of those made for many widths, a width may follow after a hyphen. ``@32`` at
            the end: the form for 32x32 images.

    Raises:
        ValueError: if there is no target of that name.
    """
    if name.endswith(SMALL_IMAGES):
        return target(name.removesuffix(SMALL_IMAGES)).for_small_images()
    kind, _, width = name.partition("-")
    if kind in TARGETS and not width:
        return TARGETS[kind]()
    if kind in _WITH_WIDTH and re.fullmatch(r"\d+(\.\d+)?", width):
        return _WITH_WIDTH[kind](float(width))
    legal = [f"{each}[-WIDTH]" if each in _WITH_WIDTH else each for each in TARGETS]
    raise ValueError(f"netaug target {name!r} is unknown; legal: {', '.join(legal)}, each also with {SMALL_IMAGES}")
