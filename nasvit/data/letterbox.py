"""Images brought to a size by one scale, with boxes and masks moved along."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from nasvit.data.mask_table import IGNORED
from nasvit.data.targets import Objects

FILL = 114
"""Gray level around images that do not have the form of those that are served."""

LEAST_SHARE = 0.25
"""Share of its area that a box must keep inside of the image, or it is dropped from training."""

LEAST_SIDE = 1.0
"""Pixels that both sides of a box must have at least, or it is dropped from training."""

_ROUNDING = 1e-6

Size = tuple[int, int]


class Cut(NamedTuple):
    """Where a stored image comes to lie in a served one: scaled, mirrored in itself, and then moved.

    Args:
        scale: pixels of the served image for one pixel of the stored one, the same in both directions.
        top: row that the first row of the stored image comes to, which may lie outside.
        left: column that its first column comes to.
        mirrored: whether it is mirrored left to right.
    """

    scale: float
    top: int = 0
    left: int = 0
    mirrored: bool = False

    def extent(self, stored: Size) -> Size:
        """Return height and width of the scaled image: whole pixels, the rest of a last one is left out."""
        height, width = (max(1, math.floor(side * self.scale + _ROUNDING)) for side in stored)
        return height, width

    def boxes(self, objects: Objects, stored: Size) -> Objects:
        """Return boxes of the stored image in pixels of the served one, wherever they lie."""
        moved = objects.boxes * np.float32(self.scale)
        if self.mirrored:
            moved[:, [0, 2]] = self.extent(stored)[1] - moved[:, [2, 0]]
        shift = np.array([self.left, self.top] * 2, dtype=np.float32)
        return objects._replace(boxes=moved + shift)


class Window(NamedTuple):
    """The part of a served image that shows the stored one, and the part of the stored one that it shows.

    Args:
        top, left, bottom, right: in pixels of the served image.
        source: left, top, right and bottom in pixels of the stored image.
    """

    top: int
    left: int
    bottom: int
    right: int
    source: tuple[float, float, float, float]

    @property
    def rows(self) -> tuple[slice, slice]:
        """Where to write what is shown."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def fitted(stored: Size, size: Size) -> Cut:
    """Return the largest that a stored image fits inside of a size, at the top left of it."""
    return Cut(min(size[0] / stored[0], size[1] / stored[1]))


def window(cut: Cut, stored: Size, size: Size) -> Window | None:
    """Return what a cut shows of a stored image in an image of a size; None if that is nothing."""
    height, width = cut.extent(stored)
    top, left = max(0, cut.top), max(0, cut.left)
    bottom, right = min(size[0], cut.top + height), min(size[1], cut.left + width)
    if bottom <= top or right <= left:
        return None
    first, last = left - cut.left, right - cut.left
    if cut.mirrored:
        first, last = width - last, width - first
    columns, rows = (first, last), (top - cut.top, bottom - cut.top)
    (x1, x2), (y1, y2) = ([place / cut.scale for place in places] for places in (columns, rows))
    return Window(top, left, bottom, right, (x1, y1, x2, y2))


def show(image: Image.Image, shown: Window, cut: Cut, reduced: float, method: Image.Resampling) -> Image.Image:
    """Return what a window shows, as an image of the window's size.

    Args:
        image: the stored image, or a smaller copy of it.
        shown: the window.
        cut: the cut that it is a window of.
        reduced: pixels of ``image`` for one pixel of the stored one.
        method: how to resize; smaller images are made without aliasing unless it is ``NEAREST``.
    """
    x1, y1, x2, y2 = (edge * reduced for edge in shown.source)
    box = (x1, y1, min(x2, image.width), min(y2, image.height))
    made = image.resize((shown.right - shown.left, shown.bottom - shown.top), method, box=box)
    return made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if cut.mirrored else made


def letterboxed(image: Image.Image, size: Size) -> Image.Image:
    """Bring an image to a height and width: fitted inside, at the top left, the rest gray."""
    return _fitted(image, size, (FILL,) * len(image.getbands()), Image.Resampling.BICUBIC)


def letterboxed_mask(mask: Image.Image, size: Size) -> Image.Image:
    """Bring a mask to a height and width as ``letterboxed`` brings its image; the rest is ``IGNORED``."""
    return _fitted(mask, size, (IGNORED,), Image.Resampling.NEAREST)


def _fitted(image: Image.Image, size: Size, fill: tuple[int, ...], method: Image.Resampling) -> Image.Image:
    stored = image.height, image.width
    cut = fitted(stored, size)
    shown = window(cut, stored, size)
    assert shown is not None
    made = show(image, shown, cut, 1.0, method)
    if made.size == (size[1], size[0]):
        return made
    canvas = Image.new(image.mode, (size[1], size[0]), fill if len(fill) > 1 else fill[0])
    canvas.paste(made, (0, 0))
    return canvas


def still_seen(objects: Objects, size: Size) -> Objects:
    """Cut boxes at the edges of an image and drop those of which hardly anything is left.

    Args:
        objects: boxes in pixels of the served image.
        size: its height and width.
    """
    x1, y1, x2, y2 = objects.boxes.T
    cut = np.stack([x1.clip(0, size[1]), y1.clip(0, size[0]), x2.clip(0, size[1]), y2.clip(0, size[0])], axis=1)
    width, height = cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1]
    large = (width >= LEAST_SIDE) & (height >= LEAST_SIDE)
    kept = large & (width * height >= LEAST_SHARE * (x2 - x1) * (y2 - y1))
    return objects._replace(boxes=cut).where(kept)
