"""An experiment from nothing but images, budgets and hours: what else is to be decided follows from the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import search_spaces
from nasvit.data import ImageSet, load_images
from nasvit.data.config import DataConfig
from predictors.limits import Budget
from search_spaces import Recipe, Space
from search_spaces.reading import legal_names

SPACES = ("micro8", "micro32", "micro128", "alphanet")
"""The spaces that are chosen from if none is named, by rising image size."""

_PROBED = 64  # images whose sizes are looked at
_UPSAMPLED = 0.75  # a space whose smallest resolution is more than 1 / this above the images' size would only blow them up


@dataclass(frozen=True)
class Seen:
    """What the images look like.

    Args:
        images: number of training images, held-out ones included.
        channels: 1 or 3.
        side: median short side in pixels.
        equal: whether all images that were looked at have one size.
    """

    images: int
    channels: int
    side: int
    equal: bool


def look_at(source: str) -> Seen:
    """Return what the training images of a source look like; opens a few of them.

    Raises:
        ValueError: if there are no such images.
    """
    images = load_images(source, "train")
    sizes = _sizes(images)
    return Seen(len(images), images.channels, int(np.median([min(size) for size in sizes])), len(set(sizes)) == 1)


def _sizes(images: ImageSet) -> list[tuple[int, int]]:
    if images.image_size is not None:
        return [images.image_size]
    looked_at = np.linspace(0, len(images) - 1, min(_PROBED, len(images))).astype(int)
    return [images.images.size(int(index)) for index in looked_at]  # type: ignore[union-attr]
