"""A set of labeled images: all in one tensor where it fits in memory, else decoded one by one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nasvit.data.bad import BadImageError, bad_image
from nasvit.data.listed import EMPTY
from nasvit.data.stores import FileStore, Indices, Names, Store

MEMORY_LIMIT = 256 * 2**20
"""Decoded bytes up to which a data set is held in memory as one tensor; larger ones are decoded image by image."""

_MODES = {1: "L", 3: "RGB"}
_PROBED_IMAGES = 64


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Encoded images, read and decoded one by one.

    Args:
        store: reads them; shared by all that choose from it.
        indices: int64 (N,), the numbers of the chosen images in the store.
        channels: 1 (gray) or 3 (red, green, blue): every image is converted to that.
    """

    store: Store
    indices: Indices
    channels: int = 3

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise ValueError(f"channels {self.channels}: legal are 1 (gray) and 3 (red, green, blue)")

    @classmethod
    def of(cls, store: Store, channels: int = 3) -> EncodedImages:
        """Return all images of a store."""
        return cls(store, np.arange(len(store)), channels)

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], channels: int = 3) -> EncodedImages:
        """Return the images of some files."""
        return cls.of(FileStore("", Names(str(path) for path in paths)), channels)

    def __len__(self) -> int:
        return len(self.indices)

    def open(self, index: int) -> Image.Image:
        """Read and decode one image, in mode ``L`` (one channel) or ``RGB``.

        Raises:
            BadImageError: naming the image, if that is not possible.
        """
        with self._opened(index) as image:
            image.load()
            return image if image.mode == _MODES[self.channels] else image.convert(_MODES[self.channels])

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of one image in pixels; decodes only its header.

        Raises:
            BadImageError: naming the image, if that is not possible.
        """
        with self._opened(index) as image:
            return image.height, image.width

    @contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        number = int(self.indices[index])
        encoded = self._read(number)
        try:
            if not encoded:
                raise ValueError(EMPTY)
            with Image.open(io.BytesIO(encoded)) as image:
                yield image
        except MemoryError:
            raise
        except Exception as error:  # what decoders raise for broken files is of every kind
            raise bad_image(self.store.name(number), error) from error

    def _read(self, number: int) -> bytes:
        try:
            return self.store.read(number)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            # Other failures are those of the disk or the network, and no reason to leave an image out.
            raise bad_image(self.store.name(number), error) from error


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labeled images of one split.

    Args:
        images: uint8 (N, C, H, W) with the memory laid out as (N, H, W, C), or encoded images.
        targets: int64 (N,), the class index of every image.
        classes: the name of every class index.
        name: the source, as the user named it.
        note: remark on these images that belongs beside every reported number.
        mirror_safe: whether a mirrored image still shows its class (it does not for digits).
        listing: fingerprint of the listing that they were chosen from; empty: not known, or they are no files.
    """

    images: Tensor | EncodedImages
    targets: Tensor
    classes: tuple[str, ...]
    name: str
    note: str = ""
    mirror_safe: bool = True
    listing: str = ""

    def __post_init__(self) -> None:
        if len(self.images) != len(self.targets):
            raise ValueError(f"{self.name}: {len(self.images)} images but {len(self.targets)} targets")
        if len(self.targets) == 0:
            raise ValueError(f"{self.name}: no images")
        lowest, highest = int(self.targets.min()), int(self.targets.max())
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
        digest.update(self.targets.numpy().tobytes())
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
        return replace(self, images=chosen, targets=self.targets[torch.from_numpy(indices)])


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


def decode_if_small(
    images: EncodedImages, image_size: int | None, memory_limit: int
) -> tuple[Tensor, dict[int, str]] | None:
    """Decode all images into one tensor if they have one size and fit in memory.

    Args:
        images: the images to decode.
        image_size: side in pixels every image is brought to (short side resized, center cut out); None to keep sizes.
        memory_limit: most bytes the tensor may take.

    Returns:
        uint8 (N, C, H, W), and by number of image why it cannot be decoded and its pixels mean nothing. None if the
        images must stay encoded.
    """
    size = (image_size, image_size) if image_size is not None else _likely_size(images)
    if size is None or len(images) * images.channels * size[0] * size[1] > memory_limit:
        return None
    pixels = np.zeros((len(images), *size, images.channels), dtype=np.uint8)
    bad = {}
    for index in range(len(images)):
        try:
            image = to_pixels(images.open(index) if image_size is None else square(images.open(index), image_size))
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
