"""RetinaNet: every anchor of a pyramid says which object it overlaps, and how that differs from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nasvit.data.annotated import TaskName
from nasvit.data.targets import BoxTargets
from nasvit.heads.anchors import BETWEEN, decoded, encoded, match
from nasvit.heads.head import Head, HeadChannels, HeadModule, Learned, Size, at_least_float32
from nasvit.heads.places import check_places, kept, map_sizes
from nasvit.heads.pyramid import READS, Pyramid
from nasvit.heads.strides import Stride, check_strides
from search_spaces.ranges import Range
from search_spaces.values import FieldError

_RATIOS = (0.5, 1.0, 2.0)
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_ANCHORS = len(_RATIOS) * len(_SCALES)
_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class RetinaNet(Head):
    """A detector with nine anchors at every place.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), https://arxiv.org/abs/1708.02002; numbers and
    layers are torchvision's, with group norms.

    Args:
        channels: channels of the pyramid and of the head; a multiple of 8.
        anchor: side of the smallest anchors of a map, in strides of it.
        strides: strides of the backbone's maps that the pyramid takes.
        extra: whether two coarser maps follow; the paper's.
    """

    task: ClassVar[TaskName] = "detection"
    kind: Literal["retinanet"] = "retinanet"
    channels: HeadChannels = 64
    anchor: Annotated[float, Range(0.001, 1000)] = 4.0
    strides: tuple[Stride, ...] = (8, 16, 32)
    extra: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strides(self.strides)
        if not self.anchor * self.strides[0] >= 1:
            problem = f"{self.anchor} strides are less than a pixel; legal: 1 / {self.strides[0]} and more"
            raise FieldError(["anchor"], problem)

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
        return (self.kind, self.all_strides, self.anchor)

    def anchors(self, size: Size, device: torch.device) -> Tensor:
        """Return the anchors of an image, ``(anchors, 4)`` in pixels, finest map first."""
        found: Tensor = _anchors(size, self.all_strides, self.anchor, device)
        return found

    def module(self, channels: Sequence[int], classes: int) -> RetinaNetModule:
        return RetinaNetModule(self, channels, classes)

    def learned(self, targets: BoxTargets, size: Size, classes: int) -> Learned:
        """Return the class of every anchor and the box that it stands for.

        Returns:
            int64 ``(batch, anchors)``; float32 ``(batch, anchors, 4)``; ones, because each image divides by its own.
        """
        labels, boxes = match(targets, self.anchors(size, targets.boxes.device), low=0.4, high=0.5)
        return labels, boxes, torch.ones_like(targets.scale)

    def loss(self, outputs: Tensor, learned: Learned, size: Size) -> Tensor:
        """Return focal loss of classes and distance of boxes, each image's divided by its anchors in objects."""
        from torchvision.ops import sigmoid_focal_loss

        check_places(outputs, size, self.all_strides, _ANCHORS)
        labels, boxes, _ = learned
        outputs, inside = at_least_float32(outputs), labels >= 0
        logits, relative = outputs[..., :-4], outputs[..., -4:]
        wanted = nn.functional.one_hot(labels.clamp(min=0), logits.shape[2]).to(logits.dtype) * inside[..., None]
        of_classes = sigmoid_focal_loss(logits, wanted).sum(2) * (labels != BETWEEN)
        anchors = self.anchors(size, outputs.device)
        boxes = torch.where(inside[..., None], boxes, anchors)
        of_boxes = (relative - encoded(boxes, anchors, _WEIGHTS)).abs().sum(2) * inside
        return ((of_classes + of_boxes).sum(1) / inside.sum(1).clamp(min=1)).mean()

    def imitation(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return focal-weighted cross entropy with the teacher's scores, and distance of boxes where objects are."""
        scores = taught[..., :-4].sigmoid()
        each = nn.functional.binary_cross_entropy_with_logits(outputs[..., :-4], scores, reduction="none")
        of_classes = (each * (outputs[..., :-4].sigmoid() - scores).square()).sum(2)
        weight = scores.amax(2)
        of_boxes = (outputs[..., -4:] - taught[..., -4:]).abs().sum(2) * weight
        return ((of_classes + of_boxes).sum(1) / weight.sum(1).clamp(min=1.0)).mean()


@kept
def _anchors(size: Size, strides: tuple[int, ...], anchor: float, device: torch.device) -> Tensor:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple(tuple(int(anchor * stride * scale) for scale in _SCALES) for stride in strides)
    generator = AnchorGenerator(sizes, (_RATIOS,) * len(strides))
    generator.set_cell_anchors(torch.float32, device)
    steps = [[torch.tensor(stride, device=device)] * 2 for stride in strides]
    return torch.cat(generator.grid_anchors([list(each) for each in map_sizes(size, strides)], steps))


class RetinaNetModule(HeadModule):
    """The layers of :class:`RetinaNet`.

    Shape:
        training: ``(batch, anchors, classes + 4)``, logits of the classes, and boxes relative to anchors; evaluation:
        what :class:`nasvit.heads.detections.Detections` holds
    """

    def __init__(self, head: RetinaNet, channels: Sequence[int], classes: int) -> None:
        from torchvision.models.detection.retinanet import RetinaNetHead

        super().__init__()
        self.head, self.count = head, len(channels)
        self.neck = Pyramid(channels, head.channels, extra=head.extra)
        norm = partial(nn.GroupNorm, head.channels // 8)
        self.layers = RetinaNetHead(head.channels, _ANCHORS, classes, norm_layer=norm)

    def reads(self) -> Mapping[str, int]:
        return {f"neck.pyramid.{READS.format(number)}": number for number in range(self.count)}

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        levels = self.neck(maps)
        found = self.layers(levels)
        classes, relative = found["cls_logits"], found["bbox_regression"]
        if self.training:
            return self.said(torch.cat([classes, relative], dim=2), levels)
        return decoded(relative, self.head.anchors(size, relative.device), _WEIGHTS), classes.sigmoid()
