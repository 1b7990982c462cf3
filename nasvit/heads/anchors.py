"""What heads with anchors share: which object an anchor stands for, and boxes relative to anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nasvit.data.targets import BoxTargets
from nasvit.heads.head import at_least_float32

if TYPE_CHECKING:
    from torchvision.models.detection._utils import BoxCoder

BACKGROUND, BETWEEN = -1, -2
"""Labels of anchors that stand for nothing, and of those that teach nothing of classes."""

Weights = tuple[float, float, float, float]
"""Of relative boxes: of their center, across and down, of their width and height."""


def match(
    targets: BoxTargets, anchors: Tensor, low: float, high: float, *, of_each: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the class and the box that every anchor stands for: those of the object that it overlaps most.

    The anchors that overlap any object as much as no others do stand for one in any case. Nothing waits for the device.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), section 4; Liu et al., SSD (2016), section 2.2;
    torchvision's ``Matcher`` and ``SSDMatcher``.

    Args:
        targets: the objects of a batch.
        anchors: ``(anchors, 4)``.
        low: intersection over union below which an anchor stands for nothing.
        high: from which on it stands for the object; between the two it teaches nothing.
        of_each: one anchor stands for each object in any case, although it overlaps another more, as in SSD.

    Returns:
        int64 ``(batch, anchors)``, :data:`BACKGROUND` or :data:`BETWEEN` where there is no object, and float32
        ``(batch, anchors, 4)``.
    """
    batch, objects = targets.labels.shape
    if not objects:
        labels = targets.labels.new_full((batch, len(anchors)), BACKGROUND)
        return labels, anchors.expand(batch, -1, -1)
    # Image by image, since all at once would take a number for every anchor and object of the whole batch.
    images = zip(targets.boxes, targets.labels.masked_fill(targets.crowd, BACKGROUND), strict=True)
    found = [_match(*image, anchors, low, high, of_each) for image in images]
    return torch.stack([labels for labels, _ in found]), torch.stack([boxes for _, boxes in found])


def _match(
    boxes: Tensor, labels: Tensor, anchors: Tensor, low: float, high: float, of_each: bool
) -> tuple[Tensor, Tensor]:
    """Return the class and the box that every anchor of one image stands for."""
    from torchvision.ops import box_iou

    real = labels >= 0
    overlap = box_iou(boxes, anchors).masked_fill(~real[:, None], -1.0)
    most, chosen = overlap.max(0)
    if of_each:
        best, chosen = _one_of_each(overlap, real, chosen)
    else:
        best = ((overlap == overlap.amax(1, keepdim=True)) & real[:, None]).any(0)
    found = torch.where(most < high, BETWEEN, labels[chosen])
    found = torch.where(most < low, BACKGROUND, found)
    return torch.where(best, labels[chosen], found), boxes[chosen]


def _one_of_each(overlap: Tensor, real: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return which anchors stand for an object because it overlaps none more, and the object of every anchor."""
    count = overlap.shape[1]
    # What is no object takes an anchor behind the last one, which is cut off. Of two objects the later one counts.
    anchor = overlap.argmax(1).masked_fill(~real, count)
    own = torch.full_like(anchor, -1).new_full((count + 1,), -1)
    own = own.scatter_reduce(0, anchor, torch.arange(len(real), device=real.device), "amax")[:count]
    return own >= 0, torch.where(own >= 0, own, chosen)


def encoded(boxes: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Return boxes ``(batch, anchors, 4)`` relative to the anchors ``(anchors, 4)``."""
    flat: Tensor = _coder(weights).encode_single(boxes.flatten(0, 1), anchors.repeat(len(boxes), 1))
    return flat.view_as(boxes)


def decoded(relative: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Return boxes ``(batch, anchors, 4)`` in pixels of those relative to the anchors ``(anchors, 4)``."""
    flat: Tensor = _coder(weights).decode_single(
        at_least_float32(relative.flatten(0, 1)), anchors.repeat(len(relative), 1)
    )
    return flat.view_as(relative)


def _coder(weights: Weights) -> BoxCoder:
    from torchvision.models.detection._utils import BoxCoder

    return BoxCoder(weights)
