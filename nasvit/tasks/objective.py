"""What one network learns from: labels, and perhaps a teacher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.tasks.distillation import Distillation

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """Cross entropy with the labels; with a teacher, blended with what it says of the same augmented images.

    Args:
        label_smoothing: probability given to all classes alike.
        teacher: a frozen network in evaluation mode, or None.
        distillation: how labels and teacher are blended.
    """

    label_smoothing: float = 0.0
    teacher: nn.Module | None = None
    distillation: Distillation = Distillation()

    def of_batch(self, images: Tensor, targets: Tensor, autocast: Callable[[], AbstractContextManager[Any]]) -> Loss:
        """Return the loss of logits for one batch; the teacher runs once, however many networks learn from it.

        Args:
            images: shape ``(batch, channels, height, width)``.
            targets: labels ``(batch,)`` or probabilities ``(batch, classes)``.
            autocast: gives the context that the teacher runs in.
        """
        teacher_logits = None
        if self.teacher is not None:
            with torch.no_grad(), autocast():
                teacher_logits = self.teacher(images).float()

        def loss(logits: Tensor) -> Tensor:
            of_labels = F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)
            if teacher_logits is None:
                return of_labels
            return self.distillation(of_labels, logits.float(), teacher_logits)

        return loss
