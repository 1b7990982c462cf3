"""What a detector or segmenter says of one picture, in words, rows, JSON and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nasvit.data.letterbox import Size, fitted
from nasvit.heads.detections import SHOWN, Choice, Detections, Objects
from nasvit.report.drawing import as_mask, with_boxes, with_classes

MASK = "_mask"
"""What the name of a picture ends in that has the class of every pixel."""


class Found(ABC):
    """What was found in one picture.

    Args:
        file: the picture's file.
        picture: the picture as it is.
        classes: names of the classes.
    """

    columns: ClassVar[tuple[str, ...]]
    """What rows have besides the file."""

    masks: ClassVar[bool] = False
    """Whether there is a class for every pixel, to be written as an index image."""

    def __init__(self, file: Path, picture: Image.Image, classes: tuple[str, ...]) -> None:
        self.file, self.picture, self.classes = file, picture, classes

    @abstractmethod
    def words(self) -> str:
        """Return it in words, of several lines if need be."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Return it as rows of plain values by the names of ``columns``."""

    @abstractmethod
    def drawn(self) -> Image.Image:
        """Return the picture with what was found drawn into it."""

    def mask(self) -> Image.Image:
        """Return the class of every pixel as an index image."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        size = {"width": self.picture.width, "height": self.picture.height}
        return {"file": str(self.file), **size, "found": self.rows()}


class FoundObjects(Found):
    """Objects, best first.

    Args:
        file, picture, classes: as of :class:`Found`.
        objects: with boxes in pixels of the picture.
    """

    columns = ("class", "score", "left", "top", "right", "bottom")

    def __init__(self, file: Path, picture: Image.Image, classes: tuple[str, ...], objects: Objects) -> None:
        super().__init__(file, picture, classes)
        self.objects = objects

    def words(self) -> str:
        lines = [
            f"  {row['class']} {row['score']:.1%} at " + ", ".join(f"{row[edge]:.0f}" for edge in self.columns[2:])
            for row in self.rows()
        ]
        count = len(lines)
        return "\n".join([f"{self.file}: {count or 'no'} object{'' if count == 1 else 's'}", *lines])

    def rows(self) -> list[dict[str, Any]]:
        return [
            dict(zip(self.columns, (self.classes[label], score, *(round(edge, 2) for edge in box)), strict=True))
            for box, score, label in zip(*(each.tolist() for each in self.objects), strict=True)
        ]

    def drawn(self) -> Image.Image:
        boxes, scores, labels = (each.tolist() for each in self.objects)
        written = [f"{self.classes[label]} {score:.0%}" for label, score in zip(labels, scores)]
        return with_boxes(self.picture, list(zip(boxes, labels, written, strict=True)))


class FoundClasses(Found):
    """The class of every pixel.

    Args:
        file, picture, classes: as of :class:`Found`.
        pixels: the class of every pixel, ``(height, width)``.
    """

    columns, masks = ("class", "share"), True

    def __init__(self, file: Path, picture: Image.Image, classes: tuple[str, ...], pixels: NDArray[np.uint8]) -> None:
        super().__init__(file, picture, classes)
        self.pixels = pixels
        self.shares = np.bincount(pixels.ravel(), minlength=len(classes)) / pixels.size

    def words(self) -> str:
        return f"{self.file}: " + ", ".join(f"{row['class']} {row['share']:.1%}" for row in self.rows())

    def rows(self) -> list[dict[str, Any]]:
        return [{"class": self.classes[number], "share": float(self.shares[number])} for number in self._there()]

    def drawn(self) -> Image.Image:
        legend = [(number, f"{self.classes[number]}: {self.shares[number]:.1%}") for number in self._there()]
        return with_classes(self.picture, self.pixels, legend)

    def mask(self) -> Image.Image:
        return as_mask(self.pixels)

    def _there(self) -> list[int]:
        """Return the classes that are in the picture, those of most pixels first."""
        order = np.argsort(-self.shares, kind="stable")
        return [int(number) for number in order if self.shares[number] > 0]


def objects_in(said: tuple[Tensor, ...] | Objects, served: Size, stored: Size, choice: Choice = SHOWN) -> Objects:
    """Return the objects of one picture, with boxes in pixels of the picture as it is.

    Args:
        said: boxes ``(1, places, 4)`` and scores ``(1, places, classes)``; or Objects that were chosen before, with an
            axis of one image before all others.
        served: height and width that the picture was fitted into.
        stored: its own.
        choice: how objects are chosen.
    """
    # What was chosen before is not asked again whether it overlaps.
    if isinstance(said, Objects):
        (objects,) = replace(choice, overlap=1.0).among(said)
    else:
        (objects,) = choice.of(Detections(*said), served)
    boxes = objects.boxes / fitted(stored, served).scale
    limits = torch.tensor([stored[1], stored[0]] * 2, dtype=boxes.dtype)
    return objects._replace(boxes=boxes.minimum(limits))


def classes_in(scores: Tensor, served: Size, stored: Size) -> NDArray[np.uint8]:
    """Return the class of every pixel of one picture as it is, ``(height, width)``.

    Args:
        scores: logits ``(1, classes, height, width)``.
        served: height and width that the picture was fitted into.
        stored: its own.
    """
    height, width = fitted(stored, served).extent(stored)
    best, found = torch.full(stored, -torch.inf), torch.zeros(stored, dtype=torch.uint8)
    for number, each in enumerate(scores[0, :, :height, :width]):  # one at a time: pictures may be large
        own = F.interpolate(each[None, None], size=stored, mode="bilinear", align_corners=False)[0, 0]
        found[own > best] = number
        best = torch.maximum(best, own)
    return found.numpy()
