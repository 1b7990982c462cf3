"""FCOS: every place of a pyramid says whether it lies in an object, in which, and how far its edges are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.data.annotated import TaskName
from nasvit.data.targets import BoxTargets
from nasvit.heads.head import Head, HeadChannels, HeadModule, Learned, Size, at_least_float32
from nasvit.heads.places import centers, check_places
from nasvit.heads.pyramid import READS, Pyramid
from nasvit.heads.strides import Stride, check_strides
from search_spaces.ranges import Range

_BACKGROUND = -1
_RADIUS = 1.5  # strides: a place this near to an object's center may stand for it
_START = 2.0
"""Strides to every edge that a place begins with. Torchvision begins with 0, where the ReLU behind may never let a
gradient through: one of fourteen trainings on blood cells found no box at all."""
_REACH = (4.0, 8.0)  # strides: distances to an object's farthest edge that a map is responsible for


@dataclass(frozen=True)
class FCOS(Head):
    """An anchor-free detector, which learns from scratch and has nothing to tune to the sizes of objects.

    Source: Tian et al., FCOS (2019), https://arxiv.org/abs/1904.01355; numbers and layers are torchvision's.

    Args:
        channels: channels of the pyramid and of the head; a multiple of 8.
        convs: convolutions before each of the two last ones; the paper has 4 of 256 channels.
        strides: strides of the backbone's maps that the pyramid takes.
        extra: whether two coarser maps follow, for objects of more than about 8 times the last stride; the paper's.
    """

    task: ClassVar[TaskName] = "detection"
    kind: Literal["fcos"] = "fcos"
    channels: HeadChannels = 64
    convs: Annotated[int, Range(0, 32)] = 2
    strides: tuple[Stride, ...] = (8, 16, 32)
    extra: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strides(self.strides)

    @property
    def all_strides(self) -> tuple[int, ...]:
        """Strides of all maps of the pyramid."""
        last = self.strides[-1]
        return (*self.strides, 2 * last, 4 * last) if self.extra else self.strides

    @property
    def shown(self) -> tuple[tuple[int, ...], int]:
        return self.all_strides, self.channels

    @property
    def comparable(self) -> tuple[Any, ...]:
        return (self.kind, self.all_strides)

    def module(self, channels: Sequence[int], classes: int) -> FCOSModule:
        return FCOSModule(self, channels, classes)

    def learned(self, targets: BoxTargets, size: Size, classes: int) -> Learned:
        """Return the class of every place (-1 where there is no object) and the box that it stands for.

        Returns:
            int64 ``(batch, places)``; float32 ``(batch, places, 4)``, boxes of places without an object mean nothing;
            float32 ``(batch,)``, places in objects.
        """
        labels, boxes = assign(targets, *centers(size, self.all_strides, targets.boxes.device))
        return labels, boxes, (labels >= 0).sum(1).float()

    def loss(self, outputs: Tensor, learned: Learned, size: Size) -> Tensor:
        """Return focal loss of the classes, generalized IoU loss of the boxes and cross entropy of the centerness."""
        check_places(outputs, size, self.all_strides)
        labels, boxes, examples = learned
        points, strides = centers(size, self.all_strides, outputs.device)
        parts = losses(at_least_float32(outputs), labels, boxes, points, strides)
        each = torch.stack([part.sum(1) for part in parts]).sum(0)  # of every image
        return (each / examples).mean()

    def imitation(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return quality focal loss of classes and centerness, and generalized IoU loss of boxes where objects are.

        Places count by the teacher's score of the likeliest class, and their sum is what each image's is divided by.

        Source: quality focal loss of Li et al., Generalized Focal Loss (2020), section 3.2,
        https://arxiv.org/abs/2006.04388
        """
        from torchvision.ops import generalized_box_iou_loss

        scores = taught[..., :-5].sigmoid()
        weight = (scores.amax(2) * taught[..., -1].sigmoid()).sqrt()
        of_classes = _quality_focal(outputs[..., :-5], scores).sum(2)
        of_centers = _quality_focal(outputs[..., -1], taught[..., -1].sigmoid())
        boxes = (_around_origin(each[..., -5:-1]) for each in (outputs, taught))
        of_boxes = generalized_box_iou_loss(*boxes) * weight
        each = (of_classes + of_centers * weight + of_boxes).sum(1)
        return (each / weight.sum(1).clamp(min=1.0)).mean()


