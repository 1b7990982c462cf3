"""The loop of every search: ask, evaluate, tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasvit.search.engine import SearchEngine
from predictors.arrays import Codes

Evaluate = Callable[[Codes], ArrayLike]
"""Codes ``(n, d)`` -> scores ``(n,)``, higher is better; NaN where an evaluation failed."""


@dataclass(frozen=True)
class Standing:
    """Where a search stands.

    Args:
        done: evaluations that count.
        codes: candidates that were evaluated or given up, in the order in which they finished, ``(n, d)``.
        scores: their scores, ``(n,)``; NaN where given up.
        busy: candidates that are under way or wait, ``(m, d)``.
        waiting: whether one of these waits for somebody to evaluate it.
    """

    done: int
    codes: Codes
    scores: NDArray[np.float64]
    busy: Codes
    waiting: bool = False


class Trials(Protocol):
    """The evaluations of a search, kept in memory, or in a storage that workers share."""

    def look(self) -> Standing:
        """Return where the search stands now."""
        ...

    def evaluate(self, row: Codes | None) -> None:
        """Evaluate ``row``, ``(1, d)``, or, if None, what waits."""
        ...

    def wait(self) -> None:
        """Let others finish what is under way."""
        ...


def drive(trials: Trials, engines: Sequence[SearchEngine], evaluations: int) -> None:
    """Go on asking, evaluating and telling until ``evaluations`` are done, or no candidate is left.

    Args:
        trials: where evaluations are kept.
        engines: evaluations are shared out among them in turn; each learns from all.
        evaluations: in all, by all workers, those done before included.
    """
    while (now := trials.look()).done < evaluations:
        row = None if now.waiting else _propose(engines, now, evaluations)
        if now.waiting or row is not None:
            trials.evaluate(row)
        elif len(now.busy):
            trials.wait()
        else:
            return


def _propose(engines: Sequence[SearchEngine], now: Standing, evaluations: int) -> Codes | None:
    """Return the next candidate, ``(1, d)``; None where enough are under way or none is left."""
    begun = now.done + len(now.busy)
    if begun >= evaluations:
        return None
    for engine in engines[begun * len(engines) // evaluations :]:
        engine.catch_up(now.codes, now.scores, now.busy)
        if len(row := engine.ask(1)):
            return row
    return None


class Memory:
    """Trials of this process alone.

    Args:
        evaluate: what candidates score.
        codes: candidates evaluated before, ``(n, d)``.
        scores: their scores, ``(n,)``.
        on_told: called after every evaluation with all codes and scores.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        codes: Codes,
        scores: NDArray[np.float64],
        on_told: Callable[[Codes, NDArray[np.float64]], None] | None = None,
    ) -> None:
        self._evaluate, self._on_told = evaluate, on_told
        self.codes, self.scores = codes, scores

    def look(self) -> Standing:
        """Return everything evaluated so far; nothing is ever under way."""
        return Standing(len(self.codes), self.codes, self.scores, self.codes[:0])

    def evaluate(self, row: Codes | None) -> None:
        """Evaluate rows and keep their scores."""
        assert row is not None, "nothing waits here"
        scores = np.asarray(self._evaluate(row), dtype=np.float64)
        if scores.shape != (len(row),):
            raise ValueError(f"scores must have shape ({len(row)},), one per candidate, got {scores.shape}")
        self.codes, self.scores = np.concatenate([self.codes, row]), np.concatenate([self.scores, scores])
        if self._on_told is not None:
            self._on_told(self.codes, self.scores)

    def wait(self) -> None:
        """Return: nobody else works here."""
