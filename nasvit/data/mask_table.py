"""What the values or colors of masks stand for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasvit.data.stores import Indices
from search_spaces.files import read_file

IGNORED = 255
"""Value of a mask where nothing is to be learned or judged."""

TABLES = ("classes.txt", "label_colors.txt")
"""Files beside the masks that name their classes."""

_IGNORED_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored")
_UNKNOWN = 254
"""Value that no class has: what a mask must not hold."""
_GRAY = 65536 + 256 + 1
"""What the number of a color grows by from one gray to the next."""

NO_COLORS = (
    "is a mask of colors, but no table says what they mean; needed is a file classes.txt beside the folder of masks, "
    "with one class a line: R G B name"
)


@dataclass(frozen=True, eq=False)
class MaskTable:
    """Which class the values or colors of a mask stand for.

    Args:
        classes: the name of every class index.
        lookup: uint8 (256,), the class index of every value, ``IGNORED``, or a mark for values that mean nothing; with
            colors (K,), the class index of every color, or ``IGNORED``.
        colors: int64 (K,), sorted: colors as red * 65536 + green * 256 + blue; None: masks hold values. With colors,
            gray pixels and those of a palette are colors too, whatever number they are stored as.
        origin: what to call the table before a user.
    """

    classes: tuple[str, ...]
    lookup: npt.NDArray[np.uint8]
    colors: Indices | None = None
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
        if len(names) > IGNORED + 1:
            raise ValueError(f"{origin}: has {len(names)} entries; legal: 1 to {IGNORED + 1}")
        kept = _kept(names, (ignore_index, IGNORED), origin)
        lookup = np.full(IGNORED + 1, _UNKNOWN, dtype=np.uint8)
        lookup[: len(names)] = _numbered(kept, len(names))
        lookup[[IGNORED] if ignore_index is None else [ignore_index, IGNORED]] = IGNORED
        return cls(tuple(names[value] for value in kept), lookup, origin=origin)

    @classmethod
    def of_file(cls, path: Path, ignore_index: int | None) -> MaskTable:
        """Read a table of one class a line: ``name``, or ``R G B name``.

        Args:
            path: the file.
            ignore_index: line, counted from 0, that is ignored too; without colors that is the value.

        Raises:
            ValueError: naming the file, if only some lines have colors, or two have the same one.
        """
        lines = [line.split() for line in read_file(path).splitlines() if line.strip()]
        colored = [_is_colored(line) for line in lines]
        if not any(colored):
            return cls.of_names([" ".join(line) for line in lines], ignore_index, str(path))
        if not all(colored):
            raise ValueError(f"{path}, line {colored.index(False) + 1}: has no color, other lines have: R G B name")
        names = [" ".join(line[3:]) for line in lines]
        kept = _kept(names, (ignore_index,), str(path))
        codes = np.array([_code(np.array(line[:3], dtype=np.int64)) for line in lines])
        order = np.argsort(codes)
        twice = np.flatnonzero(np.diff(codes[order]) == 0)
        if len(twice):
            raise ValueError(f"{path}: two classes have the color {' '.join(lines[order[twice[0]]][:3])}")
        lookup = _numbered(kept, len(names))[order]
        return cls(tuple(names[place] for place in kept), lookup, codes[order], str(path))

    def content(self) -> bytes:
        """Return bytes that are equal only for tables that read every mask alike."""
        return self.lookup.tobytes() + (b"" if self.colors is None else self.colors.tobytes())

    def read(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the class index of every pixel, uint8 (H, W).

        Args:
            image: the mask.

        Raises:
            ValueError: naming value or color, and place, if the table has no such entry.
        """
        return self._of_values(image) if self.colors is None else self._of_colors(image, self.colors)

    def _of_values(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        if is_colored(image):
            raise ValueError(NO_COLORS)
        values = mask_values(image)
        found = self._looked_up(values)
        wrong = found == _UNKNOWN
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise ValueError(
                f"pixel x={column}, y={row} has the value {values[row, column].item()}, which {self.origin} does not "
                "have (add it there, or ignore it: data: ignore_index)"
            )
        return found

    def _looked_up(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if values.dtype == np.uint8:
            return self.lookup[values]
        known = whole_bytes(values)
        return np.where(known, self.lookup[np.where(known, values, 0).astype(np.uint8)], np.uint8(_UNKNOWN))

    def _of_colors(self, image: Image.Image, colors: Indices) -> npt.NDArray[np.uint8]:
        codes = _codes(image)
        places = np.searchsorted(colors, codes).clip(max=len(colors) - 1)
        wrong = colors[places] != codes
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            numbers = "" if is_colored(image) else "; where masks hold numbers of classes it must have no colors"
            raise ValueError(
                f"pixel x={column}, y={row} has {_color_of(image, int(codes[row, column]), (column, row))}, which "
                f"{self.origin} does not have{numbers}"
            )
        return self.lookup[places]


def is_colored(image: Image.Image) -> bool:
    """Return whether the pixels of a mask are colors; gray values, numbers of a palette and their opacity are not."""
    return len(image.getbands()) > 2


def mask_values(image: Image.Image) -> npt.NDArray[Any]:
    """Return the value of every pixel of a mask without colors, (H, W): of a palette the number, not the color."""
    values = np.asarray(image, dtype=np.uint8 if image.mode == "1" else None)
    return values if values.ndim == 2 else values[:, :, 0]  # behind a gray value there may be how opaque it is


def whole_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which values are whole numbers from 0 to 255: there are masks of 16 bits, and of fractions."""
    whole: npt.NDArray[np.bool_] = (values >= 0) & (values <= IGNORED) & (values == np.floor(values))
    return whole


def _kept(names: Sequence[str], ignored: Collection[int | None], origin: str) -> list[int]:
    """Return the places of the names that are classes."""
    kept = [place for place, name in enumerate(names) if place not in ignored and name.lower() not in _IGNORED_NAMES]
    if not 0 < len(kept) <= _UNKNOWN:
        raise ValueError(f"{origin}: has {len(kept)} classes; legal: 1 to {_UNKNOWN}")
    return kept


def _numbered(kept: Sequence[int], count: int) -> npt.NDArray[np.uint8]:
    """Return the class index of every one of ``count`` places, ``IGNORED`` where it is none of those kept."""
    numbers = np.full(count, IGNORED, dtype=np.uint8)
    numbers[list(kept)] = np.arange(len(kept))
    return numbers


def _codes(image: Image.Image) -> Indices:
    """Return the color of every pixel, int64 (H, W); -1 where a gray value is none that a byte can hold."""
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would cut such values at 255
        values = np.asarray(image)
        known = whole_bytes(values)
        return np.where(known, np.where(known, values, 0).astype(np.int64) * _GRAY, -1)
    return _code(np.asarray(image.convert("RGB"), dtype=np.int64))


def _color_of(image: Image.Image, code: int, place: tuple[int, int]) -> str:
    if code < 0:
        return f"the value {image.getpixel(place)}"
    return f"the color {code // 65536} {code // 256 % 256} {code % 256}"


def _is_colored(line: Sequence[str]) -> bool:
    return len(line) > 3 and all(part.isdigit() and int(part) <= IGNORED for part in line[:3])


def _code(colors: Indices) -> Indices:
    coded: Indices = colors[..., 0] * 65536 + colors[..., 1] * 256 + colors[..., 2]
    return coded
