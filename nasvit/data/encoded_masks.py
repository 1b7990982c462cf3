"""Masks that are read and decoded one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasvit.data.bad import bad_image
from nasvit.data.decoding import turned
from nasvit.data.encoded import looks_whole, opened
from nasvit.data.mask_table import MaskTable
from nasvit.data.stores import Indices, Store


@dataclass(frozen=True, eq=False)
class EncodedMasks:
    """Encoded masks, read and decoded one by one.

    Args:
        store: reads them; shared by all that choose from it.
        indices: int64 (N,), the numbers of the chosen masks in the store.
        table: what their values stand for.
    """

    store: Store
    indices: Indices
    table: MaskTable

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Indices) -> EncodedMasks:
        """Return the masks at ``indices``."""
        return replace(self, indices=self.indices[indices])

    def content(self) -> bytes:
        """Return bytes that are equal for equal choices of equal tables only; the store's listing tells the rest."""
        return self.indices.tobytes() + self.table.content()

    def look(self, index: int) -> None:
        """Look at the head and the end of one mask; decode it only where these say that it may be cut off.

        Raises:
            BadImageError: naming the mask, if it is none, or is cut off.
        """
        if not looks_whole(self.store, int(self.indices[index]), _require_exact):
            self.open(index)

    def open(self, index: int) -> npt.NDArray[np.uint8]:
        """Read and decode one mask, uint8 (H, W).

        Raises:
            BadImageError: naming the mask, if that is not possible, or it holds what the table does not have.
        """
        number = int(self.indices[index])
        image = decoded(self.store, number)
        try:
            return self.table.read(image)
        except ValueError as error:
            raise bad_image(self.store.name(number), error) from error


def decoded(store: Store, number: int) -> Image.Image:
    """Read and decode one mask: turned as it is shown, its values as they are stored.

    Raises:
        BadImageError: naming the mask, if that is not possible.
    """
    with opened(store, number) as image:
        _require_exact(image)
        image.load()
        return turned(image)


def _require_exact(image: Image.Image) -> None:
    """Refuse a mask whose values its format changed: between two classes lie the numbers of others."""
    if image.format in ("JPEG", "MPO"):
        raise ValueError("it is a JPEG, which changes the values of a mask; store it as PNG, before it was one")
