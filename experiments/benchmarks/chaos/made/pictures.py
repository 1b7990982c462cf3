"""Encoded pictures of every kind, each with the pixels that a viewer shows: known, because they were there before."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

Pixels = npt.NDArray[np.uint8]

LOSSY = 3.0
"""Mean difference of gray values that JPEG may make of smooth pictures."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Args:
        content: its bytes.
        ending: of its name.
        shown: uint8 (H, W, 3), what a viewer shows; None: it is no picture, or a damaged one.
        tolerance: mean difference that its encoding may make.
    """

    content: bytes
    ending: str
    shown: Pixels | None
    tolerance: float = 0.0


def scene(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return a smooth picture with another color in each corner, uint8 (H, W, 3)."""
    corners = rng.integers(0, 256, (2, 2, 1, 3)).astype(np.float64)
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    rows = corners[0, 0] * (1 - x) + corners[0, 1] * x, corners[1, 0] * (1 - x) + corners[1, 1] * x
    return np.rint(rows[0] * (1 - y) + rows[1] * y).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image in a format of Pillow's."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def simple(pixels: Pixels, ending: str = ".png") -> Picture:
    """Return an ordinary picture: JPEG or PNG."""
    if ending == ".png":
        return Picture(encoded(Image.fromarray(pixels), "PNG"), ending, pixels)
    return Picture(encoded(Image.fromarray(pixels), "JPEG", **_BEST), ending, pixels, LOSSY)


_BEST: dict[str, Any] = {"quality": 95, "subsampling": 0}
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen),
    7: lambda seen: np.rot90(seen, 2).transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}


def _turned(pixels: Pixels, rng: np.random.Generator) -> Picture:
    turn = int(rng.integers(1, 9))
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(np.ascontiguousarray(_STORED[turn](pixels)))
    form, ending, options, tolerance = [
        ("JPEG", ".jpg", _BEST, LOSSY),
        ("PNG", ".png", {}, 0.0),
        ("WEBP", ".webp", {"lossless": True}, 0.0),
        ("TIFF", ".tif", {}, 0.0),
    ][int(rng.integers(4))]
    return Picture(encoded(image, form, exif=exif, **options), ending, pixels, tolerance)  # type: ignore[arg-type]


def _gray(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[..., 0])


def _three(gray: Pixels) -> Pixels:
    return np.repeat(gray[..., None], 3, 2)


