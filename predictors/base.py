"""What predictors share: checking input, transforming scores, and returning to score units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import ThreadpoolController

from predictors.arrays import Codes, Floats, Proxies, as_codes, as_scores
from predictors.features import Standardizer
from predictors.target import Target
from search_spaces.genome import Genome

Matrix = NDArray[np.float64]
TargetKind = Literal["auto", "identity"]
Fitted = TypeVar("Fitted", bound="CodePredictor")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> Any:
    """Return a context in which linear algebra takes one thread: on matrices this small, more threads only wait."""
    return _controller().limit(limits=1)


class CodePredictor(ABC):
    """A predictor of scores from codes; subclasses learn standardized, transformed scores.

    Args:
        genome: the decisions that codes index.
        proxies: free features of codes; None for none.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
    """

    def __init__(self, genome: Genome, proxies: Proxies | None = None, *, target: TargetKind = "auto") -> None:
        self.genome = genome
        self.proxies = Standardizer(proxies)
        self.target_kind = target
        self.target: Target | None = None
        self._offset, self._scale = 0.0, 1.0

    def fit(self: Fitted, codes: ArrayLike, scores: ArrayLike) -> Fitted:
        """Learn from ``codes`` ``(n, genes)`` and their noisy ``scores`` ``(n,)``; repeated rows are allowed.

        Raises:
            ValueError: if codes are not of the genome, or there is not one finite score for each, or none at all.
        """
        rows = as_codes(codes)
        values = as_scores(scores, len(rows))
        if not len(rows):
            raise ValueError("a predictor needs at least one evaluated candidate, got none")
        self.genome.check(rows)
        self.target = Target.choose(values) if self.target_kind == "auto" else Target.identity()
        outcome = self.target.apply(values)
        self._offset, self._scale = float(outcome.mean()), float(outcome.std()) or 1.0
        with one_thread():
            self._learn(rows, self._outcome_of(values))
        return self

    def _outcome_of(self, scores: ArrayLike) -> Matrix:
        """Return scores as they are learned: transformed and standardized as at the last fit."""
        assert self.target is not None
        return (self.target.apply(np.asarray(scores, dtype=np.float64)) - self._offset) / self._scale

    def predict(self, codes: ArrayLike) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``(n,)`` of the expected score (noise of one evaluation excluded).

        Raises:
            RuntimeError: before the first fit.
            ValueError: if codes are not of the genome.
        """
        mean, spread = self.believe(codes)
        assert self.target is not None
        return self.target.restore(mean * self._scale + self._offset, spread * self._scale)

    def believe(self, codes: ArrayLike) -> tuple[Floats, Floats]:
        """Return the same on the scale that was learned (transformed and standardized), where errors are symmetric.

        Raises:
            RuntimeError: before the first fit.
            ValueError: if codes are not of the genome.
        """
        if self.target is None:
            raise RuntimeError(f"{type(self).__name__} has not been fitted; call fit(codes, scores) first")
        rows = as_codes(codes)
        self.genome.check(rows)
        with one_thread():
            return self._latent(rows)

    @abstractmethod
    def left_out_error(self) -> float:
        """Return the mean squared error on candidates left out; 1 is what the mean of all outcomes would get."""

    @abstractmethod
    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        """Learn standardized outcomes ``(n,)``."""

    @abstractmethod
    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``(n,)`` of the standardized outcome."""
