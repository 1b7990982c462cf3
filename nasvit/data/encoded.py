"""Encoded images, read and decoded one by one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nasvit.data.bad import bad_image
from nasvit.data.decoding import MODES, draft, ends_whole, shown, shown_size
from nasvit.data.listed import EMPTY
from nasvit.data.stores import OF_FILES, FileStore, Indices, Names, Store


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Encoded images, read and decoded one by one.

    Args:
        store: reads them; shared by all that choose from it.
        indices: int64 (N,), the numbers of the chosen images in the store.
        channels: 1 (gray) or 3 (red, green, blue): every image is converted to that.
        sizes: int64 (M, 2), height and width that every image of the store has by what is known of it; an image of
            another size is a bad one. None: nothing is known.
    """

    store: Store
    indices: Indices
    channels: int = 3
    sizes: Indices | None = None

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ValueError(f"channels {self.channels}: legal are 1 (gray) and 3 (red, green, blue)")

    @classmethod
    def of(cls, store: Store, channels: int = 3, sizes: Indices | None = None) -> EncodedImages:
        """Return all images of a store."""
        return cls(store, np.arange(len(store)), channels, sizes)

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], channels: int = 3) -> EncodedImages:
        """Return the images of some files."""
        return cls.of(FileStore("", Names(str(path) for path in paths)), channels)

    def __len__(self) -> int:
        return len(self.indices)

    def open(self, index: int, least: tuple[int, int] | None = None) -> Image.Image:
        """Read and decode one image as it is shown, in mode ``L`` (one channel) or ``RGB``.

        Args:
            index: position of the image.
            least: height and width in pixels that are enough: decoders that can (JPEG) then halve the image, or halve
                it more often, down to no less than that.

        Raises:
            BadImageError: naming the image, if that is not possible.
        """
        with self._opened(index) as (image, turns):
            if least is not None:
                draft(image, least, turns=turns)
            image.load()
            return shown(image, self.channels, turns=turns)

    def name(self, index: int) -> str:
        """Return what to call one image before a user."""
        return self.store.name(int(self.indices[index]))

    def look(self, index: int) -> None:
        """Look at the head and the end of one image; decode it only where these say that it may be cut off.

        Raises:
            BadImageError: naming the image, if it is none, or is cut off.
        """
        number = int(self.indices[index])
        if not looks_whole(self.store, number, lambda image: self._turns(image, number)):
            self.open(index)

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of one image in pixels, as it is shown; decodes only its header.

        Raises:
            BadImageError: naming the image, if that is not possible.
        """
        with self._opened(index) as (image, turns):
            return shown_size(image) if turns else (image.height, image.width)

    @contextmanager
    def _opened(self, index: int) -> Iterator[tuple[Image.Image, bool]]:
        """Open an image, and tell whether it is to be turned."""
        number = int(self.indices[index])
        with opened(self.store, number) as image:
            yield image, self._turns(image, number)

    def _turns(self, image: Image.Image, number: int) -> bool:
        """Whether an image is to be turned: not where it was annotated as it lies in its file."""
        known = None if self.sizes is None else tuple(self.sizes[number].tolist())
        stored, seen = (image.height, image.width), shown_size(image)
        if known not in (None, stored, seen):
            assert known is not None
            has = f"{seen[1]}x{seen[0]} pixels, what is annotated has {known[1]}x{known[0]}"
            turned = "; one of them is turned: store the image as it was annotated" if known == seen[::-1] else ""
            raise ValueError(f"it has {has}{turned}")
        return known in (None, seen)


@contextmanager
def opened(store: Store, number: int) -> Iterator[Image.Image]:
    """Open one image of a store; its pixels are decoded inside of the context.

    Raises:
        BadImageError: naming the image, if that is not possible.
    """
    encoded = _read(store, number)
    try:
        if not encoded:
            raise ValueError(EMPTY)
        with Image.open(io.BytesIO(encoded)) as image:
            yield image
    except MemoryError:
        raise
    except Exception as error:  # what decoders raise for broken files is of every kind
        raise bad_image(store.name(number), error) from error


def looks_whole(store: Store, number: int, check: Callable[[Image.Image], object] = lambda _: None) -> bool:
    """Return whether head and end of an image say that it is whole; false: only decoding it can tell.

    Args:
        store: holds it.
        number: its number.
        check: raises what is wrong with it, opened and not decoded.

    Raises:
        BadImageError: naming the image, if it is none.
    """
    try:
        with store.file(number) as file:
            if not file.read(1):
                raise ValueError(EMPTY)
            file.seek(0)
            with Image.open(file) as image:
                check(image)
                return ends_whole(image, file)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, *OF_FILES):
            raise  # a failure of the disk or the network
        raise bad_image(store.name(number), error) from error


def _read(store: Store, number: int) -> bytes:
    try:
        return store.read(number)
    except OSError as error:
        if error.errno not in OF_FILES:
            raise  # a failure of the disk or the network is no reason to leave an image out
        raise bad_image(store.name(number), error) from error
