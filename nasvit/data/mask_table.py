"""What the values or colors of masks stand for, and masks that are read one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasvit.data.bad import BadImageError
from nasvit.data.encoded import opened
from nasvit.data.stores import Indices, Store

IGNORED = 255
"""Value of a mask where nothing is to be learned or judged."""

TABLES = ("classes.txt", "label_colors.txt")
"""Files beside the masks that name their classes."""

_IGNORED_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
_UNKNOWN = 254
"""Value that no class has: what a mask must not hold."""


@dataclass(frozen=True, eq=False)
class MaskTable:
    """Which class the values of a mask stand for.

    Args:
        classes: the name of every class index.
        lookup: uint8 (256,), the class index of every value, ``IGNORED``, or a mark for values that mean nothing.
        colors: int64 (K,), sorted: colors as red * 65536 + green * 256 + blue; None: masks hold values.
        values: uint8 (K,), the value that each color stands for.
        origin: what to call the table before a user.
    """

    classes: tuple[str, ...]
    lookup: npt.NDArray[np.uint8]
    colors: Indices | None = None
    values: npt.NDArray[np.uint8] | None = None
    origin: str = ""

    @classmethod
    def of_names(cls, names: Sequence[str], ignore_index: int | None, origin: str) -> MaskTable:
        """Return the table of masks whose values are the places of these names.

        Args:
            names: name of every value.
            ignore_index: value that is ignored too, beside those of names such as ``void``, and ``IGNORED`` itself.
            origin: what to call the table before a user.

        Raises:
            ValueError: if no class is left, or there are more than a mask can hold.
        """
        kept = [
            value
            for value, name in enumerate(names)
            if value not in (ignore_index, IGNORED) and name.lower() not in _IGNORED_NAMES
        ]
        if not 0 < len(kept) <= _UNKNOWN or len(names) > IGNORED + 1:
            raise ValueError(f"{origin}: has {len(kept)} classes; legal: 1 to {_UNKNOWN}")
        lookup = np.full(IGNORED + 1, _UNKNOWN, dtype=np.uint8)
        lookup[: len(names)] = IGNORED
        lookup[kept] = np.arange(len(kept))
        lookup[[IGNORED] if ignore_index is None else [ignore_index, IGNORED]] = IGNORED
        return cls(tuple(names[value] for value in kept), lookup, origin=origin)

    @classmethod
    def of_file(cls, path: Path, ignore_index: int | None) -> MaskTable:
        """Read a table of one class a line: ``name``, or ``R G B name``.

        Raises:
            ValueError: naming the file, if only some lines have colors, or two have the same one.
        """
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        colored = [_is_colored(line) for line in lines]
        if not any(colored):
            return cls.of_names([" ".join(line) for line in lines], ignore_index, str(path))
        if not all(colored):
            raise ValueError(f"{path}, line {colored.index(False) + 1}: has no color, other lines have: R G B name")
        table = cls.of_names([" ".join(line[3:]) for line in lines], ignore_index, str(path))
        codes = np.array([_code(np.array(line[:3], dtype=np.int64)) for line in lines])
        order = np.argsort(codes)
        twice = np.flatnonzero(np.diff(codes[order]) == 0)
        if len(twice):
            raise ValueError(f"{path}: two classes have the color {' '.join(lines[order[twice[0]]][:3])}")
        return replace(table, colors=codes[order], values=order.astype(np.uint8))

    def read(self, image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
        """Return the class index of every pixel, uint8 (H, W).

        Args:
            image: the mask.
            name: what to call it before a user.

        Raises:
            ValueError: naming mask, value or color, and place, if the table has no such entry.
        """
        values = self._of_colors(image, name) if len(image.getbands()) > 2 else _values(image)
        found = self._looked_up(values)
        if (found == _UNKNOWN).any():
            row, column = np.argwhere(found == _UNKNOWN)[0].tolist()
            raise ValueError(
                f"{name}: pixel x={column}, y={row} has the value {int(values[row, column])}, which {self.origin} does "
                f"not have; repair the mask, or name the value to ignore (data: ignore_index)"
            )
        return found

    def _looked_up(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if values.dtype == np.uint8:
            return self.lookup[values]
        known = (values >= 0) & (values <= IGNORED)
        return np.where(known, self.lookup[np.where(known, values, 0)], np.uint8(_UNKNOWN))

    def _of_colors(self, image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
        if self.colors is None or self.values is None:
            raise ValueError(
                f"{name}: is a mask of colors, but no table says what they mean; needed is a file classes.txt beside "
                "the folder of masks, with one class a line: R G B name"
            )
        codes = _code(np.asarray(image.convert("RGB"), dtype=np.int64))
        places = np.searchsorted(self.colors, codes).clip(max=len(self.colors) - 1)
        wrong = self.colors[places] != codes
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            color = " ".join(map(str, np.asarray(image.convert("RGB"))[row, column].tolist()))
            raise ValueError(
                f"{name}: pixel x={column}, y={row} has the color {color}, which {self.origin} does not have"
            )
        return self.values[places]


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
        parts = (self.indices, self.table.lookup, self.table.colors, self.table.values)
        return b"".join(each.tobytes() for each in parts if each is not None)

    def open(self, index: int) -> npt.NDArray[np.uint8]:
        """Read and decode one mask, uint8 (H, W).

        Raises:
            BadImageError: naming the mask, if that is not possible.
            ValueError: naming the mask, if it holds what the table does not have.
        """
        number = int(self.indices[index])
        return self.table.read(_decoded(self.store, number), self.store.name(number))


def values_of(store: Store) -> Iterator[npt.NDArray[Any]]:
    """Yield the different values of every mask that can be decoded, decoding all of them."""
    for number in range(len(store)):
        try:
            image = _decoded(store, number)
        except BadImageError:
            continue  # said when the images themselves are judged
        if len(image.getbands()) > 2:
            raise ValueError(
                f"{store.name(number)}: is a mask of colors, but no table says what they mean; needed is a file "
                "classes.txt beside the folder of masks, with one class a line: R G B name"
            )
        yield np.unique(_values(image))


def _decoded(store: Store, number: int) -> Image.Image:
    with opened(store, number) as image:
        image.load()
        return image


def _values(image: Image.Image) -> npt.NDArray[Any]:
    values = np.asarray(image, dtype=np.uint8 if image.mode == "1" else None)
    return values if values.ndim == 2 else values[:, :, 0]  # behind a gray value there may be how opaque it is


def _is_colored(line: Sequence[str]) -> bool:
    return len(line) > 3 and all(part.isdigit() and int(part) <= IGNORED for part in line[:3])


def _code(colors: Indices) -> Indices:
    coded: Indices = colors[..., 0] * 65536 + colors[..., 1] * 256 + colors[..., 2]
    return coded
