"""What networks say of pictures, drawn into them: boxes with names, and colored classes with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

_TURN = 0.381966  # of the color circle from one class to the next: the golden angle, so that any number of them differ
_MARGIN = 2


def color_of(index: int) -> Color:
    """Return the color of a class, the same everywhere."""
    lightness = (0.5, 0.65, 0.38)[index // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(index * _TURN % 1.0, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def with_boxes(picture: Image.Image, objects: Sequence[tuple[Sequence[float], int, str]]) -> Image.Image:
    """Return a picture with boxes drawn into it, those that come first on top.

    Args:
        picture: any picture.
        objects: box (left, top, right, bottom in pixels), number of the class, and what to write beside the box.
    """
    drawn = picture.convert("RGB")
    pen, line, font = ImageDraw.Draw(drawn), max(1, min(picture.size) // 200), _font(picture)
    for box, number, _ in reversed(objects):
        pen.rectangle(_ordered(box), outline=color_of(number), width=line)
    for box, number, text in reversed(objects):
        _label(pen, box, text, color_of(number), font, drawn.size)
    return drawn


def _ordered(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, max(left, right), max(top, bottom)


def _label(
    pen: ImageDraw.ImageDraw,
    box: Sequence[float],
    text: str,
    color: Color,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Write beside a box: above it where there is room, else inside of it, and never outside of the picture."""
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right + 2 * _MARGIN, bottom + 2 * _MARGIN
    left = max(0.0, min(box[0], size[0] - width))
    top = box[1] - height if box[1] >= height else max(0.0, min(box[1], size[1] - height))
    pen.rectangle((left, top, left + width, top + height), fill=color)
    pen.text((left + _MARGIN, top + _MARGIN), text, fill=_readable_on(color), font=font)


def with_classes(picture: Image.Image, mask: NDArray[np.uint8], legend: Sequence[tuple[int, str]]) -> Image.Image:
    """Return a picture with its classes in colors, and a legend below it.

    Args:
        picture: any picture.
        mask: class of every pixel, ``(height, width)``.
        legend: number of each class that is explained, and what to write.
    """
    colors = np.array([color_of(number) for number in range(256)], dtype=np.uint8)
    blended = Image.blend(picture.convert("RGB"), Image.fromarray(colors[mask]), 0.55)
    return _above(blended, _legend(legend, blended.width, _font(picture)))


def as_mask(mask: NDArray[np.uint8]) -> Image.Image:
    """Return classes as an index image: every pixel has the number of its class, shown in the class's color."""
    image = Image.fromarray(mask)
    image.putpalette([each for number in range(256) for each in color_of(number)])
    return image


def _legend(
    entries: Sequence[tuple[int, str]], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> Image.Image:
    """Return lines of names with their colors, so many as they need at a width."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    line = int(measure.textbbox((0, 0), "Ag", font=font)[3]) + 2 * _MARGIN
    places, left, top = list[tuple[int, int]](), 0, 0
    for _, text in entries:
        needed = line + int(measure.textlength(text, font=font)) + 4 * _MARGIN
        if left and left + needed > width:
            left, top = 0, top + line
        places.append((left, top))
        left += needed
    made = Image.new("RGB", (width, top + line), "white")
    pen = ImageDraw.Draw(made)
    for (number, text), (x, y) in zip(entries, places):
        edge = line - 2 * _MARGIN
        pen.rectangle((x + _MARGIN, y + _MARGIN, x + edge, y + edge), fill=color_of(number))
        pen.text((x + line, y + _MARGIN), text, fill="black", font=font)
    return made


def _above(upper: Image.Image, lower: Image.Image) -> Image.Image:
    made = Image.new("RGB", (upper.width, upper.height + lower.height))
    made.paste(upper, (0, 0))
    made.paste(lower, (0, upper.height))
    return made


def _font(picture: Image.Image) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(10, min(picture.size) // 32))


def _readable_on(color: Color) -> str:
    red, green, blue = color
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"
