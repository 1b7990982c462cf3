"""One fit of the predictor, and what is proposed until the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy import Believing, Drawing, Predictor, Updating
from predictors.arrays import Codes, Floats
from predictors.pool import row_hashes


class Round:
    """Chooses from a pool by the belief of a predictor, which learns further scores where it can.

    Args:
        codes: what the predictor was fitted on, ``(n, d)``.
        scores: their scores, ``(n,)``.
        predictor: fitted.
        pool: what may be proposed, ``(m, d)``, each once.
        greedy_share: share of proposals of highest mean; the others are where a drawn function is highest.
        shortlist: candidates among which functions are drawn.
    """

    def __init__(
        self,
        codes: Codes,
        scores: NDArray[np.float64],
        predictor: Predictor,
        pool: Codes,
        greedy_share: float,
        shortlist: int,
    ) -> None:
        self._codes, self._scores, self._fitted = codes, scores, len(codes)
        self._pool = pool
        self._places = {hashed: place for place, hashed in enumerate(row_hashes(pool).tolist())}
        self._greedy_share, self._shortlist = greedy_share, shortlist
        self._belief = predictor.over(pool) if isinstance(predictor, Updating) else _Fixed(predictor, pool)

    def leads_to(self, codes: Codes, scores: NDArray[np.float64], fitted: int) -> bool:
        """Whether this round was fitted on the first ``fitted`` of these, and learned nothing but what follows."""
        known = len(self._codes)
        same = self._fitted == fitted and known <= len(codes)
        return same and np.array_equal(self._codes, codes[:known]) and np.array_equal(self._scores, scores[:known])

    def learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Learn what follows what is known, of all codes and scores there are."""
        known = len(self._codes)
        self._belief.observe(codes[known:], scores[known:])
        self._codes, self._scores = codes, scores

    def choose(self, taken: set[int], rng: np.random.Generator) -> Codes:
        """Return the most promising candidate that is not taken, ``(1, d)``; none, ``(0, d)``, where all are."""
        is_free = np.ones(len(self._pool), dtype=bool)
        is_free[[self._places[hashed] for hashed in taken if hashed in self._places]] = False
        free = np.flatnonzero(is_free)
        mean = self._belief.mean[free]
        if not len(free):
            return self._pool[free]
        if rng.random() < self._greedy_share:
            return self._pool[free[[mean.argmax()]]]
        short = free[promising(mean, self._belief.spread[free], self._shortlist)]
        return self._pool[short[[self._belief.draw(short, 1, rng)[0].argmax()]]]


def promising(mean: Floats, spread: Floats, count: int) -> NDArray[np.int64]:
    """Return where the highest means and the highest hopes are, up to ``count`` places in ascending order."""
    if len(mean) <= count:
        return np.arange(len(mean))
    half = count // 2
    return np.union1d(*(np.argpartition(-values, half)[:half] for values in (mean, mean + 2.0 * spread)))


class _Fixed:
    """The belief of a predictor that learns by fitting alone: it stays as it is until the next fit."""

    def __init__(self, predictor: Predictor, pool: Codes) -> None:
        self._predictor, self._pool = predictor, pool
        self.mean, self.spread = believe(predictor, pool)

    def observe(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Learn nothing."""

    def draw(self, index: NDArray[np.int64], count: int, rng: np.random.Generator) -> Floats:
        """Return ``count`` functions drawn at some of the pool, ``(count, k)``."""
        if isinstance(self._predictor, Drawing):
            return self._predictor.draw(self._pool[index], count, rng)
        drawn: Floats = self.mean[index] + self.spread[index] * np.abs(rng.standard_normal((count, 1)))
        return drawn


def believe(predictor: Predictor, codes: Codes) -> tuple[Floats, Floats]:
    """Return mean and spread where optimism is meant: on the scale the predictor learned on, if it tells that."""
    return predictor.believe(codes) if isinstance(predictor, Believing) else predictor.predict(codes)
