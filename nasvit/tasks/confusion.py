"""Which classes a classifier mistakes for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Confusion:
    """Counts what images of each class are taken for, batch by batch.

    Args:
        classes: number of classes.

    Attributes:
        counts: images by true class and by predicted class, ``(classes, classes)``.
    """

    def __init__(self, classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), dtype=np.int64)
        self._loss = 0.0

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Take in probabilities ``(batch, classes)`` and labels int64 ``(batch,)``, both on the processor."""
        np.add.at(self.counts, (targets.numpy(), probabilities.argmax(1).numpy()), 1)
        self._loss -= float(probabilities.gather(1, targets[:, None]).clamp_min(1e-12).log().sum())

    @property
    def seen(self) -> NDArray[np.int64]:
        """Images of each class, ``(classes,)``."""
        seen: NDArray[np.int64] = self.counts.sum(1)
        return seen

    @property
    def images(self) -> int:
        """Images in all."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the images whose class is found, from 0 to 1."""
        return float(self.counts.trace() / self.images)

    @property
    def per_class(self) -> NDArray[np.float64]:
        """The accuracy of each class, ``(classes,)``; NaN where there are no images of it."""
        seen = self.seen
        return np.divide(self.counts.diagonal(), seen, out=np.full(len(seen), np.nan), where=seen > 0)

    @property
    def class_accuracy(self) -> float:
        """Mean of the accuracies of all classes that there are images of."""
        return float(np.nanmean(self.per_class))

    @property
    def loss(self) -> float:
        """Mean cross entropy, in nats."""
        return self._loss / self.images

    def mostly_for(self, index: int) -> tuple[int, int] | None:
        """Return the class that one is mistaken for most, and how often; None if it never is."""
        wrong = self.counts[index].copy()
        wrong[index] = 0
        return (int(wrong.argmax()), int(wrong.max())) if wrong.any() else None
