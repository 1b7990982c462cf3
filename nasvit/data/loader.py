"""Batches that are a pure function of seed, epoch and batch index, whole or shared out to several processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nasvit.compute import ALONE, Compute
from nasvit.data.augment import NO_AUGMENTATION, Augmentation, Draws, ImageVariation, Mixing, erase, moved_and_mirrored
from nasvit.data.images import EncodedImages, ImageSet, square, to_pixels
from nasvit.data.normalization import Normalization
from nasvit.data.randomness import generator, global_random_kept

Batch = tuple[Tensor, Tensor]

_ORDER, _AUGMENTATION, _CALIBRATION = 0, 1, 2  # Second part of the random keys: what the numbers are for.


class Loader:
    """Loader of the batches of one image set.

    The loader keeps no state: ``batch(epoch, index)`` is always the same, so a run that was killed goes on with
    ``batches(epoch, start=index)`` as if nothing had happened. With several processes each gets its part of
    every batch, and the parts together are the batch that one process would get.

    Args:
        images: the image set.
        batch_size: images of the joined batch of all processes.
        normalization: shift and scale of the channels.
        augmentation: augmentation of ``batch`` and ``batches``; other batches are not augmented.
        image_size: side of the images of a batch in pixels; None for the stored size, which encoded images do not have.
        seed: seed of order and augmentation.
        compute: the device of batches, and the processes that share them.
        channels_last: memory layout of the batches.
        workers: processes that prepare batches ahead, worth it for encoded images; 0 prepares in this process.

    Raises:
        ValueError: if the arguments do not fit each other or the images; the message names them and the way out.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        normalization: Normalization,
        augmentation: Augmentation = NO_AUGMENTATION,
        image_size: int | None = None,
        seed: int = 0,
        compute: Compute = ALONE,
        channels_last: bool = True,
        workers: int = 0,
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.normalization = normalization
        self.augmentation = augmentation
        self.seed = seed
        self.workers = workers
        self._channels_last = channels_last
        self._size = _served_size(images, augmentation, image_size)
        self._mirror = _mirrors(images, augmentation)
        self.compute = compute
        self._positions = compute.part_of(batch_size)
        if augmentation.mixes and batch_size % 2:
            raise ValueError(f"batch_size {batch_size}: mixing images or 1 processes need a multiple of 2")
        self._mixing = Mixing(augmentation, len(images.classes)) if augmentation.mixes else None
        self._variation = _variation(images, augmentation, self._size)
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        self._calibration: dict[int, tuple[Tensor, ...]] = {}

    def __len__(self) -> int:
        """Return the number of batches of an epoch; images that do not fill a last batch are left out of that epoch."""
        return len(self.images) // self.batch_size

    def batch(self, epoch: int, index: int) -> Batch:
        """Prepare this process's part of one training batch.

        Args:
            epoch: from 0.
            index: from 0 to ``len(self) - 1``.

        Returns:
            Normalized images float32 (B, C, H, W), and targets: int64 (B,), or class probabilities float32
            (B, classes) if the augmentation mixes images.

        Raises:
            ValueError: if the epoch has no such batch.
        """
        if not 0 <= index < len(self):
            raise ValueError(
                f"batch index {index}: {len(self.images)} images in batches of {self.batch_size} make {len(self)} "
                "batches"
            )
        rng = generator(self.seed, _AUGMENTATION, epoch, index)
        draws = Draws.of(self.augmentation, self._mirror, self.batch_size, rng).at(self._positions)
        rows = self._epoch_order(epoch)[index * self.batch_size :][self._positions]
        images = self.normalization.apply(self._varied_pixels(rows, draws), channels_last=self._channels_last)
        targets = self.images.targets[torch.from_numpy(rows)]
        erase(images, draws)
        if self._mixing is not None:
            images, targets = self._mixing(images, targets, draws.mixing_seed)
        return images, targets

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in random order.

        Args:
            epoch: from 0; every epoch has an order of its own.
            start: first batch to yield, for a run that goes on within an epoch.
        """
        indices = range(start, len(self))
        if self.workers == 0:
            for index in indices:
                yield self.batch(epoch, index)
        else:
            yield from _ahead(_EpochBatches(self, epoch), indices, self.workers)

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches of training steps."""
        for step in range(first, last):
            images, targets = self.batch(*divmod(step, len(self)))
            yield self.compute.put(images), self.compute.put(targets)

    def evaluation_batches(self) -> Iterator[Batch]:
        """Yield all images once, in order, not augmented, all in every process; the last batch may be smaller."""
        starts = range(0, len(self.images), self.batch_size)
        if self.workers == 0:
            for start in starts:
                yield self._plain(np.arange(start, min(start + self.batch_size, len(self.images))))
        else:
            yield from _ahead(_PlainBatches(self), starts, self.workers)

    def calibration_batches(self, count: int) -> tuple[Tensor, ...]:
        """Return images for batch-norm statistics: always the same, not augmented, in every process all of them.

        Args:
            count: number of batches.

        Returns:
            ``count`` tensors float32 (B, C, H, W).

        Raises:
            ValueError: if the set has too few images.
        """
        if not 1 <= count <= len(self):
            raise ValueError(
                f"{count} calibration batches of {self.batch_size}: {len(self.images)} images allow 1 to {len(self)}"
            )
        if count not in self._calibration:
            order = generator(self.seed, _CALIBRATION).permutation(len(self.images))
            parts = order[: count * self.batch_size].reshape(count, self.batch_size)
            self._calibration[count] = tuple(self._plain(np.sort(part))[0] for part in parts)
        return self._calibration[count]

    def _epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, generator(self.seed, _ORDER, epoch).permutation(len(self.images))
        return self._order[1]

    def _varied_pixels(self, rows: npt.NDArray[np.int64], draws: Draws) -> npt.NDArray[np.uint8]:
        stored = self.images.images
        if isinstance(stored, EncodedImages) or self.augmentation.crop == "resized":
            opened: Iterator[Image.Image] = (self.images.open(row) for row in rows.tolist())
        else:
            pixels = moved_and_mirrored(stored.permute(0, 2, 3, 1).numpy(), rows, draws)
            if self._variation is None:
                return pixels
            opened = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in pixels)
        return self._varied_one_by_one(opened, draws)

    def _varied_one_by_one(self, opened: Iterator[Image.Image], draws: Draws) -> npt.NDArray[np.uint8]:
        assert self._variation is not None
        with global_random_kept():
            each = zip(opened, draws.mirrored.tolist(), draws.image_seeds.tolist())
            return np.stack([self._variation(image, mirrored, seed) for image, mirrored, seed in each])

    def _plain(self, rows: npt.NDArray[np.int64]) -> Batch:
        stored = self.images.images
        if isinstance(stored, Tensor) and self._size == self.images.image_size:
            pixels = stored.permute(0, 2, 3, 1).numpy()[rows]
        else:
            pixels = np.stack([to_pixels(square(self.images.open(row), self._size[0])) for row in rows.tolist()])
        images = self.normalization.apply(pixels, channels_last=self._channels_last)
        return images, self.images.targets[torch.from_numpy(rows)]


