"""Batches of images with boxes or masks: one scale for both sides, and all that belongs to an image moved along."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nasvit.data.augment import Augmentation, Draws, Pixels, color_augment
from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.images import ImageSet, to_image, to_pixels
from nasvit.data.letterbox import FILL, Cut, Window, fitted, show, still_seen, window
from nasvit.data.mask_table import IGNORED
from nasvit.data.preparation import Preparation
from nasvit.data.randomness import generator, global_random_kept, seed_global_random
from nasvit.data.targets import Boxes, BoxTargets, Masks, Objects

ZOOM = (0.5, 2.0)
"""Least and largest scale of a random zoom, for one that fits an image into what is served."""


class Source(NamedTuple):
    """One image as it is held or decoded.

    Args:
        image: the stored image, or a smaller copy of it.
        reduced: pixels of ``image`` for one pixel of the stored one.
        stored: height and width of the stored image.
    """

    image: Image.Image
    reduced: float
    stored: tuple[int, int]


class AnnotatedPreparation(Preparation):
    """Prepares batches of images with boxes or masks.

    Images that are not augmented are fitted into the served size at its top left, the rest is gray. For training the
    crop ``resized`` zooms by 0.5 to 2 about a random place, ``pad`` moves by up to ``padding`` pixels, ``none`` does
    neither; then come mirroring, and of RandAugment the operations that change colors.

    Args and errors as those of :class:`Preparation`; and ``ValueError`` for what such targets do not allow.
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
        super().__init__(
            images, batch_size=batch_size, augmentation=augmentation, size=size, crop_pct=crop_pct, seed=seed
        )
        _refuse(images, augmentation, crop_pct)
        self._colors = color_augment(augmentation, images.channels) if augmentation.randaugment > 0 else None

    def _training(
        self, joined: npt.NDArray[np.int64], places: npt.NDArray[np.int64], draws: Draws
    ) -> tuple[Pixels, Tensor | BoxTargets]:
        rows = joined[places]
        cuts = [self._cut(row, draws, place) for place, row in enumerate(rows.tolist())]
        with global_random_kept():
            pixels = self._shown(rows, cuts, draws.image_seeds)
        targets = self.images.targets
        if isinstance(targets, Masks):
            return pixels, torch.from_numpy(self._masks(targets, rows, cuts))
        moved = [still_seen(objects, self.size) for objects in self._moved(targets, rows, cuts)]
        # Every process makes room for the boxes of the joined batch, so that its part does not depend on their number.
        return pixels, BoxTargets.padded(moved, [cut.scale for cut in cuts], targets.room(joined))

    def _unaugmented(self, rows: npt.NDArray[np.int64]) -> tuple[Pixels, Tensor | BoxTargets]:
        cuts = [fitted(self._stored(row), self.size) for row in rows.tolist()]
        pixels, targets = self._shown(rows, cuts, None), self.images.targets
        if isinstance(targets, Masks):
            return pixels, torch.from_numpy(self._masks(targets, rows, cuts))
        moved = self._moved(targets, rows, cuts)
        return pixels, BoxTargets.padded(moved, [cut.scale for cut in cuts], targets.room(rows))

    def _stored(self, row: int) -> tuple[int, int]:
        height, width = self.images.targets.sizes[row].tolist()
        return height, width

    def _cut(self, row: int, draws: Draws, place: int) -> Cut:
        """Return where an image goes in training; every random number follows from the draws."""
        mirrored = bool(draws.mirrored[place])
        cut = fitted(self._stored(row), self.size)._replace(mirrored=mirrored)
        if self._augmentation.crop == "pad":
            down, right = draws.offsets[place].tolist()
            return cut._replace(top=down, left=right)
        if self._augmentation.crop == "none":
            return cut
        zoom, *where = generator(int(draws.image_seeds[place])).random(3).tolist()
        least, most = ZOOM
        cut = cut._replace(scale=cut.scale * least * (most / least) ** zoom)
        # A larger image is moved so far that it still covers what is served, a smaller one so far that it stays inside.
        room = [side - own for side, own in zip(self.size, cut.extent(self._stored(row)))]
        top, left = (round(share * space) for share, space in zip(where, room))
        return cut._replace(top=top, left=left)

    def _shown(self, rows: npt.NDArray[np.int64], cuts: list[Cut], color_seeds: npt.NDArray[np.int64] | None) -> Pixels:
        batch = self._empty(len(rows))
        batch.fill(FILL)
        for place, (row, cut) in enumerate(zip(rows.tolist(), cuts)):
            shown = window(cut, self._stored(row), self.size)
            if shown is None:
                continue
            image = self._image(row, cut, shown, reduce=color_seeds is not None)
            if color_seeds is not None and self._colors is not None:
                seed_global_random(int(color_seeds[place]))
                image = self._colors(image)
            batch[place][shown.rows] = to_pixels(image)
        return batch

    def _image(self, row: int, cut: Cut, shown: Window, *, reduce: bool) -> Image.Image:
        source = self._source(row, cut.scale if reduce else None)
        return show(source.image, shown, cut, source.reduced, Image.Resampling.BICUBIC)

    def _source(self, row: int, scale: float | None) -> Source:
        """Open an image; where a scale is given, decoded no larger than a copy that it is cut out of as well."""
        stored = self._stored(row)
        images = self.images.images
        if isinstance(images, Tensor):
            held = fitted(stored, (images.shape[2], images.shape[3]))
            height, width = held.extent(stored)
            return Source(to_image(images[row, :, :height, :width].permute(1, 2, 0).numpy()), held.scale, stored)
        least = None if scale is None else Cut(scale).extent(stored)
        image = images.open(row, least)
        # Decoders halve, and round the last pixel up: the ratio of the sides is near the scale, not the scale.
        halvings = round(np.log2(max(stored) / max(image.size)))
        return Source(image, 0.5**halvings, stored)

    def _moved(self, boxes: Boxes, rows: npt.NDArray[np.int64], cuts: list[Cut]) -> list[Objects]:
        return [cut.boxes(boxes.of_image(row), self._stored(row)) for row, cut in zip(rows.tolist(), cuts)]

    def _masks(self, masks: Masks, rows: npt.NDArray[np.int64], cuts: list[Cut]) -> Pixels:
        batch = np.full((len(rows), *self.size), IGNORED, dtype=np.uint8)
        for place, (row, cut) in enumerate(zip(rows.tolist(), cuts)):
            shown = window(cut, self._stored(row), self.size)
            if shown is not None:
                mask, reduced = self._mask(masks, row)
                batch[place][shown.rows] = np.asarray(show(mask, shown, cut, reduced, Image.Resampling.NEAREST))
        return batch

    def _mask(self, masks: Masks, row: int) -> tuple[Image.Image, float]:
        if isinstance(masks.stored, EncodedMasks):
            return Image.fromarray(masks.stored.open(row)), 1.0
        stored = self._stored(row)
        held = fitted(stored, (masks.stored.shape[1], masks.stored.shape[2]))
        height, width = held.extent(stored)
        return Image.fromarray(masks.stored[row, :height, :width].numpy()), held.scale


def _refuse(images: ImageSet, augmentation: Augmentation, crop_pct: float) -> None:
    """Refuse what boxes or masks do not allow, in words."""
    kind = "masks" if isinstance(images.targets, Masks) else "boxes"
    if augmentation.cutmix > 0:
        raise ValueError(
            f"{images.name}: cutmix {augmentation.cutmix} is for class labels, not for {kind}; set it to 0"
        )
    if augmentation.autoaugment != "none":
        raise ValueError(f"{images.name}: autoaugment moves what an image shows, and not its {kind}; set it to none")
    if augmentation.mixup > 0 and kind == "masks":
        raise ValueError(f"{images.name}: mixup {augmentation.mixup} is not for masks; set it to 0")
    if crop_pct < 1:
        raise ValueError(f"{images.name}: crop_pct {crop_pct} would cut {kind} away; set it to 1")
