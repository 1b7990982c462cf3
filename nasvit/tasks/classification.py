"""Image classification: the score of a network, and the score and loss of guessing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.tasks.task import Batches, Metric


@dataclass(frozen=True)
class ClassificationScore:
    """Result of an evaluation of a classifier.

    Args:
        accuracy: share of the images whose highest score is the right class, 0 to 1.
        class_accuracy: mean over the classes of the share of each, 0 to 1; for unbalanced classes.
        loss: mean cross entropy, in nats.
        images: number of images evaluated.
    """

    accuracy: float
    class_accuracy: float
    loss: float
    images: int

    @property
    def value(self) -> float:
        """The number that networks are compared by: the accuracy."""
        return self.accuracy

    def numbers(self) -> dict[str, float]:
        """Return all measured numbers by name."""
        return {"accuracy": self.accuracy, "class_accuracy": self.class_accuracy, "loss": self.loss}


@dataclass(frozen=True)
class Classification:
    """Image classification with one class per image.

    Args:
        classes: number of classes.

    Raises:
        ValueError: if there is less than one class.
    """

    classes: int
    metric = Metric("accuracy")

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

    def evaluate(self, network: nn.Module, batches: Batches) -> ClassificationScore:
        """Return accuracy and loss of a network; see :func:`evaluate`."""
        return evaluate(network, batches)


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> ClassificationScore:
    """Evaluate ``network`` on labeled batches; afterwards it is in evaluation mode.

    Args:
        network: a plain network with batch-norm statistics of its own (see :func:`nasvit.calibrate`).
        batches: images ``(batch, channels, height, width)`` with labels int64 ``(batch,)``.

    Raises:
        ValueError: if there are no batches.
        RuntimeError: if the network has no batch-norm statistics.
    """
    network.eval()
    loss, right, seen = 0.0, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    for images, labels in batches:
        scores = network(images).float()
        classes = scores.shape[1]
        loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        hits = labels[scores.argmax(1) == labels]
        right = _added(right, hits.bincount(minlength=classes))
        seen = _added(seen, labels.bincount(minlength=classes))
    total = int(seen.sum())
    if not total:
        raise ValueError("evaluate got no batches; give it at least one batch of labeled images")
    per_class = right[seen > 0] / seen[seen > 0]
    return ClassificationScore(int(right.sum()) / total, float(per_class.mean()), loss / total, total)


def _added(total: Tensor, counts: Tensor) -> Tensor:
    return counts.cpu() if not len(total) else total + counts.cpu()
