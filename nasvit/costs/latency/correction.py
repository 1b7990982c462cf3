"""Scale and offset from sums over blocks to whole networks, and the error of the result on other networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.metrics import kendall_tau

FEWEST = 3
"""Networks that each of the two halves needs: a line through fewer is no fit, and a rank correlation no number."""


@dataclass(frozen=True)
class PredictionError:
    """Error of predictions against measurements of whole networks.

    Args:
        networks: number of networks measured.
        median_relative_error: median of absolute error over measured milliseconds.
        largest_relative_error: largest absolute error over measured milliseconds.
        bias: mean of the signed errors over the measured milliseconds; above 0 predicts too much.
        kendall_tau: rank correlation, 1 = the same order.
    """

    networks: int
    median_relative_error: float
    largest_relative_error: float
    bias: float
    kendall_tau: float


def fit_correction(sums: ArrayLike, measured: ArrayLike) -> tuple[float, float]:
    """Return the scale and the offset (milliseconds) with the least squared relative error.

    Args:
        sums: sum over the blocks of each network, ``(n,)`` milliseconds.
        measured: the networks as a whole, ``(n,)`` milliseconds.

    Raises:
        ValueError: if the networks are so noisy or so alike that more work would seem to take less time.
    """
    total, whole = _floats(sums), _floats(measured)
    rows = np.stack([total / whole, 1 / whole], axis=1)
    scale, offset = np.linalg.lstsq(rows, np.ones(len(whole)), rcond=None)[0]
    if scale <= 0:
        raise ValueError(
            f"the measured networks do not take longer where their blocks do (fitted scale {scale:.3g}): the machine "
            "is too busy or the networks too alike; measure with more --rounds or more --networks"
        )
    return float(scale), float(offset)


def prediction_error(predicted: ArrayLike, measured: ArrayLike) -> PredictionError:
    """Compare predictions with measurements of the same networks, ``(n,)`` milliseconds each."""
    guess, whole = _floats(predicted), _floats(measured)
    relative = (guess - whole) / whole
    return PredictionError(
        len(whole),
        float(np.median(np.abs(relative))),
        float(np.abs(relative).max()),
        float(relative.mean()),
        kendall_tau(guess, whole),
    )


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
