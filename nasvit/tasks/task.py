"""What every task says of itself: how a network is scored, and what guessing is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
"""Images ``(batch, channels, height, width)`` with their targets."""


@dataclass(frozen=True)
class Metric:
    """The number that decides between networks.

    Args:
        name: such as ``accuracy``.
        higher_is_better: its direction.
    """

    name: str
    higher_is_better: bool = True

    def better(self, one: float, other: float) -> bool:
        """Return whether the first value is better than the second."""
        return one > other if self.higher_is_better else one < other


class Score(Protocol):
    """What an evaluation measured."""

    @property
    def value(self) -> float:
        """The number that decides, that of the task's metric."""

    @property
    def images(self) -> int:
        """How many images were looked at."""

    def numbers(self) -> dict[str, float]:
        """Return everything that was measured, by name."""


class Task(Protocol):
    """What is learned; classification is the first of them.

    Training, search and reports ask the task how networks are compared and know nothing of accuracies themselves.
    """

    @property
    def metric(self) -> Metric:
        """The number that decides between networks."""

    @property
    def chance_score(self) -> float:
        """The score of guessing, which a training that fell apart is given."""

    @property
    def chance_loss(self) -> float:
        """The loss of guessing, by which a training that falls apart is noticed."""

    def evaluate(self, network: nn.Module, batches: Batches) -> Score:
        """Return what a plain network with batch-norm statistics of its own scores; it ends in evaluation mode."""
