"""Batches that are a pure function of seed, epoch and batch index, whole or shared out to several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nasvit.compute import ALONE, Compute, main_memory
from nasvit.data.annotated_preparation import AnnotatedPreparation
from nasvit.data.augment import NO_AUGMENTATION, Augmentation
from nasvit.data.config import ImageSize, height_and_width, refuse_pair
from nasvit.data.finishing import Batch, Finishing
from nasvit.data.images import ImageSet
from nasvit.data.normalization import Normalization
from nasvit.data.plain import CalibrationBatches, PlainBatches
from nasvit.data.preparation import Preparation, Prepared
from nasvit.data.workers import Stream, pins


class Loader:
    """Loader of the batches of one image set.

    What a batch holds never depends on what was loaded before: ``batch(epoch, index)`` is always the same, so a run
    that was killed goes on with ``steps(first, last)`` as if nothing had happened. With several processes each gets
    its part of every batch, and the parts together are the batch that one process would get. The host prepares bytes;
    they are normalized, erased and mixed on the device.

    Args:
        images: the image set.
        batch_size: images of the joined batch of all processes.
        normalization: shift and scale of the channels.
        augmentation: augmentation of training batches; other batches are not augmented.
        image_size: side of the images of a batch in pixels, or for boxes and masks height and width; None for the
            stored size, which encoded images do not have.
        crop_pct: share of the resized short side that is cut out of images that are not augmented.
        seed: seed of order and augmentation.
        compute: device of the batches, and the processes that share them.
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
        image_size: ImageSize = None,
        crop_pct: float = 1.0,
        seed: int = 0,
        compute: Compute = ALONE,
        channels_last: bool = True,
        workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}: need batch_size >= 1")
        self.images = images
        self.batch_size = batch_size
        self.normalization = normalization
        self.augmentation = augmentation
        self.seed = seed
        self.compute = compute
        self.workers = workers
        prepares = Preparation if isinstance(images.targets, Tensor) else AnnotatedPreparation
        self._preparation = prepares(
            images,
            batch_size=batch_size,
            augmentation=augmentation,
            size=served_size(images, augmentation, image_size, crop_pct),
            crop_pct=crop_pct,
            seed=seed,
        )
        self._finishing = Finishing(
            normalization, augmentation, len(images.classes), compute=compute, channels_last=channels_last
        )
        self._evaluation: dict[bool, PlainBatches] = {}
        self._calibration: dict[int, CalibrationBatches] = {}

    def __len__(self) -> int:
        """Return the number of batches of an epoch; images that do not fill a last batch are left out of that epoch."""
        return len(self._preparation)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images of a batch."""
        return self._preparation.size

    @cached_property
    def places(self) -> npt.NDArray[np.int64]:
        """Places of this process's part in the joined batch of training.

        Raises:
            ValueError: if the processes cannot share a batch of this size, or its images cannot be mixed in pairs.
        """
        return self.compute.part_of(self.batch_size, in_pairs=self.augmentation.mixes)

    def check_training(self) -> None:
        """Refuse what no step of a training could be made of, before anything is written.

        Raises:
            ValueError: if the images do not fill a batch, a batch does not fit into memory, or batches cannot be shared
                out to the processes.
        """
        if not len(self):
            raise ValueError(f"batch_size {self.batch_size} is more than the {len(self.images)} training images")
        height, width = self.size
        needed, there = 4 * len(self.places) * self.images.channels * height * width, main_memory()
        if there is not None and 2 * needed > there:
            raise ValueError(
                f"batch_size {self.batch_size}: a batch of images of {width}x{height} pixels takes "
                f"{needed / 2**30:.0f} GiB, and there are {there / 2**30:.0f}; give a smaller batch_size or image_size"
            )
        assert len(self.places)

    def batch(self, epoch: int, index: int) -> Batch:
        """Prepare this process's part of one training batch.

        Args:
            epoch: from 0.
            index: from 0 to ``len(self) - 1``.

        Returns:
            Normalized images float32 (B, C, H, W), and targets: int64 (B,), or class probabilities float32
            (B, classes) if the augmentation mixes images; or ``BoxTargets``, or masks int64 (B, H, W); on the device.

        Raises:
            ValueError: if the epoch has no such batch.
        """
        self._check(index)
        return self._finishing.training(self._preparation.training(epoch, index, self.places))

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch in random order.

        Args:
            epoch: from 0; every epoch has an order of its own.
            start: first batch to yield, for a run that goes on within an epoch.
        """
        return self.steps(epoch * len(self) + start, (epoch + 1) * len(self))

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """Return the batches of training steps, through as many epochs as they are.

        Workers prepare ahead from the first to the last and end with the iterator. Beside a device one batch is on it
        ahead of its use.

        Args:
            first: number of the first step, from 0.
            last: number of the step after the last one.

        Raises:
            ValueError: if the images do not fill a batch, or batches cannot be shared out to the processes.
        """
        if last > first:
            self._check(0)
        return self._steps(range(first, last), self.places)

    def _steps(self, steps: range, places: npt.NDArray[np.int64]) -> Iterator[Batch]:
        pin = pins(self.compute.device)
        if self.workers == 0 and not pin:
            yield from self._finishing.ahead(self.batch(*divmod(step, len(self))) for step in steps)
            return
        prepare = partial(_prepare_step, self._preparation, places)
        prepared = iter(Stream(prepare, steps, workers=self.workers, pin=pin))
        yield from self._finishing.ahead(self._finishing.training(each) for each in prepared)

    def evaluation_batches(self, *, shared: bool = True) -> Iterator[Batch]:
        """Yield the images once, in order, not augmented; the last batch may be smaller.

        Args:
            shared: yield this process's share, every so many-th batch of all; else all of them in every process.
        """
        if shared not in self._evaluation:
            starts = range(0, len(self.images), self.batch_size)
            mine = starts[self.compute.rank :: self.compute.count] if shared else starts
            rows = [range(start, min(start + self.batch_size, len(self.images))) for start in mine]
            self._evaluation[shared] = self._plain(rows)
        batches = self._evaluation[shared]
        return self._finishing.ahead(self._finishing.plain(each) for each in batches.at(range(len(batches))))

    def calibration_batches(self, count: int) -> CalibrationBatches:
        """Return images for batch-norm statistics: always the same, not augmented, in every process all of them.

        Args:
            count: number of batches.

        Returns:
            ``count`` tensors float32 (B, C, H, W), finished on the device when they are used; slices are shares.

        Raises:
            ValueError: if the set has too few images.
        """
        if not 1 <= count <= len(self):
            raise ValueError(
                f"{count} calibration batches of {self.batch_size}: {len(self.images)} images allow 1 to {len(self)}"
            )
        if count not in self._calibration:
            plain = self._plain(self._preparation.calibration_rows(count))
            self._calibration[count] = CalibrationBatches(plain, self._finishing, range(count))
        return self._calibration[count]

    def _plain(self, rows: Sequence[npt.NDArray[np.int64]] | Sequence[range]) -> PlainBatches:
        return PlainBatches(self._preparation, rows, workers=self.workers, pin=pins(self.compute.device))

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise ValueError(
                f"batch index {index}: {len(self.images)} images in batches of {self.batch_size} make {len(self)} "
                "batches"
            )


def _prepare_step(preparation: Preparation, places: npt.NDArray[np.int64], step: int) -> Prepared:
    return preparation.training(*divmod(step, len(preparation)), places)


def served_size(
    images: ImageSet, augmentation: Augmentation, image_size: ImageSize, crop_pct: float
) -> tuple[int, int]:
    """Return height and width of the images of a batch.

    Arguments as those of :class:`Loader`.

    Raises:
        ValueError: if the images cannot be brought to one size so.
    """
    stored, classified = images.image_size, isinstance(images.targets, Tensor)
    if classified:
        refuse_pair(image_size, images.name)
    if image_size is None and stored is None:
        raise ValueError(
            f"{images.name}: its images differ in size or do not fit in memory; give the image_size to serve"
        )
    size = height_and_width(image_size) or stored
    assert size is not None
    if classified and stored is not None and size != stored and augmentation.crop != "resized":
        raise ValueError(
            f"{images.name}: images are stored as {stored[0]}x{stored[1]}, image_size {image_size} needs crop "
            "'resized'; or load them with that image_size"
        )
    if crop_pct < 1 and size[0] != size[1]:
        raise ValueError(f"{images.name}: crop_pct {crop_pct} cuts out squares, its images are {size[0]}x{size[1]}")
    return size
