"""A set of labeled images: all in one tensor where it fits in memory, else decoded one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nasvit.data.bad import BadImageError
from nasvit.data.config import ImageSize, height_and_width
from nasvit.data.encoded import EncodedImages
from nasvit.data.identity import Identity
from nasvit.data.stores import Indices
from nasvit.data.targets import Boxes, content_of, take

MEMORY_LIMIT = 256 * 2**20
"""Decoded bytes up to which a data set is held in memory as one tensor; larger ones are decoded image by image."""

_PROBED_IMAGES = 64


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split, with what they show.

    Args:
        images: uint8 (N, C, H, W) with the memory laid out as (N, H, W, C), or encoded images.
        targets: int64 (N,), the class index of every image; or ``Boxes``, or ``Masks``.
        classes: the name of every class index.
        name: the source, as the user named it.
        note: remark on these images that belongs beside every reported number.
        mirror_safe: whether a mirrored image still shows its class (it does not for digits).
        listing: fingerprint of the listing that they were chosen from; empty: not known, or they are no files.
        validation: int64 (V,), positions of the images that the source itself sets apart for validation; None: none.
        identity: what all images of the split are that these were chosen from; None: not known.
    """

    images: Tensor | EncodedImages
    targets: Any
    classes: tuple[str, ...]
    name: str
    note: str = ""
    mirror_safe: bool = True
    listing: str = ""
    validation: Indices | None = None
    identity: Identity | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise ValueError(f"{self.name}: {len(self.images)} images but {len(self.targets)} targets")
        if len(self.targets) == 0:
            raise ValueError(f"{self.name}: no images")
        labels = self.targets.labels if isinstance(self.targets, Boxes) else self.targets
        if not isinstance(labels, Tensor) or not len(labels):
            return
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise ValueError(f"{self.name}: targets run from {lowest} to {highest}, classes are {len(self.classes)}")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def channels(self) -> int:
        """Channels of an image: 1 or 3."""
        return self.images.channels if isinstance(self.images, EncodedImages) else self.images.shape[1]

    @property
    def pixels(self) -> Tensor:
        """All images, uint8 (N, C, H, W).

        Raises:
            ValueError: if they are not held in memory.
        """
        if isinstance(self.images, EncodedImages):
            raise ValueError(
                f"{self.name}: its images differ in size or do not fit in memory; load them with an image_size"
            )
        return self.images

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width where all images are held in one tensor, else None."""
        if isinstance(self.images, EncodedImages):
            return None
        return self.images.shape[2], self.images.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digits that differ where the images, their order or their classes do."""
        digest = hashlib.sha256(repr((self.classes, self.channels, self.listing)).encode())
        digest.update(content_of(self.targets))
        if isinstance(self.images, EncodedImages):
            digest.update(np.ascontiguousarray(self.images.indices, dtype="<i8").tobytes())
        else:
            digest.update(repr(self.image_size).encode() + self.images.permute(0, 2, 3, 1).numpy().tobytes())
        return digest.hexdigest()

    def open(self, index: int) -> Image.Image:
        """Return one image as a Pillow image."""
        if isinstance(self.images, EncodedImages):
            return self.images.open(index)
        pixels = self.images[index].permute(1, 2, 0).numpy()
        return to_image(pixels)

    def subset(self, indices: npt.NDArray[np.int64]) -> ImageSet:
        """Return the images at ``indices``, in that order.

        Args:
            indices: int64 (M,), positions in this set.
        """
        if isinstance(self.images, EncodedImages):
            chosen: Tensor | EncodedImages = replace(self.images, indices=self.images.indices[indices])
        else:
            chosen = from_pixels(self.images.permute(0, 2, 3, 1).numpy()[indices])
        validation = None
        if self.validation is not None:
            validation = np.flatnonzero(np.isin(indices, self.validation))
        return replace(self, images=chosen, targets=take(self.targets, indices), validation=validation)


def square(image: Image.Image, side: int) -> Image.Image:
    """Resize the short side to ``side`` pixels (bicubic) and cut out the center."""
    if image.size == (side, side):
        return image
    return ImageOps.fit(image, (side, side), method=Image.Resampling.BICUBIC)


def centered(image: Image.Image, side: int, share: float) -> Image.Image:
    """Resize the short side to ``side / share`` pixels (bicubic) and cut out the center of ``side`` pixels.

    Args:
        image: any image.
        side: height and width of the result.
        share: share of the resized image's short side that is cut out; 1 is ``square``.

    Source: the rounding of torchvision's Resize and CenterCrop, so that published accuracies can be met.
    """
    if share == 1:
        return square(image, side)
    short, scaled = min(image.size), round(side / share)
    width, height = (scaled if edge == short else int(scaled * edge / short) for edge in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + side, top + side))


def to_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return an image as uint8 (H, W, C)."""
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def to_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return pixels uint8 (H, W, C) as an image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def from_pixels(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Return images uint8 (N, H, W, C) as a tensor (N, C, H, W) in the same memory: the channels-last layout."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def centers(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bring an image to a height and width, those of a square, by :func:`square`."""
    return square(image, size[0])


def decode_if_small(
    images: EncodedImages,
    image_size: ImageSize,
    memory_limit: int,
    bring: Callable[[Image.Image, tuple[int, int]], Image.Image] = centers,
) -> tuple[Tensor, dict[int, str]] | None:
    """Decode all images into one tensor if they have one size and fit in memory.

    Args:
        images: the images to decode.
        image_size: what every image is brought to; None to keep sizes.
        memory_limit: most bytes the tensor may take.
        bring: brings an image to a height and width.

    Returns:
        uint8 (N, C, H, W), and by number of image why it cannot be decoded and its pixels mean nothing. None if the
        images must stay encoded.
    """
    wanted = height_and_width(image_size)
    size = wanted or _likely_size(images)
    if size is None or len(images) * images.channels * size[0] * size[1] > memory_limit:
        return None
    pixels = np.zeros((len(images), *size, images.channels), dtype=np.uint8)
    bad = {}
    for index in range(len(images)):
        try:
            image = to_pixels(images.open(index) if wanted is None else bring(images.open(index), wanted))
        except BadImageError as error:
            bad[index] = error.reason
            continue
        if image.shape[:2] != size:
            return None
        pixels[index] = image
    return from_pixels(pixels), bad


def _likely_size(images: EncodedImages) -> tuple[int, int] | None:
    # Folders of photos differ in size within the first few images: no need to decode many to see it.
    sizes = set()
    for index in range(min(_PROBED_IMAGES, len(images))):
        with suppress(BadImageError):
            sizes.add(images.size(index))
    return sizes.pop() if len(sizes) == 1 else None
