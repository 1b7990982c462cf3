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
from nasvit.heads.head import Head, Learned, Shown, Size, at_least_float32, outputs_of
from nasvit.tasks.distillation import Distillation, channel_wise
from nasvit.tasks.objective import Objective
from nasvit.tasks.task import Task
from nasvit.tasks.teacher import Teacher
from search_spaces.values import FieldError


@dataclass(frozen=True)
class HeadObjective(Objective):
    """The loss of a head with the targets; with a teacher, blended with the distance from what the teacher says.

    The distance of the student's maps from the teacher's may be added, at the place that a head has maps of the same
    channels for all backbones (:attr:`nasvit.heads.head.Head.shown`), so that nothing has to be trained and thrown away
    that fits them to each other.

    Losses are divided by the examples of the joined batch of all processes, places in objects or pixels with a class
    (by the sum of their weights, where classes have some), so that parts of a batch and several processes compute what
    one would on the whole.

    Args:
        task: says what the head is, and for which images.
        compute: the processes that share a batch.
        teacher: a frozen network of the same task and head, or None.
        alpha: the teacher's share.
        maps: weight of the distance of the maps.
    """

    task: DenseTask
    compute: Compute = ALONE
    teacher: nn.Module | None = None
    alpha: float = 0.5
    maps: float = 0.0

    def prepare(self, network: nn.Module) -> None:
        """Let a network show its maps while it trains, if they are compared."""
        assert isinstance(network, DenseNetwork)
        network.head.shows_maps = self.maps > 0

    def of_batch(self, images: Tensor, targets: Any, autocast: AbstractContextManager[Any]) -> tuple[Tensor, ...]:
        """Return what the outputs are compared with: of the targets, the mean number of examples, of the teacher."""
        *learned, examples = self.task.learned(targets)
        total = self.compute.mean_(examples.sum())
        mean = torch.where(total > 0, total, 1 / self.compute.count) / len(examples)
        learned.append(mean.expand(len(examples)))
        if self.teacher is not None:
            with torch.no_grad(), autocast:
                said = self.teacher(images)
                learned.append(at_least_float32(outputs_of(said)))
            learned += said.maps if self.maps else ()
        return tuple(learned)

    def loss(self, said: Tensor | Shown, learned: tuple[Tensor, ...]) -> Tensor:
        """Return the loss of a batch or of a part of it, given what a prepared network said."""
        head, size, outputs = self.task.head, self.task.size, outputs_of(said)
        if self.teacher is None:
            return head.loss(outputs, learned, size)
        maps = said.maps if self.maps and isinstance(said, Shown) else ()
        assert bool(maps) == bool(self.maps), "a network shows its maps once it is prepared"
        first = len(learned) - len(maps)
        *learned_of_targets, taught = learned[:first]
        of_targets = head.loss(outputs, tuple(learned_of_targets), size)
        loss = (1 - self.alpha) * of_targets + self.alpha * head.imitation(at_least_float32(outputs), taught)
        return loss + self.maps * channel_wise(maps, learned[first:]) if maps else loss


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
        maps: float = 0.0,
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
            _let_teach(teacher, self.head, maps > 0)
        return HeadObjective(self, compute, teacher, blend.alpha, maps)

    def between_subnets(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return how far a subnet is from what the largest one says, which is of one kind, whatever the name."""
        return lambda said, taught: self.head.imitation(outputs_of(said), taught)


def _let_teach(teacher: nn.Module, head: Head, maps: bool) -> None:
    """Let a network return what students are compared with, while it stays in evaluation mode.

    Args:
        teacher: the network.
        head: the students' head.
        maps: whether its maps are compared, too.

    Raises:
        FieldError: if it is none of this task, or has another head.
    """
    network = teacher.network if isinstance(teacher, Teacher) else teacher
    if not isinstance(network, DenseNetwork) or network.head.head.comparable != head.comparable:
        raise FieldError(["teacher"], f"is no single network with the head {head}, which students are compared with")
    if maps:
        _check_maps(network.head.head, head)
    network.head.training = True  # this mark alone: layers inside go on evaluating
    network.head.shows_maps = True


def _check_maps(theirs: Head, ours: Head) -> None:
    """Refuse to compare maps that two networks do not have alike.

    Raises:
        FieldError: saying what differs.
    """
    if ours.shown is None:
        problem = f"{ours.kind} reads the backbone's maps as they are, whose channels differ; legal: 0, or another head"
        raise FieldError(["teacher", "maps"], f"{problem}: fcos, retinanet")
    if (theirs.kind, theirs.shown) != (ours.kind, ours.shown):
        differ = f"the teacher's head is {_told_of_maps(theirs)}, the student's {_told_of_maps(ours)}"
        problem = f"compares maps of one kind of head with the same strides and channels; {differ}"
        raise FieldError(["teacher", "maps"], f"{problem}; train one of them with the other's, or leave it out")


def _told_of_maps(head: Head) -> str:
    strides, channels = head.shown or ((), 0)
    return f"{head.kind} with strides {list(strides)} and {channels} channels"
