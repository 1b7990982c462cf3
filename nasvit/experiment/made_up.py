"""Images that are made up, as many and of the size that an experiment would have: what a check tries its steps on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasvit.compute import Compute
from nasvit.data import ImageSet, Loader, Normalization, SearchData
from nasvit.data.config import DataConfig, height_and_width
from nasvit.data.finishing import Batch
from nasvit.data.known import KNOWN
from nasvit.data.splits import SplitRecord, automatic_share
from nasvit.data.targets import Boxes, BoxTargets, Masks, map_tensors
from nasvit.experiment.images import Images
from nasvit.heads.kinds import AnyHead
from search_spaces.paths import expanded
from search_spaces.values import FieldError

_SIZED = "coco:", "voc:", "yolo:", "masks:"
_MEAN, _DEVIATION = 0.5, 0.25  # that made-up images are said to have


@dataclass(frozen=True)
class Counted:
    """What a check has to know of images.

    Args:
        told: where it is known from, in words.
        train: training images, without held-out ones.
        validation: held-out images.
        test: test images.
        classes: names of the classes.
        channels: 1 or 3.
        size: height and width of the images in pixels.
    """

    told: str
    train: int
    validation: int
    test: int
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]


def count_images(config: DataConfig, **options: Any) -> Counted:
    """Count the images of a source, which is not fetched: where it is not here, what is known of it is taken.

    Args:
        config: the ``data`` section.
        options: those of :class:`nasvit.experiment.images.Images`.

    Raises:
        ValueError: if it is not here and nothing is known of it, or its images are not laid out as they should be.
    """
    source = expanded(config.source)
    if source in KNOWN and not Path(source).exists():
        return _known(source, config, options)
    place = source.partition(":")[2] if source.startswith(("hf:", *_SIZED)) else source
    named = ":" in place or source.startswith("torchvision:") or source == "digits" or any(c in place for c in "*{")
    if not named and not Path(place).exists():
        raise FieldError(
            ["data", "source"],
            f"{config.source} is not here, and nobody knows how many images and classes it has; for a check name "
            f"one of which that is known, such as --data.source hf:imagenet-1k (legal: {', '.join(KNOWN)})",
        )
    images = Images(replace(config, on_bad_image="stop", download=False), **options)
    data, (channels, height, width) = images.data, images.shape
    told = f"{images.train.name}; the images that are tried are made up"
    counts = len(data.train), len(data.validation), len(images.test)
    return Counted(told, *counts, images.classes, channels, _size(config, (height, width)))


def _known(source: str, config: DataConfig, options: dict[str, Any]) -> Counted:
    known = KNOWN[source]
    count = options.get("most") or known.train
    if count > known.train:
        raise ValueError(f"images {count}: {source} has {known.train} training images")
    share = config.validation or options.get("held_out")
    share = automatic_share(torch.arange(count) % known.classes) if share is None else share
    held_out = round(share * count)
    told = f"{source} was not opened: what is known of it is taken; the images that are tried are made up"
    size = _size(config, None if known.side is None else (known.side, known.side))
    names, channels = tuple(map(str, range(known.classes))), options.get("channels") or known.channels
    return Counted(told, count - held_out, held_out, known.test, names, channels, size)


def _size(config: DataConfig, stored: tuple[int, int] | None) -> tuple[int, int]:
    size = height_and_width(config.image_size) or stored
    if size is None or not all(size):
        raise FieldError(["data", "image_size"], f"is missing; the images of {config.source} differ in size")
    return size


class MadeUpImages(Images):
    """Images of which there are as many as of some others, and which are never read.

    Args:
        counted: the others.
        config: the ``data`` section.
        seed: seed of the order, which nobody sees.
        compute: device of the batches.
        head: the head of the networks, which says their task; None: classification.
    """

    made_up = True

    def __init__(self, counted: Counted, config: DataConfig, *, seed: int, compute: Compute, head: AnyHead | None):
        super().__init__(replace(config, image_size=_side(counted.size)), seed=seed, compute=compute, head=head)
        self.counted = counted

    @cached_property
    def data(self) -> SearchData:
        """Training and validation images."""
        counted = self.counted
        record = SplitRecord(self.config.source, self.seed, counted.train, counted.validation, (), "", "")
        whole = self._of(counted.train + counted.validation)
        return SearchData(self._of(counted.train), self._of(counted.validation), record, whole)

    @cached_property
    def test(self) -> ImageSet:
        """The test images."""
        return self._of(self.counted.test)

    @cached_property
    def normalization(self) -> Normalization:
        """The same mean and deviation for every channel."""
        mean, deviation = ((each,) * self.counted.channels for each in (_MEAN, _DEVIATION))
        return Normalization(mean, deviation, "made-up images")

    def open(self) -> None:
        """Nothing is there to be opened."""

    def class_weights(self, compute: Compute) -> tuple[float, ...]:
        """Return no weights: there are no masks to count pixels of."""
        return ()

    def _of(self, count: int) -> ImageSet:
        """Return a set of so many images, which share their pixels in memory."""
        height, width = self.counted.size
        pixels = torch.zeros(1, height, width, self.counted.channels, dtype=torch.uint8).expand(count, -1, -1, -1)
        targets, classes = self._targets(count), self.counted.classes
        return ImageSet(pixels.permute(0, 3, 1, 2), targets, classes, self.config.source)

    def _targets(self, count: int) -> Any:
        """Return the targets of so many images: a class, a box around the middle, or a mask of one class each."""
        (height, width), labels = self.counted.size, torch.arange(count) % len(self.counted.classes)
        if self._task == "detection":
            return _in_the_middle((height, width), labels)
        if self._task == "segmentation":
            sizes = torch.tensor([[height, width]]).expand(count, 2)
            return Masks(torch.zeros(1, height, width, dtype=torch.uint8).expand(count, -1, -1), sizes)
        return labels


def batch_of_noise(loader: Loader, count: int) -> Batch:
    """Return a batch of noise on the device, with targets such as a loader's batches have.

    Args:
        loader: loader of training batches.
        count: images of the batch.
    """
    (height, width), images, numbers = loader.size, loader.images, torch.Generator().manual_seed(0)
    classes, labels = len(images.classes), torch.arange(count) % len(images.classes)
    noise = torch.randn(count, images.channels, height, width, generator=numbers)
    if isinstance(images.targets, Boxes):
        alike, most = _in_the_middle((height, width), labels), images.targets.room(np.arange(len(images)))
        learned: Any = BoxTargets.padded([alike.of_image(number) for number in range(count)], [1.0] * count, most)
    elif isinstance(images.targets, Masks):
        learned = torch.randint(classes, (count, height, width), generator=numbers)
    else:
        learned = torch.eye(classes)[labels] if loader.augmentation.mixes else labels
    layout = noise.to(memory_format=torch.channels_last)
    return loader.compute.put(layout), map_tensors(loader.compute.put, learned)


def _in_the_middle(size: tuple[int, int], labels: torch.Tensor) -> Boxes:
    """Return a box around the middle of every image."""
    (height, width), count = size, len(labels)
    box = torch.tensor([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]]).expand(count, 4)
    crowd, areas = torch.zeros(count, dtype=torch.bool), torch.full((count,), height * width / 4)
    return Boxes(box, labels, crowd, areas, torch.arange(count + 1), torch.tensor([[height, width]]).expand(count, 2))


def _side(size: tuple[int, int]) -> int | tuple[int, int]:
    return size[0] if size[0] == size[1] else size