class _EpochBatches(Dataset[Batch]):
    def __init__(self, loader: Loader, epoch: int) -> None:
        self._loader = loader
        self._epoch = epoch

    def __getitem__(self, index: int) -> Batch:
        return self._loader.batch(self._epoch, index)


class _PlainBatches(Dataset[Batch]):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getitem__(self, start: int) -> Batch:
        return self._loader._plain(np.arange(start, min(start + self._loader.batch_size, len(self._loader.images))))


def _ahead(batches: Dataset[Batch], indices: range, workers: int) -> Iterator[Batch]:
    # A generator of its own, or every start of the workers would move torch's global one and a resumed run differ.
    return iter(DataLoader(batches, batch_size=None, sampler=indices, num_workers=workers, generator=torch.Generator()))


def _served_size(images: ImageSet, augmentation: Augmentation, image_size: int | None) -> tuple[int, int]:
    stored = images.image_size
    if image_size is None and stored is None:
        raise ValueError(
            f"{images.name}: its images differ in size or do not fit in memory; give the image_size to serve"
        )
    if stored is None and augmentation.crop == "pad":
        raise ValueError(
            f"{images.name}: crop 'pad' needs images of one size in memory; legal here are 'resized' and 'none'"
        )
    size = (image_size, image_size) if image_size is not None else stored
    assert size is not None
    if stored is not None and size != stored and augmentation.crop != "resized":
        raise ValueError(
            f"{images.name}: images are stored as {stored[0]}x{stored[1]}, image_size {image_size} needs crop "
            "'resized'; or load them with that image_size"
        )
    return size


def _mirrors(images: ImageSet, augmentation: Augmentation) -> bool:
    if augmentation.mirror and not images.mirror_safe:
        raise ValueError(f"{images.name}: mirrored images of it do not show their class; set mirror to false")
    return images.mirror_safe if augmentation.mirror is None else augmentation.mirror


def _variation(images: ImageSet, augmentation: Augmentation, size: tuple[int, int]) -> ImageVariation | None:
    cropped = images.image_size is not None and augmentation.crop != "resized"
    if cropped and augmentation.randaugment == 0:
        return None
    return ImageVariation(augmentation, size, images.channels, cropped=cropped)