def _hole(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return an opacity of 255 with a transparent corner, uint8 (H, W)."""
    opacity = np.full(pixels.shape[:2], 255, np.uint8)
    opacity[: int(rng.integers(1, pixels.shape[0] + 1)), : int(rng.integers(1, pixels.shape[1] + 1))] = 0
    return opacity


def _with_opacity(pixels: Pixels, rng: np.random.Generator) -> Picture:
    opacity = _hole(pixels, rng)
    image = Image.fromarray(np.dstack([pixels, opacity]))
    shown = np.where(opacity[..., None] > 0, pixels, 255).astype(np.uint8)
    if rng.random() < 0.3:
        return Picture(encoded(image, "WEBP", lossless=True), ".webp", shown)
    return Picture(encoded(image, "PNG"), ".png", shown)


def _gray_with_opacity(pixels: Pixels, rng: np.random.Generator) -> Picture:
    opacity, gray = _hole(pixels, rng), _gray(pixels)
    image = Image.fromarray(gray)
    image.putalpha(Image.fromarray(opacity))
    return Picture(encoded(image, "PNG"), ".png", _three(np.where(opacity > 0, gray, 255).astype(np.uint8)))


def _gray_of_16_bits(pixels: Pixels, rng: np.random.Generator) -> Picture:
    gray = _gray(pixels)
    form, ending = (("PNG", ".png"), ("TIFF", ".tiff"))[int(rng.integers(2))]
    return Picture(encoded(Image.fromarray(gray.astype(np.uint16) * 257), form), ending, _three(gray))


def _floats(pixels: Pixels, rng: np.random.Generator) -> Picture:
    gray = _gray(pixels)
    return Picture(encoded(Image.fromarray((gray / 255).astype(np.float32)), "TIFF"), ".tiff", _three(gray))


def _colors_of_16_bits(pixels: Pixels, rng: np.random.Generator) -> Picture:
    height, width = pixels.shape[:2]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels.astype(np.uint16) * 257)
    return Picture(_png(_head(width, height, 16, 2), (b"IDAT", zlib.compress(raw))), ".png", pixels)


def _head(width: int, height: int, bits: int, kind: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _palette(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a picture with a palette of grays, of which some entries may be transparent."""
    numbers = _gray(pixels) // 8
    image = Image.fromarray(numbers)
    image.putpalette(np.repeat(np.arange(0, 256, 8), 3).astype(np.uint8).tobytes())
    hidden, gray = int(rng.integers(0, 32)), numbers * 8
    if rng.random() < 0.3:
        return Picture(encoded(image, "PNG"), ".png", _three(gray))
    if rng.random() < 0.5:
        content = encoded(image, "GIF", transparency=hidden)
        return Picture(content, ".gif", _three(np.where(numbers == hidden, 255, gray).astype(np.uint8)))
    opacity = bytes(255 * (number >= hidden) for number in range(32))
    content = encoded(image, "PNG", transparency=opacity)
    return Picture(content, ".png", _three(np.where(numbers < hidden, 255, gray).astype(np.uint8)))


def _inks(pixels: Pixels, rng: np.random.Generator) -> Picture:
    image = Image.fromarray(np.dstack([255 - pixels, np.zeros(pixels.shape[:2], np.uint8)]), "CMYK")
    if rng.random() < 0.5:
        return Picture(encoded(image, "TIFF"), ".tif", pixels)
    return Picture(encoded(image, "JPEG", quality=100), ".jpg", pixels, LOSSY)


def _frames(pixels: Pixels, rng: np.random.Generator) -> Picture:
    image, other = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    kind = int(rng.integers(3))
    if kind == 0:
        gray = Image.fromarray(_gray(pixels))
        content = encoded(gray, "GIF", save_all=True, append_images=[Image.fromarray(255 - _gray(pixels))])
        return Picture(content, ".gif", _three(_gray(pixels)))
    form, ending, options = (("WEBP", ".webp", {"lossless": True}), ("PNG", ".png", {}))[kind - 1]
    content = encoded(image, form, save_all=True, append_images=[other], duration=100, **options)
    return Picture(content, ending, pixels)


def _pages(pixels: Pixels, rng: np.random.Generator) -> Picture:
    content = encoded(Image.fromarray(pixels), "TIFF", save_all=True, append_images=[Image.fromarray(255 - pixels)])
    return Picture(content, ".tif", pixels)


def _black_and_white(pixels: Pixels, rng: np.random.Generator) -> Picture:
    bright = np.where(_gray(pixels) > 127, 255, 0).astype(np.uint8)
    form, ending = (("PNG", ".png"), ("TIFF", ".tif"), ("BMP", ".bmp"))[int(rng.integers(3))]
    return Picture(encoded(Image.fromarray(bright).convert("1"), form), ending, _three(bright))


def _plain_kinds(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a picture in one of the other formats."""
    forms = [("BMP", ".bmp"), ("TIFF", ".tif"), ("TGA", ".tga"), ("PPM", ".ppm"), ("PNG", ".png"), ("DIB", ".dib")]
    forms += [("JPEG2000", ".jp2")] if features.check("jpg_2000") else []
    form, ending = forms[int(rng.integers(len(forms)))]
    return Picture(encoded(Image.fromarray(pixels), form), ending, pixels)


def _progressive(pixels: Pixels, rng: np.random.Generator) -> Picture:
    content = encoded(Image.fromarray(pixels), "JPEG", progressive=True, optimize=True, **_BEST)
    return Picture(content, ".jpeg", pixels, LOSSY)


def _gray_jpeg(pixels: Pixels, rng: np.random.Generator) -> Picture:
    return Picture(encoded(Image.fromarray(_gray(pixels)), "JPEG", quality=95), ".jpg", _three(_gray(pixels)), LOSSY)


def _more_behind(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a picture behind which other bytes follow, as phones write films there."""
    kind = simple(pixels, (".png", ".jpg")[int(rng.integers(2))])
    return Picture(kind.content + rng.bytes(int(rng.integers(1, 3000))), kind.ending, pixels, kind.tolerance)


def _other_ending(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a picture whose name says another format, or writes it in another way."""
    endings = (
        ".jpg",
        ".png",
        ".gif",
        ".JPG",
        ".Jpeg",
        ".PNG",
        ".jfif",
        ".JPE",
        ".webp",
        ".tiff",
        "",
        ".image",
        ".jpg_1",
    )
    kind = simple(pixels, (".png", ".jpg")[int(rng.integers(2))])
    return Picture(kind.content, endings[int(rng.integers(len(endings)))], pixels, kind.tolerance)


def _one_pixel(pixels: Pixels, rng: np.random.Generator) -> Picture:
    return simple(np.ascontiguousarray(pixels[:1, :1]))


def _very_wide(pixels: Pixels, rng: np.random.Generator) -> Picture:
    size = (int(rng.integers(1, 4)), int(rng.integers(1000, 4000)))
    return simple(scene(rng, *(size if rng.random() < 0.5 else size[::-1])))


def _large(pixels: Pixels, rng: np.random.Generator) -> Picture:
    return simple(scene(rng, int(rng.integers(300, 700)), int(rng.integers(300, 700))), ".jpg")


def _broken_entry(pixels: Pixels, rng: np.random.Generator) -> Picture:
    content = encoded(Image.fromarray(pixels), "JPEG", exif=b"Exif\0\0" + rng.bytes(30), **_BEST)
    return Picture(content, ".jpg", pixels, LOSSY)


Kind = Callable[[Pixels, np.random.Generator], Picture]

UNUSUAL: dict[str, Kind] = {
    "turned": _turned,
    "opacity": _with_opacity,
    "gray with opacity": _gray_with_opacity,
    "gray of 16 bits": _gray_of_16_bits,
    "floats": _floats,
    "colors of 16 bits": _colors_of_16_bits,
    "palette": _palette,
    "inks": _inks,
    "frames": _frames,
    "pages": _pages,
    "black and white": _black_and_white,
    "other formats": _plain_kinds,
    "progressive": _progressive,
    "gray JPEG": _gray_jpeg,
    "more behind": _more_behind,
    "other ending": _other_ending,
    "one pixel": _one_pixel,
    "very wide or high": _very_wide,
    "large": _large,
    "broken EXIF": _broken_entry,
}
"""Pictures that can be shown."""


def _cut(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a picture of which at least a quarter is missing."""
    grain = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)  # so that every byte counts
    forms = [("JPEG", ".jpg"), ("PNG", ".png"), ("BMP", ".bmp"), ("TIFF", ".tif"), ("GIF", ".gif"), ("WEBP", ".webp")]
    form, ending = forms[int(rng.integers(len(forms)))]
    content = encoded(Image.fromarray(grain), form)
    return Picture(content[: int(len(content) * rng.uniform(0.02, 0.75))], ending, None)


def _zeroed(pixels: Pixels, rng: np.random.Generator) -> Picture:
    """Return a file of zeros, as a full disk or a crash leaves them."""
    return Picture(bytes(int(rng.integers(1, 2000))), (".jpg", ".png")[int(rng.integers(2))], None)


def _text(pixels: Pixels, rng: np.random.Generator) -> Picture:
    texts = (
        b"<html>not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"\n",
        b"{}",
    )
    return Picture(texts[int(rng.integers(len(texts)))], (".jpg", ".png", ".gif", ".JPEG")[int(rng.integers(4))], None)


def _huge(pixels: Pixels, rng: np.random.Generator) -> Picture:
    side = int(rng.integers(30_000, 2**31 - 1))
    bomb = _png(_head(side, side, 8, 2), (b"IDAT", zlib.compress(bytes(1000))))
    if rng.random() < 0.5:
        return Picture(bomb, ".png", None)
    low = min(side, 60_000)
    head = b"GIF89a" + struct.pack("<HHBBB", low, low, 0x80, 0, 0) + bytes(6)
    block = b"," + struct.pack("<HHHHB", 0, 0, low, low, 0) + b"\x02\x02\x44\x01\x00;"
    return Picture(head + block, ".gif", None)


def _damaged_head(pixels: Pixels, rng: np.random.Generator) -> Picture:
    kind = simple(pixels)
    content = bytearray(kind.content)
    content[int(rng.integers(0, 8))] ^= 0x55  # its signature
    return Picture(bytes(content), kind.ending, None)


BAD: dict[str, Kind] = {
    "cut off": _cut,
    "no bytes": lambda pixels, rng: Picture(b"", (".jpg", ".png", ".webp")[int(rng.integers(3))], None),
    "zeros": _zeroed,
    "text": _text,
    "huge by its head": _huge,
    "damaged head": _damaged_head,
    "a film": lambda pixels, rng: Picture(b"\0\0\0\x18ftypmp42" + rng.bytes(400), ".jpg", None),
}
"""Files that are called like pictures and cannot be shown."""
