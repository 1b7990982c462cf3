"""What every accuracy predictor can do, and how to get one by name."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.arrays import Codes, Floats


class Predicting(Protocol):
    """Expects a score of every candidate."""

    def predict(self, codes: ArrayLike) -> tuple[Floats, Floats]:
        """Return the mean and the standard deviation of the expected score, each ``(n,)``."""
        ...


class Predictor(Predicting, Protocol):
    """Learns scores from codes; the mean is a smoothed estimate, the deviation what the model does not know."""

    def fit(self, codes: ArrayLike, scores: ArrayLike) -> Predictor:
        """Learn from ``codes`` ``(n, genes)`` and noisy ``scores`` ``(n,)``, higher is better; returns itself."""
        ...


@runtime_checkable
class Believing(Protocol):
    """A predictor that also tells its belief on the scale it learned on, where errors are symmetric.

    On the scale of a bounded score they are not: a candidate thought bad, but not surely, would look as if it could
    exceed the bound.
    """

    def believe(self, codes: ArrayLike) -> tuple[Floats, Floats]:
        """Return mean and standard deviation ``(n,)`` of the transformed score; higher is better."""
        ...


@runtime_checkable
class Drawing(Protocol):
    """A predictor from whose belief whole functions can be drawn, which is what exploration wants."""

    def draw(self, codes: ArrayLike, count: int, rng: np.random.Generator) -> Floats:
        """Return ``count`` functions at ``codes`` ``(n, d)``, ``(count, n)``; only their order matters."""
        ...


class Belief(Protocol):
    """What is thought of a pool of n candidates, on the scale that was learned on."""

    @property
    def mean(self) -> Floats:
        """Mean of every candidate, ``(n,)``; higher is better."""
        ...

    @property
    def spread(self) -> Floats:
        """Standard deviation of every candidate, ``(n,)``."""
        ...

    def observe(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Learn the scores ``(k,)`` of candidates ``(k, d)``, in the pool or not."""
        ...

    def draw(self, index: NDArray[np.int64], count: int, rng: np.random.Generator) -> Floats:
        """Return ``count`` functions drawn at some of the pool, ``index`` ``(k,)``: ``(count, k)``."""
        ...


@runtime_checkable
class Updating(Protocol):
    """A predictor whose belief about a pool is kept up to date without fitting again."""

    def over(self, codes: Codes) -> Belief:
        """Return what is believed of ``codes`` ``(n, d)``."""
        ...
