"""Image classification: the score of a network, and the score and loss of guessing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.compute import ALONE, Compute
from nasvit.tasks.distillation import AdaptiveAlphaDivergence, Distillation, KLDivergence
from nasvit.tasks.objective import LabelObjective
from nasvit.tasks.task import Metric, Task
from search_spaces.values import FieldError


@dataclass(frozen=True)
class ClassificationScore:
    """Result of an evaluation of a classifier.

    Args:
        accuracy: share of the images whose highest score is the right class, 0 to 1.
        class_accuracy: mean over the classes of the share of each, 0 to 1; for unbalanced classes.
        loss: mean cross entropy, in nats.
        images: number of images evaluated.
        each: accuracy (0 or 1) and loss of every image, by these names; empty if not known.
    """

    accuracy: float
    class_accuracy: float
    loss: float
    images: int
    each: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def value(self) -> float:
        """The number that networks are compared by: the accuracy."""
        return self.accuracy

    def numbers(self) -> dict[str, float]:
        """Return all measured numbers by name."""
        return {"accuracy": self.accuracy, "class_accuracy": self.class_accuracy, "loss": self.loss}

    def per_image(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Return accuracy and loss of every image, by these names."""
        return self.each


@dataclass(frozen=True)
class Classification(Task):
    """Image classification with one class per image.

    Args:
        classes: number of classes.

    Raises:
        ValueError: if there is less than one class.
    """

    classes: int
    metric = Metric("accuracy")
    loss = Metric("loss", higher_is_better=False)

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes={self.classes}; a classifier needs at least 1")

    @property
    def chance_score(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes

    @property
    def chance_loss(self) -> float:
        """The cross entropy of guessing, in nats."""
        return math.log(max(self.classes, 2))

    def objective(
        self,
        *,
        smoothing: float = 0.0,
        teacher: nn.Module | None = None,
        distillation: Distillation | None = None,
        maps: float = 0.0,
        compute: Compute = ALONE,
    ) -> LabelObjective:
        """Return cross entropy with the labels, blended with what the teacher says.

        Raises:
            FieldError: if maps are to be compared, of which there is no head to tell.
        """
        if maps:
            raise FieldError(["teacher", "maps"], f"{maps} is for detection and segmentation; legal here: 0")
        return LabelObjective(smoothing, teacher, distillation or Distillation())

    def between_subnets(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the adaptive divergence of AlphaNet, or that of Kullback and Leibler."""
        return AdaptiveAlphaDivergence() if name == "adaptive_alpha" else KLDivergence()

    def meter(self) -> ClassificationMeter:
        """Return a new meter, for one network."""
        return ClassificationMeter()


class ClassificationMeter:
    """Counts right answers class by class, and adds losses up."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._each: list[Tensor] = []
        self._counts: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in logits ``(batch, classes)`` and labels int64 ``(batch,)``."""
        scores = outputs.float()
        is_right = scores.argmax(1) == targets
        self._losses.append(F.cross_entropy(scores, targets, reduction="sum"))
        self._each.append(torch.stack([is_right.float(), F.cross_entropy(scores, targets, reduction="none")]))
        if self._counts is None:
            self._counts = targets.new_zeros(2, scores.shape[1], dtype=torch.int32)  # int64 is not for every device
        right, seen = self._counts
        right.index_add_(0, targets, is_right.int())
        seen.index_add_(0, targets, torch.ones_like(targets, dtype=torch.int32))

    def score(self, compute: Compute) -> ClassificationScore:
        """Return accuracy and loss over all batches of all processes.

        Raises:
            ValueError: if there were no batches.
        """
        shares = compute.gather((*self._read_losses(), self._read_counts()))
        losses = [loss for share, _, _ in shares for loss in share]
        counted = [counts for _, _, counts in shares if counts is not None]
        if not losses:
            raise ValueError("evaluate got no batches; give it at least one batch of labeled images")
        right, seen = torch.stack(counted).sum(0)
        total = int(seen.sum())
        per_class = right[seen > 0] / seen[seen > 0]
        each = np.concatenate([each for _, each, _ in shares], axis=1)
        return ClassificationScore(
            int(right.sum()) / total,
            float(per_class.mean()),
            sum(losses) / total,
            total,
            {"accuracy": each[0], "loss": each[1]},
        )

    def _read_losses(self) -> tuple[list[float], NDArray[np.float32]]:
        """Return the loss of every batch, and accuracy and loss of every image, ``(2, images)``, in one copy."""
        if not self._losses:
            return [], np.zeros((2, 0), dtype=np.float32)
        each = torch.cat(self._each, dim=1)
        copied: NDArray[np.float32] = Compute.host(torch.cat([torch.stack(self._losses), each.flatten()])).numpy()
        return [float(loss) for loss in copied[: len(self._losses)]], copied[len(self._losses) :].reshape(2, -1)

    def _read_counts(self) -> Tensor | None:
        return None if self._counts is None else Compute.host(self._counts).long()


def evaluate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> ClassificationScore:
    """Evaluate ``network`` on labeled batches; afterwards it is in evaluation mode.

    Args:
        network: a plain network with batch-norm statistics of its own (see :func:`nasvit.calibrate`).
        batches: images ``(batch, channels, height, width)`` with labels int64 ``(batch,)``, on the network's device.

    Raises:
        ValueError: if there are no batches, or labels are no numbers of classes.
        RuntimeError: if the network has no batch-norm statistics.
    """
    score = Classification(1).evaluate(network, map(_labeled, batches))
    assert isinstance(score, ClassificationScore)
    return score


def _labeled(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return a batch whose labels are the numbers of classes."""
    images, labels = batch
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(
            f"evaluate takes the number of its class for every image, int64 (batch,); these labels are {labels.dtype} "
            f"of shape {tuple(labels.shape)}; give the likeliest class, or score the network's outputs yourself"
        )
    return images, labels
