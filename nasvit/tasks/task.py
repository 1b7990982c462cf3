"""Interface of tasks: the score of a network, and the score and loss of guessing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
"""Images ``(batch, channels, height, width)`` with their targets."""


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


class Task(Protocol):
    """A task that networks are trained for, such as classification.

    Training, search and reports compare networks by the metric of the task only.
    """

    @property
    def metric(self) -> Metric:
        """The metric that networks are compared by."""

    @property
    def chance_score(self) -> float:
        """The score of guessing, also that of a collapsed training."""

    @property
    def chance_loss(self) -> float:
        """The loss of guessing, by which a collapse is detected."""

    def evaluate(self, network: nn.Module, batches: Batches) -> Score:
        """Return the score of a plain network with its own batch-norm statistics; it ends in evaluation mode."""
