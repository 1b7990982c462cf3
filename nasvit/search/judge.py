"""The one place that says which of two measured candidates is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nasvit.tasks.task import Metric, Task

JudgedBy = Literal["auto", "score", "loss"]

FEW = 400
"""Held-out images below which the loss tells candidates apart better than the score.

Measured on 150 subnets of ``micro8`` with a supernet's weights and on 30 trained from random ones, by the accuracy on
the other of 3,000 images: on up to 300 images (digits: 100) the loss ranks them better and the best of eight good ones
by loss is more accurate than that by accuracy; from 500 on (digits: 300) the accuracy chooses better. A score that
counts images moves in steps of one image, and many candidates tie; a loss does not.
"""


@dataclass(frozen=True)
class Judge:
    """Decides which of two measured candidates is better.

    What the search learns from, the choice for every budget, the front and the report all ask it. A tie goes to the
    better other number (of the task's score and the loss), then to the lower costs, then to the lower key.

    Args:
        metric: the task's metric; a record has its value as ``score``.
        loss: the loss among the numbers of a record; None: the task has none.
        by_loss: whether the loss decides, and not the score.
        guessing: the loss of guessing: that of a record without a finite one, whose training collapsed.

    Raises:
        ValueError: if the loss shall decide and there is none.
    """

    metric: Metric
    loss: Metric | None = None
    by_loss: bool = False
    guessing: float = math.inf

    def __post_init__(self) -> None:
        if self.by_loss and self.loss is None:
            raise ValueError(f"search.judge: loss; this task has nothing but {self.metric.name}; legal: auto, score")

    @classmethod
    def of(cls, task: Task, asked: JudgedBy, images: int) -> Judge:
        """Return the judge of measurements on so many held-out images.

        Args:
            task: defines the score, and perhaps a loss.
            asked: ``score`` or ``loss``; ``auto``: the loss, if there is one, on fewer than :data:`FEW` images.
            images: held-out images of a measurement.

        Raises:
            ValueError: if the loss is asked for and the task has none.
        """
        by_loss = asked == "loss" or (asked == "auto" and task.loss is not None and images < FEW)
        return cls(task.metric, task.loss, by_loss, task.chance_loss)

    @property
    def decisive(self) -> Metric:
        """The number that decides."""
        return self.loss if self.by_loss and self.loss is not None else self.metric

    @property
    def name(self) -> str:
        """The number that decides, by its name in a record: ``score``, or that of the loss."""
        return self.decisive.name if self.by_loss else "score"

    def value(self, record: Mapping[str, Any]) -> float:
        """Return the number that decides, of a record."""
        return self._loss(record) if self.by_loss else float(record["score"])

    def merit(self, record: Mapping[str, Any]) -> float:
        """Return what is learned of a record: the number that decides, or its negative where lower is better."""
        return _merit(self.decisive, self.value(record))

    def curve(self, record: Mapping[str, Any]) -> list[float]:
        """Return the merit after every epoch of a record's training."""
        return [_merit(self.decisive, value) for value in record["losses" if self.by_loss else "curve"]]

    def better(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Return whether the first record measured better than the second, whatever they cost."""
        return self._measured(one) > self._measured(other)

    def rank(self, record: Mapping[str, Any], costs: Sequence[float]) -> tuple[Any, ...]:
        """Return what records are sorted by, the best first.

        Args:
            record: with ``key``, ``score`` and, if there is one, the loss.
            costs: what decides where records measured the same: the first cost in which they differ.
        """
        return (*(-value for value in self._measured(record)), *costs, record["key"])

    def _measured(self, record: Mapping[str, Any]) -> tuple[float, ...]:
        score = _merit(self.metric, float(record["score"]))
        score = -math.inf if math.isnan(score) else score  # else every comparison with it would be false
        if self.loss is None:
            return (score,)
        loss = _merit(self.loss, self._loss(record))
        return (loss, score) if self.by_loss else (score, loss)

    def _loss(self, record: Mapping[str, Any]) -> float:
        assert self.loss is not None
        value = float(record.get(self.loss.name, math.nan))
        return value if math.isfinite(value) else self.guessing


def _merit(metric: Metric, value: float) -> float:
    return value if metric.higher_is_better else -value
