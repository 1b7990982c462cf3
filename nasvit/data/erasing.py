"""Random erasing: drawn on the host, so that it is the same on every device, and written on the device."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nasvit.data.augment import Draws
from nasvit.data.randomness import global_random_kept, seed_global_random


class Erasures(NamedTuple):
    """Rectangles of a batch and the noise that goes there.

    Args:
        rectangles: for each its image, top, left, height and width.
        noise: float32, the values of all rectangles one after another, each (C, height, width).
    """

    rectangles: tuple[tuple[int, int, int, int, int], ...]
    noise: Tensor

    def write(self, images: Tensor) -> None:
        """Put the noise into a batch, in place.

        Args:
            images: float32 (B, C, H, W), normalized, on the device of the noise.
        """
        parts = self.noise.split([images.shape[1] * height * width for *_, height, width in self.rectangles])
        for (index, top, left, height, width), values in zip(self.rectangles, parts):
            window = images[index, :, top : top + height, left : left + width]
            window.copy_(values.view(-1, height, width))


def erasures(draws: Draws, shape: tuple[int, int, int]) -> Erasures | None:
    """Draw what is erased from a batch; None if nothing is.

    Args:
        draws: the random numbers of these images.
        shape: channels, height and width of an image.
    """
    if not draws.erased.any():
        return None
    from timm.data.random_erasing import RandomErasing  # which takes seconds

    erasing = RandomErasing(probability=1.0, mode="pixel", device="cpu")
    rectangles, noise = [], []
    with global_random_kept():
        for index in np.flatnonzero(draws.erased).tolist():
            seed_global_random(int(draws.erasing_seeds[index]), with_torch=True)
            recorder = _Recorder(shape)
            erasing(recorder)
            for (_, rows, columns), values in recorder.written:
                rectangles.append((index, rows.start, columns.start, *values.shape[1:]))
                noise.append(values.flatten())
    return Erasures(tuple(rectangles), torch.cat(noise)) if noise else None


class _Recorder:
    """Stands in for an image where timm erases, and keeps what would have been written."""

    dtype = torch.float32

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self.written: list[tuple[tuple[slice, slice, slice], Tensor]] = []

    def size(self) -> tuple[int, int, int]:
        return self._shape

    def __setitem__(self, where: tuple[slice, slice, slice], noise: Tensor) -> None:
        self.written.append((where, noise))
