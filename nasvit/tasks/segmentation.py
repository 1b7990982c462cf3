"""Semantic segmentation: intersection over union of a segmenter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nasvit.compute import Compute
from nasvit.data.targets import IGNORED
from nasvit.heads.head import Learned
from nasvit.heads.places import kept
from nasvit.tasks.dense import DenseTask
from nasvit.tasks.task import Metric


@dataclass(frozen=True)
class SegmentationScore:
    """Result of an evaluation of a segmenter, over all pixels that have a class.

    Args:
        miou: mean over the classes of intersection over union, 0 to 1; classes that are nowhere are left out.
        pixel_accuracy: share of the pixels whose class is found, 0 to 1.
        loss: mean cross entropy, in nats.
        images: number of images evaluated.
        of_classes: the intersection over union of every class that is somewhere, by its number.
        each: pixel accuracy and loss of every image, by these names; empty if not known.
    """

    miou: float
    pixel_accuracy: float
    loss: float
    images: int
    of_classes: Mapping[int, float] = field(default_factory=dict, compare=False)
    each: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def value(self) -> float:
        """The number that networks are compared by: the mean intersection over union."""
        return self.miou

    def numbers(self) -> dict[str, float]:
        """Return all measured numbers by name."""
        return {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy, "loss": self.loss}

    def per_image(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Return pixel accuracy and loss of every image, by these names."""
        return self.each


@dataclass(frozen=True)
class Segmentation(DenseTask):
    """A class for every pixel.

    Args:
        classes: number of classes.
        head: the head that segmenters are trained with.
        size: of the images.
        weights: of the classes in the loss that is learned from, not in that of scores; none: all weigh alike.
    """

    weights: tuple[float, ...] = ()
    metric = Metric("miou")
    loss = Metric("loss", higher_is_better=False)

    @property
    def chance_score(self) -> float:
        """The intersection over union of guessing, where all classes have as many pixels."""
        return 1 / (2 * self.classes - 1)

    @property
    def chance_loss(self) -> float:
        """The cross entropy of guessing, in nats."""
        return math.log(max(self.classes, 2))

    def learned(self, targets: Tensor) -> Learned:
        """Return classes of pixels and how many have one; with weights, also those of pixels, and their sum instead."""
        if not self.weights:
            return super().learned(targets)
        weights = _of_values(self.weights, targets.device)[targets]
        return targets, weights, weights.flatten(1).sum(1)

    def meter(self) -> SegmentationMeter:
        """Return a new meter, for one network."""
        return SegmentationMeter(self.classes)


@kept
def _of_values(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the weight of every value of a mask ``(256,)``; ignored pixels have none."""
    return torch.tensor([*weights, *[0.0] * (IGNORED + 1 - len(weights))], device=device)


class SegmentationMeter:
    """Counts the pixels of every class that are taken for every class, and adds losses up.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._counts: Tensor | None = None
        self._each: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in logits ``(batch, classes, height, width)`` and classes int64 ``(batch, height, width)``."""
        scores, real = outputs.float(), targets != IGNORED
        losses = F.cross_entropy(scores, targets, ignore_index=IGNORED, reduction="none")
        found = scores.argmax(1)
        # Ignored pixels are counted in a cell of their own, behind the others: selecting would wait for the device.
        cells = torch.where(real, targets * self._classes + found, self._classes**2).flatten()
        if self._counts is None:
            self._counts = targets.new_zeros(self._classes**2 + 1)
        self._counts.index_add_(0, cells, torch.ones_like(cells))
        sums = [(found == targets).flatten(1).sum(1).float(), losses.flatten(1).sum(1), real.flatten(1).sum(1).float()]
        self._each.append(torch.stack(sums))

    def score(self, compute: Compute) -> SegmentationScore:
        """Return intersection over union, accuracy and loss over all batches of all processes.

        Raises:
            ValueError: if there were no batches.
        """
        own = None if self._counts is None else (Compute.host(self._counts), Compute.host(torch.cat(self._each, 1)))
        shares = [share for share in compute.gather(own) if share is not None]
        if not shares:
            raise ValueError("evaluate got no batches; give it at least one batch of images with masks")
        counts = torch.stack([each for each, _ in shares]).sum(0)[:-1].view(self._classes, self._classes).double()
        right, loss, pixels = torch.cat([each for _, each in shares], dim=1).double()
        total = float(pixels.sum().clamp(min=1))
        overlap, union = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
        of_classes = {one: float(overlap[one] / union[one]) for one in range(self._classes) if union[one] > 0}
        each = torch.stack([right, loss]) / pixels.clamp(min=1)
        return SegmentationScore(
            sum(of_classes.values()) / max(len(of_classes), 1),
            float(right.sum()) / total,
            float(loss.sum()) / total,
            pixels.numel(),
            of_classes,
            {"pixel_accuracy": each[0].numpy(), "loss": each[1].numpy()},
        )
