"""How good predictions are: rank correlation, error, calibration, and how both grow with data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.accuracy import Predictor
from predictors.arrays import as_codes


@dataclass(frozen=True)
class Quality:
    """Agreement of predictions with what was measured.

    Args:
        kendall_tau: share of pairs in the right order minus share in the wrong one (tau-b).
        kendall_tau_top: the same among the best fifth as measured.
        spearman: correlation of ranks.
        rmse: root mean squared error, in score units.
        within_one_deviation: share of errors below the predicted standard deviation; 0.68 is calibrated.
        within_two_deviations: likewise for two; 0.95 is calibrated.
    """

    kendall_tau: float
    kendall_tau_top: float
    spearman: float
    rmse: float
    within_one_deviation: float
    within_two_deviations: float


def kendall_tau(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Return Kendall's tau-b of two rankings; NaN where one does not vary, or ranks less than two."""
    if np.size(measured) < 2:
        return float("nan")
    from scipy.stats import kendalltau  # scipy.stats takes a second to import

    return float(kendalltau(np.asarray(predicted), np.asarray(measured)).statistic)


def spearman(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Return Spearman's rank correlation; NaN where one ranking does not vary."""
    first, second = np.asarray(predicted), np.asarray(measured)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def quality(mean: ArrayLike, spread: ArrayLike, measured: ArrayLike, noise: ArrayLike = 0.0) -> Quality:
    """Compare predictions with measurements.

    Args:
        mean: predicted scores ``(n,)``.
        spread: their standard deviations ``(n,)``.
        measured: scores ``(n,)``.
        noise: standard deviation of a measurement around the expected score, one number or ``(n,)``, added to
            ``spread`` for calibration.
    """
    predicted, truth = np.asarray(mean, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    error = np.abs(predicted - truth)
    deviation = np.sqrt(np.asarray(spread, dtype=np.float64) ** 2 + np.square(noise))
    top = truth >= np.quantile(truth, 0.8)
    return Quality(
        kendall_tau(predicted, truth),
        kendall_tau(predicted[top], truth[top]),
        spearman(predicted, truth),
        float(np.sqrt((error**2).mean())),
        float((error <= deviation).mean()),
        float((error <= 2 * deviation).mean()),
    )


def learning_curve(
    make: Callable[[], Predictor],
    codes: ArrayLike,
    scores: ArrayLike,
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    splits: int = 5,
) -> dict[int, dict[str, float]]:
    """Return the mean :class:`Quality` on what was held out, for each number of training candidates.

    Args:
        make: makes an unfitted predictor.
        codes: evaluated candidates ``(n, d)``, distinct.
        scores: their scores ``(n,)``.
        sizes: training candidates; sizes that leave fewer than 5 held out are skipped.
        rng: draws the splits.
        splits: random splits averaged.
    """
    rows, values = as_codes(codes), np.asarray(scores, dtype=np.float64)
    curve = {}
    for size in (size for size in sizes if size <= len(rows) - 5):
        found = []
        for _ in range(splits):
            order = rng.permutation(len(rows))
            train, held = order[:size], order[size:]
            predicted = make().fit(rows[train], values[train]).predict(rows[held])
            found.append(list(asdict(quality(*predicted, values[held])).values()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what no split could tell stays NaN
            means: NDArray[np.float64] = np.nanmean(np.array(found), axis=0)
        curve[size] = dict(zip(Quality.__dataclass_fields__, means.tolist(), strict=True))
    return curve
