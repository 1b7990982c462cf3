"""Heads of semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.data.annotated import TaskName
from nasvit.data.targets import IGNORED
from nasvit.heads.head import Head, HeadChannels, HeadModule, Learned, Size, at_least_float32
from nasvit.heads.pyramid import READS, Pyramid
from nasvit.heads.strides import Stride, check_strides
from nasvit.layers.batch_norm import BatchNorm2d
from search_spaces.ranges import Range
from search_spaces.values import FieldError


class PixelHead(Head):
    """What heads share that learn the class of every pixel by cross entropy."""

    task: ClassVar[TaskName] = "segmentation"

    def learned(self, targets: Tensor, size: Size, classes: int) -> Learned:
        """Return the class of every pixel, int64 ``(batch, height, width)``, and how many pixels have one."""
        return targets, (targets != IGNORED).flatten(1).sum(1).float()

    def loss(self, outputs: Tensor, learned: Learned, size: Size) -> Tensor:
        """Return the mean cross entropy of pixels that have a class, weighted where ``learned`` has weights of them."""
        targets, *weights, examples = learned
        each = F.cross_entropy(at_least_float32(outputs), targets, ignore_index=IGNORED, reduction="none")
        if weights:
            each = each * weights[0]
        return (each.flatten(1).sum(1) / examples).mean()

    def imitation(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return the mean Kullback-Leibler divergence over pixels."""
        student, teacher = outputs.log_softmax(1), taught.log_softmax(1)
        return F.kl_div(student, teacher, log_target=True, reduction="none").sum(1).mean()


@dataclass(frozen=True)
class LRASPP(PixelHead):
    """A light head that weights the last map by what the whole image shows, and adds a finer map's details.

    Source: Howard et al., MobileNetV3 (2019), section 6.4, https://arxiv.org/abs/1905.02244; the layers are
    torchvision's.

    Args:
        channels: channels between the two convolutions.
        strides: strides of the finer map and of the last one.
    """

    kind: Literal["lraspp"] = "lraspp"
    channels: Annotated[int, Range(1, 4096)] = 128
    strides: tuple[Stride, Stride] = (8, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strides[0] < self.strides[1]:
            raise FieldError(["strides"], f"{list(self.strides)}; legal: the finer one first, such as [8, 32]")

    @property
    def shown(self) -> tuple[tuple[int, ...], int]:
        return self.strides[1:], self.channels

    def module(self, channels: Sequence[int], classes: int) -> LRASPPModule:
        return LRASPPModule(self, channels, classes)


class LRASPPModule(HeadModule):
    """The layers of :class:`LRASPP`.

    Shape:
        two maps -> logits ``(batch, classes, height, width)`` of the image's size
    """

    def __init__(self, head: LRASPP, channels: Sequence[int], classes: int) -> None:
        from torchvision.models.segmentation.lraspp import LRASPPHead

        super().__init__()
        self.head = head
        self.layers = LRASPPHead(*channels, classes, head.channels)
        self.layers.cbr[1] = BatchNorm2d(head.channels)

    def reads(self) -> Mapping[str, int]:
        return {"layers.low_classifier.weight": 0, "layers.cbr.0.weight": 1, "layers.scale.1.weight": 1}

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        low, high = maps
        weighted = self.layers.cbr(high) * self.layers.scale(high)
        details, whole = self.layers.low_classifier(low), enlarged(weighted, low.shape[2:])
        return self.said(enlarged(details + self.layers.high_classifier(whole), size), [weighted])


@dataclass(frozen=True)
class PyramidSegmentation(PixelHead):
    """A pyramid whose maps, brought to the finest one's size, are added and classified.

    Source: Kirillov et al., Panoptic Feature Pyramid Networks (2019), section 3, https://arxiv.org/abs/1901.02446,
    with one convolution a map.

    Args:
        channels: channels of the pyramid.
        strides: strides of the backbone's maps that it takes.
    """

    kind: Literal["pyramid"] = "pyramid"
    channels: HeadChannels = 64
    strides: tuple[Stride, ...] = (4, 8, 16, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_strides(self.strides)

    @property
    def shown(self) -> tuple[tuple[int, ...], int]:
        return self.strides, self.channels

    def module(self, channels: Sequence[int], classes: int) -> PyramidSegmentationModule:
        return PyramidSegmentationModule(self, channels, classes)


class PyramidSegmentationModule(HeadModule):
    """The layers of :class:`PyramidSegmentation`.

    Shape:
        maps -> logits ``(batch, classes, height, width)`` of the image's size
    """

    def __init__(self, head: PyramidSegmentation, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.head, self.count, width = head, len(channels), head.channels
        self.neck = Pyramid(channels, width)
        self.norms = nn.ModuleList(nn.GroupNorm(width // 8, width) for _ in channels)
        self.classify = nn.Conv2d(width, classes, 1)

    def reads(self) -> Mapping[str, int]:
        return {f"neck.pyramid.{READS.format(number)}": number for number in range(self.count)}

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        levels = self.neck(maps)
        normed = [norm(each).relu() for norm, each in zip(self.norms, levels, strict=True)]
        finest = normed[0].shape[2:]
        joined = torch.stack([enlarged(each, finest) for each in normed]).sum(0)
        return self.said(enlarged(self.classify(joined), size), levels)


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps brought to a size, bilinearly."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=(size[0], size[1]), mode="bilinear", align_corners=False)