class FCOSModule(HeadModule):
    """The layers of :class:`FCOS`.

    Shape:
        training: ``(batch, places, classes + 5)``, logits of the classes, distances to left, top, right and bottom edge
        in strides, logit of the centerness; evaluation: what :class:`nasvit.heads.detections.Detections` holds
    """

    def __init__(self, head: FCOS, channels: Sequence[int], classes: int) -> None:
        from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead

        super().__init__()
        self.head, self.count = head, len(channels)
        self.neck = Pyramid(channels, head.channels, extra=head.extra)
        # Groups of 8 channels: torchvision's 32 groups of 256.
        norm = partial(nn.GroupNorm, head.channels // 8)
        self.classify = FCOSClassificationHead(head.channels, 1, classes, head.convs, norm_layer=norm)
        self.regress = FCOSRegressionHead(head.channels, 1, head.convs, norm_layer=norm)
        nn.init.constant_(self.regress.bbox_reg.bias, _START)

    def reads(self) -> Mapping[str, int]:
        return {f"neck.pyramid.{READS.format(number)}": number for number in range(self.count)}

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        levels = self.neck(maps)
        classes, (edges, center) = self.classify(levels), self.regress(levels)
        if self.training:
            return self.said(torch.cat([classes, edges, center], dim=2), levels)
        points, strides = centers(size, self.head.all_strides, edges.device)
        boxes = _boxes(edges, points, strides)
        return boxes, (classes.sigmoid() * center.sigmoid()).sqrt()


def _quality_focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross entropy with soft targets, weighted by the squared distance from them; of every number."""
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return each * (logits.sigmoid() - wanted).square()


def _around_origin(edges: Tensor) -> Tensor:
    """Return boxes of distances to their edges, as seen from their place, no smaller than a thousandth of a stride."""
    return torch.cat([-edges[..., :2] - 1e-3, edges[..., 2:] + 1e-3], dim=-1)


def _boxes(edges: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Return boxes ``(..., places, 4)`` in pixels of distances to their edges in strides."""
    reach = edges * strides[:, None]
    return torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)


def assign(targets: BoxTargets, points: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each place stands for: the smallest object that it is near the center of, at the object's size.

    Args:
        targets: the objects of a batch.
        points: centers of the places ``(places, 2)``.
        strides: stride of every place ``(places,)``, ascending.

    Returns:
        Classes int64 ``(batch, places)``, -1 where there is no object, and boxes ``(batch, places, 4)``.
    """
    if not targets.boxes.shape[1]:
        none = targets.labels.new_full((len(targets.boxes), len(points)), _BACKGROUND)
        return none, targets.boxes.new_zeros(*none.shape, 4)
    # Image by image, since all at once would take a number for every place and object of the whole batch.
    images = zip(targets.boxes, targets.labels.masked_fill(targets.crowd, _BACKGROUND), strict=True)
    labels, boxes = zip(*(_assign(*image, points, strides) for image in images), strict=True)
    return torch.stack(labels), torch.stack(boxes)


def _assign(boxes: Tensor, labels: Tensor, points: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each place of one image stands for: its class ``(places,)`` and its box ``(places, 4)``."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (points[:, None] - center).abs().amax(2) < _RADIUS * strides[:, None]
    edges = torch.cat([points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]], dim=2)
    farthest, (low, high) = edges.amax(2), _responsible(strides)
    fits = near & (edges.amin(2) > 0) & (farthest > low[:, None]) & (farthest < high[:, None]) & (labels >= 0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    smallest, chosen = areas.expand(fits.shape).masked_fill(~fits, torch.inf).min(1)
    return labels[chosen].masked_fill(smallest == torch.inf, _BACKGROUND), boxes[chosen]


def _responsible(strides: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest distance, in pixels, to a farthest edge that every place is responsible for."""
    low, high = _REACH[0] * strides, _REACH[1] * strides
    return low.masked_fill(strides == strides[0], 0.0), high.masked_fill(strides == strides[-1], torch.inf)


def losses(outputs: Tensor, labels: Tensor, boxes: Tensor, points: Tensor, strides: Tensor) -> tuple[Tensor, ...]:
    """Return the losses of classes, boxes and centerness of every place, ``(batch, places)`` each.

    Nothing is selected by a mask, which would make the host wait for the device: places without an object have a box
    that fits them, and their losses do not count.

    Args:
        outputs: float32 ``(batch, places, classes + 5)``.
        labels: int64 ``(batch, places)``.
        boxes: ``(batch, places, 4)``.
        points: ``(places, 2)``.
        strides: ``(places,)``.
    """
    from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

    logits, edges, center = outputs[..., :-5], outputs[..., -5:-1], outputs[..., -1]
    inside = labels >= 0
    wanted = F.one_hot(labels.clamp(min=0), logits.shape[2]).to(logits.dtype) * inside[..., None]
    of_classes = sigmoid_focal_loss(logits, wanted).sum(2)
    around = torch.cat([points - strides[:, None], points + strides[:, None]], dim=1)
    boxes = torch.where(inside[..., None], boxes, around)
    edges = torch.where(inside[..., None], edges, torch.ones_like(edges))
    of_boxes = generalized_box_iou_loss(_boxes(edges, points, strides), boxes)
    of_centers = F.binary_cross_entropy_with_logits(center, _centerness(boxes, points), reduction="none")
    return of_classes, of_boxes * inside, of_centers * inside


def _centerness(boxes: Tensor, points: Tensor) -> Tensor:
    """Return how near to its box's center every place lies, from 0 to 1 ``(batch, places)``."""
    edges = torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)
    across, along = edges[..., 0::2], edges[..., 1::2]
    return (across.amin(-1) / across.amax(-1) * (along.amin(-1) / along.amax(-1))).sqrt()
