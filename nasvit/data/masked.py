"""Images that are decoded one by one, each with what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nasvit.data.bad import BadImageError
from nasvit.data.encoded import EncodedImages
from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.targets import Masks


class Decodable(Protocol):
    """Images that may be decoded one by one, each with what belongs to it."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> object:
        """Read and decode one.

        Raises:
            BadImageError: if that is not possible.
        """

    def look(self, index: int) -> object:
        """Look at the head and the end of one.

        Raises:
            BadImageError: if these show that it is bad.
        """


@dataclass(frozen=True)
class _Masked:
    """Images that are decoded with their masks."""

    images: EncodedImages
    masks: EncodedMasks

    def __len__(self) -> int:
        return len(self.images)

    def open(self, index: int) -> None:
        """Decode an image and its mask."""
        self.images.open(index)
        self._of_mask(self.masks.open, index)

    def look(self, index: int) -> None:
        """Look at the heads and ends of an image and its mask."""
        self.images.look(index)
        self._of_mask(self.masks.look, index)

    def _of_mask(self, look: Callable[[int], object], index: int) -> None:
        try:
            look(index)
        except BadImageError as error:
            raise BadImageError(str(error), reason_of_mask(self.masks, index, error)) from error


def with_masks(images: EncodedImages, targets: Any) -> Decodable:
    """Return images so that decoding one decodes its mask too, where they have masks."""
    if isinstance(targets, Masks) and isinstance(targets.stored, EncodedMasks):
        return _Masked(images, targets.stored)
    return images


def reason_of_mask(masks: EncodedMasks, index: int, error: BadImageError) -> str:
    """Return why an image is bad whose mask is."""
    return f"its mask {masks.store.name(int(masks.indices[index]))}: {error.reason}"
