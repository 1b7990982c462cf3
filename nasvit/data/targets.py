"""Targets of dense tasks, batch by batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

IGNORED = 255
"""Value of a mask where nothing is to be learned or judged."""


class BoxTargets(NamedTuple):
    """The objects of a batch; every tensor has a row for each image.

    Args:
        boxes: float32 ``(batch, objects, 4)``: x1, y1, x2, y2 in pixels of the batch's images; rows without are zeros.
        labels: int64 ``(batch, objects)``: class; -1 where there is no object.
        crowd: bool ``(batch, objects)``: COCO's ``iscrowd``.
        areas: float32 ``(batch, objects)``: the annotation's own area, in pixels of the image as stored.
        scale: float32 ``(batch,)``: pixels of the batch's image for one pixel of the stored image.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor
    scale: Tensor
