"""Saved detectors and segmenters that find something, though they were never trained, and images for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import nasvit
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.fcos import FCOS
from nasvit.heads.head import Head
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.specs import DenseSpec, PlannedSpec, Spec, SubnetSpec
from tests.nasvit.data.annotated_folders import annotation, write_coco, write_masks
from tests.nasvit.filled import filled

SMALL_FCOS = FCOS(channels=32, convs=1, strides=(8, 16))
SMALL_LRASPP = LRASPP(channels=16, strides=(8, 32))
SMALL_PYRAMID = PyramidSegmentation(channels=16, strides=(8, 16))
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SHORT = Family(
    "short",
    "a test",
    StemSpec(16),
    (
        (BlockSpec("inverted", 16, 2),),
        (BlockSpec("inverted", 24, 2, expand=3), BlockSpec("inverted", 24, expand=3)),
        (BlockSpec("inverted", 32, 2, expand=3),),
        (BlockSpec("inverted", 48, 2, expand=3),),
    ),
    HeadSpec(64, fixed=True),
)
SMALL = PlannedSpec(SHORT, SHORT.plan(), 3)
"""A network of few blocks with maps of strides 4 to 32: what exporting takes, it takes for every block."""


def dense_network(base: Spec, head: Head, size: tuple[int, int], classes: int) -> tuple[DenseNetwork, DenseSpec]:
    """A detector that says of some places that there is an object, or a segmenter that knows several classes."""
    backbone = base.build(1, seed=1)
    if isinstance(base, SubnetSpec):
        filled(backbone)
    spec = DenseSpec(base, head, size)
    pixels = torch.randn(16, 3, *size, generator=torch.Generator().manual_seed(0))
    network = spec.around(backbone, classes, seed=1)
    nasvit.calibrate(network, [pixels])
    with torch.no_grad():
        _be_sure(network.eval(), pixels)
    return network, spec


def _be_sure(network: DenseNetwork, pixels: torch.Tensor) -> None:
    """Spread the scores of places and pixels, and let boxes be some strides wide."""
    head: Any = network.head
    if not isinstance(network.head.head, FCOS):
        last = [module for module in network.head.modules() if isinstance(module, nn.Conv2d)][-1]
        last.weight.mul_(3 / network(pixels).std())
        return
    for branch, level in ((head.classify.cls_logits, 0.0), (head.regress.bbox_ctrness, 2.0)):
        branch.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(2))
        branch.bias.fill_(level)
    head.regress.bbox_reg.bias.fill_(2.0)


def saved_detector(folder: Path, source: str | None = None) -> Path:
    """A saved detector of cats and dogs in images of 64x96 pixels (height, width)."""
    network, spec = dense_network(SMALL, SMALL_FCOS, (64, 96), 2)
    return _saved(network, spec, folder, ("cat", "dog"), source)


def saved_segmenter(folder: Path, source: str | None = None, head: Head = SMALL_LRASPP) -> Path:
    """A saved segmenter of three classes in images of 64x96 pixels (height, width)."""
    network, spec = dense_network(SMALL, head, (64, 96), 3)
    return _saved(network, spec, folder, ("0", "1", "2"), source)


def _saved(network: nn.Module, spec: DenseSpec, folder: Path, classes: tuple[str, ...], source: str | None) -> Path:
    origin: dict[str, Any] = {"config": {"data": {"source": source}}} if source else {}
    save_network(network, folder, Card(spec, classes, None, MEAN, DEVIATION, origin=origin))
    return folder


def noise(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """Write a picture of a width and height with something in it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def boxes_folder(folder: Path) -> str:
    """A COCO folder of cats and dogs, and its name as a source."""
    for part in ("train", "test"):
        annotations = [annotation(n, n % 4 + 1, (n, 1, 8, 6), (7, 3)[n % 2]) for n in range(1, 9)]
        write_coco(folder, annotations, images=4, part=part)
        for number in range(1, 5):
            noise(folder / part / f"{number}.png", (20, 10), number)
    return f"coco:{folder}"


def masks_folder(folder: Path) -> str:
    """A folder of masks of three classes, and its name as a source."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        write_masks(folder, {f"{n}": np.repeat(rng.integers(0, 3, (8, 12)), 4, 1) for n in range(4)}, part)
        for number in range(4):
            noise(folder / "images" / part / f"{number}.jpg", (48, 8), number)
    return f"masks:{folder}"
