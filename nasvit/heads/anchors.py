"""What heads with anchors share: which object an anchor stands for, and boxes relative to anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from nasvit.data.targets import BoxTargets

BACKGROUND, BETWEEN = -1, -2
"""Labels of anchors that stand for nothing, and of those that teach nothing of classes."""


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
    real = (targets.labels >= 0) & ~targets.crowd
    overlap = box_iou(targets.boxes.flatten(0, 1), anchors).view(batch, objects, -1)
    overlap = overlap.masked_fill(~real[..., None], -1.0)
    most, chosen = overlap.max(1)
    if of_each:
        best, chosen = _one_of_each(overlap, real, chosen)
    else:
        best = ((overlap == overlap.amax(2, keepdim=True)) & real[..., None]).any(1)
    labels = targets.labels.gather(1, chosen)
    labels = torch.where(most < high, BETWEEN, labels)
    labels = torch.where(most < low, BACKGROUND, labels)
    labels = torch.where(best, targets.labels.gather(1, chosen), labels)
    return labels, targets.boxes.gather(1, chosen[..., None].expand(-1, -1, 4))


def _one_of_each(overlap: Tensor, real: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return which anchors stand for an object because it overlaps none more, and the object of every anchor."""
    count = overlap.shape[2]
    # What is no object takes an anchor behind the last one, which is cut off.
    anchor = overlap.argmax(2).masked_fill(~real, count)
    rows = torch.arange(len(real[0]), device=real.device).expand_as(anchor)
    taken = torch.cat([chosen, chosen[:, :1]], dim=1).scatter(1, anchor, rows)[:, :count]
    best = torch.zeros_like(overlap[:, 0], dtype=torch.bool)
    return torch.cat([best, best[:, :1]], dim=1).scatter(1, anchor, True)[:, :count], taken


def encoded(boxes: Tensor, anchors: Tensor, coder: BoxCoder) -> Tensor:
    """Return boxes ``(batch, anchors, 4)`` relative to the anchors ``(anchors, 4)``."""
    flat: Tensor = coder.encode_single(boxes.flatten(0, 1), anchors.repeat(len(boxes), 1))
    return flat.view_as(boxes)


def decoded(relative: Tensor, anchors: Tensor, coder: BoxCoder) -> Tensor:
    """Return boxes ``(batch, anchors, 4)`` in pixels of those relative to the anchors ``(anchors, 4)``."""
    flat: Tensor = coder.decode_single(relative.flatten(0, 1), anchors.repeat(len(relative), 1))
    return flat.view_as(relative)
