"""A monotone transform of the scores, chosen from the scores themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Floats

HEADROOMS = (0.1, 0.3, 1.0, 3.0)
"""Candidate distances of the bound above the best score, in units of (best - median)."""


@dataclass(frozen=True)
class Target:
    """Scores made nearly normal: ``-log(bound - score)``, or the score itself, then standardized.

    A bounded score (accuracy in percent) has a long lower tail: a model that fits raw scores spends itself on
    networks nobody wants. The logarithm of the distance to a bound stretches the top and compresses the tail.

    Args:
        bound: no score is above it; None leaves scores as they are.
        mean: mean of the transformed scores.
        scale: standard deviation of the transformed scores.
        floor: lowest standardized value kept, so that one collapsed training does not rule the fit.
        ceiling: largest distance below the bound that :meth:`restore` returns to.
    """

    bound: float | None
    mean: float
    scale: float
    floor: float
    ceiling: float = np.inf

    @classmethod
    def choose(cls, scores: Floats) -> Target:
        """Return the transform under which ``scores`` ``(n,)`` are most nearly normal (largest likelihood)."""
        top = float(scores.max())
        headroom = top - float(np.median(scores))
        if len(scores) < 5 or headroom <= 0:
            return cls._around(scores, None)
        bounds = [None, *(top + share * headroom for share in HEADROOMS)]
        return cls._around(scores, max(bounds, key=lambda bound: _log_likelihood(scores, bound)))

    @classmethod
    def identity(cls) -> Target:
        """Return the transform that changes nothing."""
        return cls(None, 0.0, 1.0, -np.inf)

    @classmethod
    def _around(cls, scores: Floats, bound: float | None) -> Target:
        bent = _bend(scores, bound)
        low, middle, high = np.quantile(bent, (0.25, 0.5, 0.75))
        least = middle - 6.0 * (high - low) if high > low else -np.inf
        kept = np.maximum(bent, least)
        scale = float(kept.std()) or 1.0
        mean = float(kept.mean())
        ceiling = np.inf if bound is None else 3.0 * float(bound - scores.min())
        return cls(bound, mean, scale, float((least - mean) / scale), ceiling)

    def apply(self, scores: Floats) -> NDArray[np.float64]:
        """Return the standardized, transformed scores."""
        return np.maximum((_bend(scores, self.bound) - self.mean) / self.scale, self.floor)

    def restore(self, mean: Floats, spread: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and standard deviations in score units (first-order for the deviations)."""
        bent = np.asarray(mean, dtype=np.float64) * self.scale + self.mean
        deviation = np.asarray(spread, dtype=np.float64) * self.scale
        if self.bound is None:
            return bent, deviation
        gap = np.minimum(np.exp(np.minimum(-bent, 600.0)), self.ceiling)
        return self.bound - gap, gap * deviation


def _bend(scores: Floats, bound: float | None) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if bound is None:
        return values
    # A score above the bound (bounds are estimated) counts as just below it.
    return -np.log(np.maximum(bound - values, 1e-12))


def _log_likelihood(scores: Floats, bound: float | None) -> float:
    """Return the log-likelihood of normal transformed scores, up to a constant, with the transform's Jacobian."""
    bent = _bend(scores, bound)
    spread = float(bent.std())
    if spread <= 0:
        return -np.inf
    jacobian = 0.0 if bound is None else float(bent.sum())
    return jacobian - len(scores) * float(np.log(spread))
