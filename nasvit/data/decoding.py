"""Images as viewers show them, of whatever kind their files are: the one place where pixels get their meaning."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms

BACKGROUND = 255
"""Gray value of what is seen through transparent pixels: white, as on a page."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's name of images of so many channels."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
_WITH_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_WITH_OPACITY = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS, _WHITE_IS_ZERO = 258, (262, 0)  # entries of TIFF files
_PARTS = ((273, 324), (279, 325))  # first bytes and lengths of strips, or of tiles
_TAIL = 64
_SLACK = 1e-3  # what floats may lie outside of 0 to 1


def orientation(image: Image.Image) -> int:
    """Return how a picture was turned when it was stored, 1 (not at all) to 8, by its EXIF or XMP entry.

    TIFF files are turned by Pillow itself. What cannot be read says nothing.
    """
    if image.format == "TIFF" or not any(name in image.info for name in _WITH_ORIENTATION):
        return 1  # asked for EXIF that comes behind the pixels, Pillow would decode them
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # what readers raise for broken entries is of every kind
        return 1
    return found if found in _TURNS else 1


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return height and width of an image as it is shown; reads no more than its head."""
    lies = orientation(image) in _ON_THEIR_SIDE
    return (image.width, image.height) if lies else (image.height, image.width)


def draft(image: Image.Image, least: tuple[int, int], *, turns: bool = True) -> None:
    """Let the decoder halve the image, or halve it more often, where it can (JPEG).

    Args:
        image: an image that was opened and not decoded.
        least: height and width, as it is shown, that must be left.
        turns: whether it will be turned.
    """
    height, width = least[::-1] if turns and orientation(image) in _ON_THEIR_SIDE else least
    image.draft(None, (width, height))


def turned(image: Image.Image) -> Image.Image:
    """Return an image as it is to be looked at, by its EXIF or XMP entry."""
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def shown(image: Image.Image, channels: int, *, turns: bool = True) -> Image.Image:
    """Return an image in gray or red, green and blue, of 8 bits, as viewers show it.

    Gray values of 16 bits and floats from 0 to 1 are scaled to 8 bits. Transparent pixels are laid on white
    (:data:`BACKGROUND`). Of several frames or pages the first is taken. Color profiles are not applied.

    Args:
        image: an image that is decoded.
        channels: 1 (gray) or 3.
        turns: whether it is turned.

    Raises:
        ValueError: if it cannot be known what its numbers mean.
    """
    turn, made = _TURNS.get(orientation(image)) if turns else None, _in_mode(image, MODES[channels])
    return made if turn is None else made.transpose(turn)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _scaled(image)
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "LAB":
        colored = ImageCms.applyTransform(image, _from_lab())
        assert colored is not None  # that is for transforms in place
        return colored.convert(mode)
    return (_on_background(image) if _may_be_transparent(image) else image).convert(mode)


def _scaled(image: Image.Image) -> Image.Image:
    """Return an image of large whole numbers or of floats with 8 bits a pixel."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not -_SLACK <= low <= high <= 1 + _SLACK:  # also where there are some that are no numbers
            raise ValueError(f"its floats run from {low:g} to {high:g}; legal are 0 to 1, or store it with 8 bits")
        share = np.clip(values, 0, 1)
    else:
        share = values / float(2 ** _bits(image, tags) - 1)
    if tags.get(_WHITE_IS_ZERO[0]) == _WHITE_IS_ZERO[1]:
        share = 1 - share
    gray = Image.fromarray(np.rint(255 * share).astype(np.uint8))
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        gray.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return gray


def _bits(image: Image.Image, tags: Any) -> int:
    """Return the bits of a gray value."""
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # which Pillow reads so where they have 16
        raise ValueError("it has whole numbers of more than 16 bits, or with a sign; store it with 8 or 16 bits")
    return int(tags[_BITS][0]) if _BITS in tags else 16


def _may_be_transparent(image: Image.Image) -> bool:
    if image.mode in _WITH_OPACITY or "transparency" in image.info:
        return True
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _on_background(image: Image.Image) -> Image.Image:
    below = Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,))
    return Image.alpha_composite(below, image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA"))


@cache
def _from_lab() -> Any:
    lab, srgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def ends_whole(image: Image.Image, file: BinaryIO) -> bool:
    """Return whether the end of a file says that nothing of it is missing; false: only decoding it can tell.

    Args:
        image: the image, opened and not decoded.
        file: the file that it was opened from.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    if image.format in ("JPEG", "MPO"):
        return tail.rstrip(b"\0").endswith(b"\xff\xd9")
    if image.format == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    if image.format == "GIF":
        return tail.rstrip(b"\0").endswith(b";")
    if image.format == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 <= size
    if image.format == "TIFF":
        return _ends_of_parts(getattr(image, "tag_v2", {})) <= size
    return False


def _ends_of_parts(tags: Any) -> int:
    """Return where the last strip or tile of a TIFF file ends."""
    starts, counts = (tags.get(strips) or tags.get(tiles) or () for strips, tiles in _PARTS)
    if not starts or len(starts) != len(counts):
        return sys.maxsize
    return max(start + count for start, count in zip(starts, counts))
