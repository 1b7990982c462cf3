"""Images as a shipped network takes them: pixels from 0 to 1, not normalized, of one size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nasvit.data.annotated import TaskName
from nasvit.data.bad import BadImageError, OnBadImage
from nasvit.data.images import EncodedImages, ImageSet, centered, to_pixels
from nasvit.data.letterbox import letterboxed
from nasvit.data.loader import Loader
from nasvit.data.normalization import Normalization
from nasvit.data.sources import SplitName, load_images
from nasvit.data.walking import images_below

T = TypeVar("T")

BATCH, BATCH_DENSE = 64, 16
"""Images of a batch, and of one with boxes or masks, whose images are large."""


class Pictures:
    """The images of a source, as a network with this input takes them; each split is read once.

    Args:
        source: as in the ``data`` section of an experiment.
        shape: of one image: channels, height, width.
        classes: names of the classes that the network scores.
        crop_pct: share of the resized short side that is cut out.
        on_bad_image: ``stop`` at images that cannot be decoded, or ``skip`` them.
        download: let torchvision download missing data sets.
        task: what the network is for, which decides what belongs to the images.
        ignore_index: value of masks that is ignored, beside 255.
    """

    def __init__(
        self,
        source: str,
        shape: tuple[int, int, int],
        classes: Sequence[str],
        crop_pct: float = 1.0,
        *,
        on_bad_image: OnBadImage = "stop",
        download: bool = False,
        task: TaskName = "classification",
        ignore_index: int | None = None,
    ) -> None:
        self.source, self.shape, self.classes, self.crop_pct = source, shape, tuple(classes), crop_pct
        self.on_bad_image, self.download, self.task, self.ignore_index = on_bad_image, download, task, ignore_index

    @property
    def batch(self) -> int:
        """Most images of a batch."""
        return BATCH if self.task == "classification" else BATCH_DENSE

    @property
    def _size(self) -> int | tuple[int, int]:
        _, height, width = self.shape
        return height if self.task == "classification" else (height, width)

    def test(self, most: int | None = None) -> Loader:
        """Return a loader of the test images, of ``most`` of them spread over all; every batch has targets.

        Raises:
            ValueError: if there are no such images, or they have other classes.
        """
        images = self._test
        if most is not None and most < len(images):
            images = images.subset(np.linspace(0, len(images) - 1, most).round().astype(np.int64))
        return self._loader(images)

    def calibration(self, count: int) -> list[Tensor]:
        """Return equal batches of about ``count`` training images, or of all, always the same.

        Raises:
            ValueError: if there are no such images, or they have other classes.
        """
        images = self._load("train", keep_encoded=True)
        count = min(count, len(images))
        batches = -(-count // self.batch)
        return list(self._loader(images, count // batches).calibration_batches(batches))

    @cached_property
    def _test(self) -> ImageSet:
        return self._load("test", keep_encoded=self.crop_pct < 1)

    def _load(self, split: SplitName, *, keep_encoded: bool) -> ImageSet:
        images = load_images(
            self.source,
            split,
            task=self.task,
            image_size=self._size,
            channels=self.shape[0],
            keep_encoded=keep_encoded,
            on_bad_image=self.on_bad_image,
            download=self.download,
            ignore_index=self.ignore_index,
            classes="from train",  # nothing is learned from these
        )
        numbers = tuple(map(str, range(len(self.classes))))  # what imported networks have for names
        if images.classes != self.classes and (self.classes != numbers or len(images.classes) != len(numbers)):
            raise ValueError(
                f"{self.source} has the classes {_few(images.classes)}, the network scores {_few(self.classes)}; give "
                "images of the same classes"
            )
        return images

    def _loader(self, images: ImageSet, batch_size: int | None = None) -> Loader:
        channels = self.shape[0]
        as_they_are = Normalization((0.0,) * channels, (1.0,) * channels, "no images")
        return Loader(
            images,
            batch_size=min(batch_size or self.batch, len(images)),
            normalization=as_they_are,
            image_size=self._size,
            crop_pct=self.crop_pct,
            channels_last=False,
        )


def open_picture(path: Path, shape: tuple[int, int, int], crop_pct: float = 1.0) -> Tensor:
    """Return one image file as a network takes it, ``(1, channels, side, side)``.

    Raises:
        BadImageError: naming the file, if it cannot be decoded.
    """
    channels, side, _ = shape
    return _as_tensor(centered(opened_picture(path, channels), side, crop_pct))


def opened_picture(path: Path, channels: int) -> Image.Image:
    """Return one image file as it is, gray or in color.

    Raises:
        BadImageError: naming the file, if it cannot be decoded.
    """
    return EncodedImages.of_files([path], channels).open(0)


def decodable(files: Iterable[Path], read: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """Yield files with what is read of them; those that cannot be decoded are named and left out."""
    for file in files:
        try:
            content = read(file)
        except BadImageError as error:
            print(f"nasvit: {file} is left out: {error.reason}", file=sys.stderr)
        else:
            yield file, content


def letterboxed_picture(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Return an image as a detector or segmenter takes it, ``(1, channels, height, width)``: fitted in, the rest gray.

    Args:
        image: any image, in the channels that the network takes.
        size: height and width.
    """
    return _as_tensor(letterboxed(image, size))


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(to_pixels(image).copy()).permute(2, 0, 1)[None].float() / 255


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and the images in the folders that are named; hidden files are no images.

    Raises:
        ValueError: if there is no such file, or a folder has no images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: there is no such image or folder")
        inside = sorted(path / each for each in images_below(path)) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"{path} has no images in it")
        found += inside
    return found


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}, ... ({len(names)})" if len(names) > 3 else shown
