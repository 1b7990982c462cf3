"""Batches are bit for bit those of the release that prepared them whole on the host."""

from __future__ import annotations

import hashlib
import io
import platform
from pathlib import Path

import numpy as np
import PIL
import pytest
import timm
import torch
from PIL import Image

from nasvit.data import NO_AUGMENTATION, Augmentation, ImageSet, Loader, Normalization, load_images
from nasvit.data.images import from_pixels

VERSIONS = ("2.14.1", "1.0.31", "13.0.0", "x86_64")
NORMALIZATION = {1: Normalization((0.3,), (0.25,), "made"), 3: Normalization.imagenet()}
AUGMENTATIONS = {
    "none": NO_AUGMENTATION,
    "pad": Augmentation(padding=2, randaugment=0, random_erasing=0, mixup=0, cutmix=0),
    "default": Augmentation(),
    "erasing": Augmentation(randaugment=0, random_erasing=0.7, mixup=0, cutmix=0),
    "mixup": Augmentation(randaugment=2, mixup=0.8, cutmix=0),
    "cutmix": Augmentation(randaugment=0, mixup=0, cutmix=1.0),
    "strong": Augmentation(padding=3, randaugment=9, randaugment_layers=2, random_erasing=0.5, mixup=0.5, cutmix=0.5),
    "resized": Augmentation(crop="resized", random_erasing=0.4, mixup=0.4, cutmix=0.4),
    "plain resized": Augmentation(crop="resized", randaugment=0, random_erasing=0, mixup=0, cutmix=0),
}
RECORDED = {
    "none 1": "9e0e729778ddb969",
    "none 3": "920d0cfbfd271d52",
    "pad 1": "b1cfa98099bebc3b",
    "pad 3": "fe59e6d5f6c0daae",
    "default 1": "9526b890ae387ebc",
    "default 3": "81e8f03d0dfe49e3",
    "erasing 1": "821ac49de88d615b",
    "erasing 3": "ef11e594ecd898f2",
    "mixup 1": "040de8591627eb1f",
    "mixup 3": "afe1eba415322e7e",
    "cutmix 1": "60d944033885668e",
    "cutmix 3": "934560a7f536743b",
    "strong 1": "fc2a3b3f93cdf884",
    "strong 3": "7f16f881e86d63c6",
    "none memory": "920d0cfbfd271d52",
    "none files": "04b02ec615248ea1",
    "resized memory": "194243b1c504dd01",
    "resized files": "d0e45ac8d06bc275",
    "plain resized memory": "ccbbfac8a6cb46e8",
    "plain resized files": "3f24e37039f45b1d",
}


def in_memory(channels: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(256, size=(50, 12, 10, channels), dtype=np.uint8)
    return ImageSet(from_pixels(pixels), torch.arange(50) % 3, ("a", "b", "c"), "made")


def in_files(folder: Path) -> ImageSet:
    rng = np.random.default_rng(1)
    for index in range(40):
        coarse = Image.fromarray(rng.integers(256, size=(6, 6 + index % 3, 3), dtype=np.uint8))
        (folder / "abc"[index % 3]).mkdir(exist_ok=True)
        stream = io.BytesIO()
        coarse.resize((40 + index, 50)).save(stream, "JPEG")
        (folder / "abc"[index % 3] / f"{index}.jpg").write_bytes(stream.getvalue())
    return load_images(folder)


def digest(*tensors: torch.Tensor) -> str:
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(str((tuple(tensor.shape), tensor.stride(), tensor.dtype)).encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


def digests(images: ImageSet, augmentation: Augmentation, image_size: int | None) -> str:
    loader = Loader(
        images,
        batch_size=12,
        normalization=NORMALIZATION[images.channels],
        augmentation=augmentation,
        image_size=image_size,
        seed=4,
        channels_last=augmentation.crop != "none",
    )
    served = [*loader.batch(0, 1), *loader.batch(2, 0)]
    for batch in loader.evaluation_batches():
        served += batch
    return digest(*served, *loader.calibration_batches(2))


def all_digests(folder: Path) -> dict[str, str]:
    found = {
        f"{name} {channels}": digests(in_memory(channels), augmentation, None)
        for name, augmentation in AUGMENTATIONS.items()
        for channels in (1, 3)
        if augmentation.crop != "resized"
    }
    files = in_files(folder)
    for name, augmentation in AUGMENTATIONS.items():
        if augmentation.crop != "pad":
            found[f"{name} memory"] = digests(
                in_memory(3), augmentation, 16 if augmentation.crop == "resized" else None
            )
            found[f"{name} files"] = digests(files, augmentation, 24)
    return found


@pytest.mark.skipif(
    (torch.__version__.partition("+")[0], timm.__version__, PIL.__version__, platform.machine()) != VERSIONS,
    reason="the libraries that draw, resize and normalize are not those of the recording",
)
def test_batches_are_bit_for_bit_those_recorded(tmp_path: Path) -> None:
    assert all_digests(tmp_path) == RECORDED
