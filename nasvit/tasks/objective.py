"""Objectives: what networks learn from a batch, and their loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.heads.head import Shown, at_least_float32, outputs_of
from nasvit.tasks.distillation import Distillation, SoftTargetCrossEntropy
from nasvit.tasks.imitation import Imitated, relative_distance


class Objective(ABC):
    """What networks learn from a batch, and their loss: the part of a task that training needs."""

    def prepare(self, network: nn.Module) -> None:  # noqa: B027 - most need nothing
        """Prepare a network before it runs on a batch in training."""

    @abstractmethod
    def of_batch(self, images: Tensor, targets: Any, autocast: AbstractContextManager[Any]) -> tuple[Tensor, ...]:
        """Return what networks learn from a batch, once for all that learn from it.

        Args:
            images: shape ``(batch, channels, height, width)``.
            targets: the targets of the loader: a tensor, or several, with a row for every image.
            autocast: the context that a teacher runs in.

        Returns:
            Tensors with a row for every image, so that parts of a batch take their rows.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, learned: tuple[Tensor, ...]) -> Tensor:
        """Return the mean loss over images, given a network's outputs and what :meth:`of_batch` returned of these."""


@dataclass(frozen=True)
class LabelObjective(Objective):
    """Cross entropy with the labels; with a teacher, blended with its scores of the same augmented images.

    Where the teacher's share is 1 and its temperature 1, the loss is the cross entropy with its probabilities: the
    Kullback-Leibler divergence plus the teacher's entropy, with the same gradient, so that the loss of guessing is that
    with labels.

    Args:
        label_smoothing: probability given to all classes alike.
        teacher: a frozen network in evaluation mode, or None.
        distillation: blend of labels and teacher.
        imitated: maps of the teacher that are imitated too, by networks that show their own, see
            :class:`nasvit.tasks.imitation.Imitating`; None: none are.
    """

    label_smoothing: float = 0.0
    teacher: nn.Module | None = None
    distillation: Distillation = Distillation()
    imitated: Imitated | None = None

    def of_batch(self, images: Tensor, targets: Tensor, autocast: AbstractContextManager[Any]) -> tuple[Tensor, ...]:
        """Return what networks learn from a batch; the teacher runs once, however many networks learn from it.

        Args:
            images: shape ``(batch, channels, height, width)``.
            targets: labels ``(batch,)`` or probabilities ``(batch, classes)``.
            autocast: the context that the teacher runs in.

        Returns:
            The targets, and what the teacher says, if there is one: probabilities where it teaches alone, else logits;
            then its maps that are imitated.
        """
        if self.teacher is None:
            return (targets,)
        with torch.no_grad(), autocast:
            taught = at_least_float32(self.teacher(images))
            maps = () if self.imitated is None else self.imitated.maps(images)
        return targets, taught.softmax(1) if self._teacher_alone else taught, *maps

    def loss(self, said: Tensor | Shown, learned: tuple[Tensor, ...]) -> Tensor:
        """Return the mean loss, given what :meth:`of_batch` returned of these images.

        Args:
            said: logits ``(batch, classes)``; beside them maps, where those of a teacher are imitated.
            learned: what is learned of these images.
        """
        loss = self._of_logits(at_least_float32(outputs_of(said)), learned)
        if self.imitated is None:
            return loss
        assert isinstance(said, Shown), "a network that imitates maps shows its own while it trains"
        return loss + self.imitated.weight * relative_distance(said.maps, learned[2:])

    def _of_logits(self, outputs: Tensor, learned: tuple[Tensor, ...]) -> Tensor:
        targets, *taught = learned
        if not taught:
            return self._of_labels(outputs, targets)
        said = taught[0].to(outputs.dtype)
        if self._teacher_alone:
            return SoftTargetCrossEntropy().of_probabilities(outputs, said)
        return self.distillation(self._of_labels(outputs, targets), outputs, said)

    @property
    def _teacher_alone(self) -> bool:
        return self.distillation == Distillation(1.0, 1.0)

    def _of_labels(self, logits: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.to(logits.dtype) if targets.is_floating_point() else targets
        return F.cross_entropy(logits, wanted, label_smoothing=self.label_smoothing)
