"""Pictures that a network gets wrong, as they stand in the page."""

from __future__ import annotations

import base64
import heapq
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

MOST_PICTURES = 24
LARGEST_SIDE = 160
"""Pixels along a side of a picture in the page; larger ones are made smaller."""

_SMALL = 64  # pixels up to which a picture is stored exactly


@dataclass(frozen=True)
class Wrong:
    """A picture that is taken for another class.

    Args:
        data: the picture, as an address that holds it.
        true: its class.
        given: the class that it is taken for.
        probability: how sure the network is of that, from 0 to 1.
        of_true: how probable it holds the true class.
    """

    data: str
    true: str
    given: str
    probability: float
    of_true: float


class Surest:
    """Keeps the pictures that are wrong, those that a network is surest of."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._kept, self._count = names, list[tuple[float, int, Tensor, Wrong]](), 0

    def update(self, pixels: Tensor, probabilities: Tensor, targets: Tensor) -> None:
        """Take in pixels ``(batch, channels, height, width)``, probabilities ``(batch, classes)`` and labels."""
        given = probabilities.argmax(1)
        for index in (given != targets).nonzero().flatten().tolist():
            mine, true = probabilities[index], int(targets[index])
            sure, of_true = float(mine[given[index]]), float(mine[true])
            wrong = Wrong("", self._names[true], self._names[int(given[index])], sure, of_true)
            self._count += 1
            heapq.heappush(self._kept, (sure, -self._count, pixels[index], wrong))
            if len(self._kept) > MOST_PICTURES:
                heapq.heappop(self._kept)

    @property
    def pictures(self) -> tuple[Wrong, ...]:
        """The pictures, the surest first."""
        in_order = sorted(self._kept, key=lambda each: (-each[0], -each[1]))
        return tuple(
            Wrong(address(pixels), each.true, each.given, each.probability, each.of_true)
            for _, _, pixels, each in in_order
        )


def address(pixels: Tensor) -> str:
    """Return a picture, pixels from 0 to 1 ``(channels, height, width)``, as an address that holds it."""
    image = _image(pixels)
    exact = max(image.size) <= _SMALL
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    kind = "png" if exact else "jpeg"
    image.save(file, kind, optimize=True, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _image(pixels: Tensor) -> Image.Image:
    """Return a picture of one channel as gray, of three as colors, of others by its first channel."""
    levels = (pixels.clamp(0, 1) * 255).round().byte()
    if len(levels) == 3:
        return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(levels[0].contiguous().numpy())
