"""What the tasks share whose targets fill images: detection and segmentation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.compute import ALONE, Compute
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import Head, Learned, Size, at_least_float32
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.objective import Objective
from nasvit.tasks.task import Task
from nasvit.tasks.teacher import Teacher
from search_spaces.values import FieldError


@dataclass(frozen=True)
class HeadObjective(Objective):
    """The loss of a head with the targets; with a teacher, blended with the distance from what the teacher says.

    Losses are divided by the examples of the joined batch of all processes, places in objects or pixels with a class
    (by the sum of their weights, where classes have some), so that parts of a batch and several processes compute what
    one would on the whole.

    Args:
        task: says what the head is, and for which images.
        compute: the processes that share a batch.
        teacher: a frozen network of the same task and head, or None.
        alpha: the teacher's share.
    """

    task: DenseTask
    compute: Compute = ALONE
    teacher: nn.Module | None = None
    alpha: float = 0.5

    def of_batch(self, images: Tensor, targets: Any, autocast: AbstractContextManager[Any]) -> tuple[Tensor, ...]:
        """Return what the outputs are compared with: of the targets, the mean number of examples, of the teacher."""
        *learned, examples = self.task.learned(targets)
        total = self.compute.mean_(examples.sum())
        mean = torch.where(total > 0, total, 1 / self.compute.count) / len(examples)
        learned.append(mean.expand(len(examples)))
        if self.teacher is not None:
            with torch.no_grad(), autocast:
                learned.append(at_least_float32(self.teacher(images)))
        return tuple(learned)

    def loss(self, outputs: Tensor, learned: tuple[Tensor, ...]) -> Tensor:
        """Return the loss of a batch or of a part of it."""
        head, size = self.task.head, self.task.size
        if self.teacher is None:
            return head.loss(outputs, learned, size)
        *learned_of_targets, taught = learned
        of_targets = head.loss(outputs, tuple(learned_of_targets), size)
        return (1 - self.alpha) * of_targets + self.alpha * head.imitation(at_least_float32(outputs), taught)


@dataclass(frozen=True)
class DenseTask(Task):
    """A task whose networks have a head, which says what they learn.

    Args:
        classes: number of classes.
        head: the head that networks are trained with.
        size: height and width of the images.
    """

    classes: int
    head: Head
    size: Size

    def learned(self, targets: Any) -> Learned:
        """Return what outputs for a batch are compared with; see :meth:`nasvit.heads.head.Head.learned`."""
        return self.head.learned(targets, self.size, self.classes)

    def objective(
        self,
        *,
        smoothing: float = 0.0,
        teacher: nn.Module | None = None,
        distillation: Distillation | None = None,
        compute: Compute = ALONE,
    ) -> HeadObjective:
        """Return the loss of the head, blended with how far a network is from what the teacher says.

        Raises:
            FieldError: if something is asked for that these tasks do not have.
        """
        if smoothing:
            raise FieldError(["label_smoothing"], f"{smoothing} is for classification; legal here: 0")
        blend = distillation or Distillation()
        if blend.temperature != 1:
            problem = f"temperature {blend.temperature} is for classification; legal here: 1"
            raise FieldError(["teacher", "distillation"], problem)
        if teacher is not None:
            _let_teach(teacher, self.head)
        return HeadObjective(self, compute, teacher, blend.alpha)

    def between_subnets(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return how far a subnet is from what the largest one says, which is of one kind, whatever the name."""
        return self.head.imitation


def _let_teach(teacher: nn.Module, head: Head) -> None:
    """Let a network return what students are compared with, while it stays in evaluation mode.

    Raises:
        FieldError: if it is none of this task, or has another head.
    """
    network = teacher.network if isinstance(teacher, Teacher) else teacher
    if not isinstance(network, DenseNetwork) or network.head.head.comparable != head.comparable:
        raise FieldError(["teacher"], f"is no single network with the head {head}, which students are compared with")
    network.head.training = True  # this mark alone: layers inside go on evaluating
