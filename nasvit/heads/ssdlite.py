"""SSDLite: separable convolutions on the backbone's maps and a few coarser ones, with default boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.data.annotated import TaskName
from nasvit.data.targets import BoxTargets
from nasvit.heads.anchors import decoded, encoded, match
from nasvit.heads.head import Head, HeadModule, Learned, Size, at_least_float32
from nasvit.heads.places import kept, map_sizes
from nasvit.heads.strides import Stride, check_strides
from search_spaces.ranges import Range

_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_NEGATIVES = 3  # places without an object that count, for each with one
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)


@dataclass(frozen=True)
class SSDLite(Head):
    """A detector of separable convolutions without a pyramid; from random weights it learns far slower than FCOS.

    Source: Sandler et al., MobileNetV2 (2018), section 6.2, https://arxiv.org/abs/1801.04381; numbers and layers are
    torchvision's.

    Args:
        strides: strides of the backbone's maps that it takes.
        extra: number of coarser maps that follow, each half as high and wide.
        channels: channels of these.
    """

    task: ClassVar[TaskName] = "detection"
    kind: Literal["ssdlite"] = "ssdlite"
    strides: tuple[Stride, ...] = (16, 32)
    extra: Annotated[int, Range(0, 8)] = 2
    channels: Annotated[int, Range(2, 4096, multiple=2)] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strides(self.strides)

    @property
    def all_strides(self) -> tuple[int, ...]:
        """Strides of all maps."""
        return (*self.strides, *(self.strides[-1] * 2 ** (number + 1) for number in range(self.extra)))

    @property
    def comparable(self) -> tuple[Any, ...]:
        return (self.kind, self.all_strides)

    def boxes(self, size: Size, device: torch.device) -> Tensor:
        """Return the default boxes of an image, ``(boxes, 4)`` in pixels."""
        found: Tensor = _default_boxes(size, self.all_strides, device)
        return found

    def least_images(self, size: Size) -> int:
        height, width = map_sizes(size, self.all_strides)[-1]
        return 2 if self.extra and height * width == 1 else 1

    def module(self, channels: Sequence[int], classes: int) -> SSDLiteModule:
        return SSDLiteModule(self, channels, classes)

    def learned(self, targets: BoxTargets, size: Size, classes: int) -> Learned:
        """Return the class of every default box (-1: background) and the object that it stands for.

        Returns:
            int64 ``(batch, boxes)``; float32 ``(batch, boxes, 4)``; float32 ``(batch,)``, boxes in objects.
        """
        labels, boxes = match(targets, self.boxes(size, targets.boxes.device), low=0.5, high=0.5, of_each=True)
        return labels, boxes, (labels >= 0).sum(1).float()

    def loss(self, outputs: Tensor, learned: Learned, size: Size) -> Tensor:
        """Return cross entropy of objects and of the three times as many hardest others, and distance of boxes."""
        labels, boxes, examples = learned
        outputs, inside = at_least_float32(outputs), labels >= 0
        logits, relative = outputs[..., :-4], outputs[..., -4:]
        of_classes = F.cross_entropy(logits.flatten(0, 1), (labels + 1).flatten(), reduction="none").view_as(labels)
        rank = of_classes.detach().masked_fill(inside, -torch.inf).argsort(1, descending=True).argsort(1)
        hard = rank < _NEGATIVES * inside.sum(1, keepdim=True)
        default = self.boxes(size, outputs.device)
        boxes = torch.where(inside[..., None], boxes, default)
        of_boxes = F.smooth_l1_loss(relative, encoded(boxes, default, _WEIGHTS), reduction="none").sum(2) * inside
        each = (of_boxes + of_classes * (inside | hard)).sum(1)
        return (each / examples).mean()

    def imitation(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return the divergence of classes, and the distance of boxes where the teacher sees objects."""
        student, teacher = outputs[..., :-4].log_softmax(2), taught[..., :-4].log_softmax(2)
        weight = 1 - teacher[..., 0].exp()
        of_classes = F.kl_div(student, teacher, log_target=True, reduction="none").sum(2)
        of_boxes = F.smooth_l1_loss(outputs[..., -4:], taught[..., -4:], reduction="none").sum(2) * weight
        return ((of_classes + of_boxes).sum(1) / weight.sum(1).clamp(min=1.0)).mean()


@kept
def _default_boxes(size: Size, strides: tuple[int, ...], device: torch.device) -> Tensor:
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    generator = DefaultBoxGenerator([[2, 3]] * len(strides), min_ratio=0.2, max_ratio=0.95)
    maps = [torch.empty(1, 1, *each, device=device) for each in map_sizes(size, strides)]
    boxes: Tensor = generator(ImageList(torch.empty(1, 3, *size, device=device), [size]), maps)[0]
    return boxes


class SSDLiteModule(HeadModule):
    """The layers of :class:`SSDLite`.

    Shape:
        training: ``(batch, boxes, classes + 5)``, logits of background and classes, and boxes relative to the default
        ones; evaluation: what :class:`nasvit.heads.detections.Detections` holds
    """

    def __init__(self, head: SSDLite, channels: Sequence[int], classes: int) -> None:
        from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
        from torchvision.models.detection.ssdlite import SSDLiteHead

        super().__init__()
        self.head = head
        widths, self.extra = list(channels), nn.ModuleList()
        for _ in range(head.extra):
            self.extra.append(_coarser(widths[-1], head.channels))
            widths.append(head.channels)
        default = DefaultBoxGenerator([[2, 3]] * len(widths))
        self.layers = SSDLiteHead(widths, default.num_anchors_per_location(), classes + 1, _NORM)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        every = list(maps)
        for layer in self.extra:
            every.append(layer(every[-1]))
        found = self.layers(every)
        classes, relative = found["cls_logits"], found["bbox_regression"]
        if self.training:
            return self.said(torch.cat([classes, relative], dim=2), ())
        return decoded(relative, self.head.boxes(size, relative.device), _WEIGHTS), classes.softmax(2)[..., 1:]


def _coarser(channels: int, out: int) -> nn.Sequential:
    """Return torchvision's layers between a map and the next coarser one."""
    from torchvision.ops.misc import Conv2dNormActivation

    made = partial(Conv2dNormActivation, norm_layer=_NORM, activation_layer=nn.ReLU6)
    half = out // 2
    return nn.Sequential(
        made(channels, half, kernel_size=1), made(half, half, stride=2, groups=half), made(half, out, kernel_size=1)
    )
