"""Interface of tasks: the score of a network, and the score and loss of guessing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasvit.compute import ALONE, Compute
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.objective import Objective

Batches = Iterable[tuple[Tensor, Any]]
"""Images ``(batch, channels, height, width)`` with their targets: a tensor, or several, with a row for every image."""


_TITLES = {
    "class_accuracy": "mean over classes",
    "map": "mAP",
    "map50": "mAP50",
    "map75": "mAP75",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
}


def title_of(number: str) -> str:
    """Return what to call a number of a score before a user."""
    return _TITLES.get(number, number)


@dataclass(frozen=True)
class Metric:
    """The number that networks are compared by.

    Args:
        name: name, such as ``accuracy``.
        higher_is_better: whether a higher value is better.
    """

    name: str
    higher_is_better: bool = True

    def better(self, one: float, other: float) -> bool:
        """Return whether the first value is better than the second."""
        return one > other if self.higher_is_better else one < other


class Score(Protocol):
    """Result of an evaluation."""

    @property
    def value(self) -> float:
        """The value of the task's metric."""

    @property
    def images(self) -> int:
        """Number of images evaluated."""

    def numbers(self) -> dict[str, float]:
        """Return all measured numbers by name."""

    def per_image(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Return the numbers, by name, that are means over the images, as one value ``(images,)`` of each image.

        They tell what difference of two networks can be seen on the same images. Numbers that are no such means, such
        as an average precision, are left out.
        """


class Meter(Protocol):
    """Adds the outputs of one network up, batch by batch, on the device, and never makes it wait before the end."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in what the network returned for one batch, and its targets."""

    def score(self, compute: Compute) -> Score:
        """Return the score over all batches of all processes, which call this together.

        Raises:
            ValueError: if there were no batches.
        """


class Task(ABC):
    """A task that networks are trained for, such as classification.

    Training and reports compare networks by the metric of the task only; the search does so too, or by the loss, see
    :class:`nasvit.search.judge.Judge`. A task defines the metric, what guessing is worth, and a meter.
    """

    metric: Metric
    """The metric that networks are compared by."""

    loss: Metric | None = None
    """The loss among the numbers of a score: it tells networks apart on images so few that the metric does not; None:
    there is none."""

    @property
    @abstractmethod
    def chance_score(self) -> float:
        """The score of guessing, also that of a collapsed training."""

    @property
    @abstractmethod
    def chance_loss(self) -> float:
        """The loss of guessing, by which a collapse is detected."""

    @abstractmethod
    def objective(
        self,
        *,
        smoothing: float = 0.0,
        teacher: nn.Module | None = None,
        distillation: Distillation | None = None,
        maps: float = 0.0,
        compute: Compute = ALONE,
    ) -> Objective:
        """Return what networks learn from.

        Args:
            smoothing: label smoothing.
            teacher: a frozen network in evaluation mode that they learn from too.
            distillation: blend of targets and teacher; half and half if left out.
            maps: weight of the distance of the maps from the teacher's, for tasks whose networks have a head.
            compute: the processes that share a batch.
        """

    @abstractmethod
    def between_subnets(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of a supernet's smaller subnets, from their outputs and the largest one's.

        Args:
            name: which one: ``adaptive_alpha`` or ``kl``, where the task has both.
        """

    @abstractmethod
    def meter(self) -> Meter:
        """Return a new meter, for one network."""

    def evaluate(self, network: nn.Module, batches: Batches, compute: Compute = ALONE) -> Score:
        """Return the score of a plain network with its own batch-norm statistics; see :meth:`evaluate_all`."""
        return self.evaluate_all([network], batches, compute)[0]

    @torch.inference_mode()
    def evaluate_all(self, networks: Sequence[nn.Module], batches: Batches, compute: Compute = ALONE) -> list[Score]:
        """Return the scores of several networks, in one pass over the images; they end in evaluation mode.

        Args:
            networks: plain networks with batch-norm statistics of their own (see :func:`nasvit.calibrate`).
            batches: images ``(batch, channels, height, width)`` with their targets: this process's share.
            compute: the processes that the images are shared out to.

        Raises:
            ValueError: if there are no batches.
            RuntimeError: if a network has no batch-norm statistics.
        """
        meters = [(network.eval(), self.meter()) for network in networks]
        for images, targets in batches:
            for network, meter in meters:
                meter.update(network(images), targets)
        return [meter.score(compute) for _, meter in meters]
