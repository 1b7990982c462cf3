"""The part of every batch that the host prepares: pixels, targets and random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nasvit.data.augment import Augmentation, Draws, ImageVariation, Pixels, moved_and_mirrored
from nasvit.data.erasing import Erasures, erasures
from nasvit.data.images import ImageSet, centered, square, to_image, to_pixels
from nasvit.data.randomness import generator, global_random_kept
from nasvit.data.targets import BoxTargets, take

_ORDER, _AUGMENTATION, _CALIBRATION = 0, 1, 2  # Second part of the random keys: what the numbers are for.


class Prepared(NamedTuple):
    """A batch as the host prepares it: a quarter of the bytes of the finished one.

    Args:
        pixels: uint8 (B, H, W, C).
        targets: int64 (B,), or ``BoxTargets``, or masks uint8 (B, H, W).
        erasures: noise to write into the normalized images.
        mixing_seed: seed of mixup and CutMix.
    """

    pixels: Tensor
    targets: Tensor | BoxTargets
    erasures: Erasures | None = None
    mixing_seed: int = 0


class Preparation:
    """Prepares batches on the host, in this process or in workers; it knows no device.

    Args:
        images: the image set.
        batch_size: images of the joined batch of all processes.
        augmentation: augmentation of training batches.
        size: height and width of the images of a batch.
        crop_pct: share of the resized short side that is cut out of images that are not augmented.
        seed: seed of order and augmentation.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        augmentation: Augmentation,
        size: tuple[int, int],
        crop_pct: float,
        seed: int,
    ) -> None:
        if augmentation.crop == "pad" and augmentation.padding >= min(size):
            raise ValueError(
                f"padding {augmentation.padding}: would cut images of {size[1]}x{size[0]} pixels away; legal: 0 to "
                f"{min(size) - 1}"
            )
        self.images = images
        self.batch_size = batch_size
        self.size = size
        self._augmentation = augmentation
        self._crop_pct = crop_pct
        self._seed = seed
        self._mirror = _mirrors(images, augmentation)
        varied = augmentation.crop == "resized" or augmentation.varies
        self._variation = ImageVariation(augmentation, size, images.channels) if varied else None
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.images) // self.batch_size

    @property
    def copies(self) -> bool:
        """Whether images that are not augmented are served as they lie in memory, with nothing to decode or resize."""
        return self._crop_pct == 1 and self.size == self.images.image_size

    def training(self, epoch: int, index: int, places: npt.NDArray[np.int64]) -> Prepared:
        """Prepare one part of a training batch.

        Args:
            epoch: from 0.
            index: number of the batch in its epoch.
            places: (B,), places of the part in the joined batch.
        """
        rng = generator(self._seed, _AUGMENTATION, epoch, index)
        draws = Draws.of(self._augmentation, self._mirror, self.batch_size, rng).at(places)
        joined = self._epoch_order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        pixels, targets = self._training(joined, places, draws)
        drawn = erasures(draws, (self.images.channels, *self.size))
        return Prepared(torch.from_numpy(pixels), targets, drawn, draws.mixing_seed)

    def plain(self, rows: npt.NDArray[np.int64]) -> Prepared:
        """Prepare images that are not augmented.

        Args:
            rows: (B,), their positions in the image set.
        """
        pixels, targets = self._unaugmented(rows)
        return Prepared(torch.from_numpy(pixels), targets)

    def calibration_rows(self, count: int) -> Sequence[npt.NDArray[np.int64]]:
        """Return the positions of the images of ``count`` batches, always the same."""
        order = generator(self._seed, _CALIBRATION).permutation(len(self.images))
        parts = order[: count * self.batch_size].reshape(count, self.batch_size)
        return [np.sort(part) for part in parts]

    def _epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, generator(self._seed, _ORDER, epoch).permutation(len(self.images))
        return self._order[1]

    def _training(
        self, joined: npt.NDArray[np.int64], places: npt.NDArray[np.int64], draws: Draws
    ) -> tuple[Pixels, Tensor | BoxTargets]:
        """Return pixels and targets of the images at ``places`` of the joined batch, with their draws."""
        return self._varied(joined[places], draws), self._targets(joined[places])

    def _unaugmented(self, rows: npt.NDArray[np.int64]) -> tuple[Pixels, Tensor | BoxTargets]:
        stored = self.images.images
        if self.copies and isinstance(stored, Tensor):
            return stored.permute(0, 2, 3, 1).numpy()[rows], self._targets(rows)
        pixels = self._opened(rows, lambda image: centered(image, self.size[0], self._crop_pct))
        return pixels, self._targets(rows)

    def _targets(self, rows: npt.NDArray[np.int64]) -> Tensor:
        targets: Tensor = take(self.images.targets, rows)
        return targets

    def _varied(self, rows: npt.NDArray[np.int64], draws: Draws) -> Pixels:
        if self._augmentation.crop == "resized":
            return self._one_by_one(self.images.open, rows.tolist(), draws)
        stored = self.images.images
        if isinstance(stored, Tensor):
            pixels = moved_and_mirrored(stored.permute(0, 2, 3, 1).numpy(), rows, draws)
        else:
            squares = self._opened(rows, lambda image: square(image, self.size[0]))
            pixels = moved_and_mirrored(squares, np.arange(len(rows)), draws)
        if self._variation is None:
            return pixels
        return self._one_by_one(lambda place: to_image(pixels[place]), range(len(rows)), draws)

    def _one_by_one(self, opened: Callable[[int], Image.Image], keys: Sequence[int], draws: Draws) -> Pixels:
        assert self._variation is not None
        batch = self._empty(len(keys))
        with global_random_kept():
            for place, (key, mirrored, seed) in enumerate(
                zip(keys, draws.mirrored.tolist(), draws.image_seeds.tolist())
            ):
                batch[place] = self._variation(opened(key), mirrored, seed)
        return batch

    def _opened(self, rows: npt.NDArray[np.int64], change: Callable[[Image.Image], Image.Image]) -> Pixels:
        batch = self._empty(len(rows))
        for place, row in enumerate(rows.tolist()):
            batch[place] = to_pixels(change(self.images.open(row)))
        return batch

    def _empty(self, count: int) -> Pixels:
        return np.empty((count, *self.size, self.images.channels), dtype=np.uint8)


def _mirrors(images: ImageSet, augmentation: Augmentation) -> bool:
    if augmentation.mirror and not images.mirror_safe:
        raise ValueError(f"{images.name}: mirrored images of it do not show their class; set mirror to false")
    return images.mirror_safe if augmentation.mirror is None else augmentation.mirror
