"""What the evaluations of one search tell about its predictor: how well it ranks, and whether its doubt is real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.accuracy import Predictor
from predictors.arrays import Codes, Floats, as_codes
from predictors.metrics import learning_curve, quality
from predictors.pool import row_hashes

FEWEST = 10
"""Below this many distinct candidates nothing is held out."""


def predictor_report(
    make_predictor: Callable[[], Predictor],
    codes: ArrayLike,
    scores: ArrayLike,
    rng: np.random.Generator,
    *,
    folds: int = 5,
    splits: int = 3,
) -> dict[str, Any]:
    """Return how well a predictor ranks candidates of a search that it was not fitted on.

    Candidates evaluated several times count once, with their mean. A search evaluates mostly good candidates, which are
    harder to rank than random ones: the correlation over the whole space is higher.

    Args:
        make_predictor: makes an unfitted predictor.
        codes: every evaluated candidate ``(n, d)``.
        scores: what its evaluation returned ``(n,)``; NaN where it failed (left out).
        rng: draws what is held out.
        folds: parts for cross-validation; each is predicted by a predictor fitted on the others.
        splits: random splits averaged for each size of the learning curve.

    Returns:
        What JSON holds: ``evaluations``, ``distinct`` candidates, ``noise`` (standard deviation of one evaluation, from
        repeated ones; None without any), the fields of :class:`predictors.metrics.Quality` on held-out candidates (the
        shares within one and two deviations allow for the noise; 0.68 and 0.95 are calibrated), ``held_out`` (the
        values ``predicted`` and ``measured`` of every candidate), and ``learning_curve``: a list of ``trained``,
        ``kendall_tau`` and ``rmse``. What too few candidates, or equal scores, do not tell is missing.
    """
    rows, values = as_codes(codes), np.asarray(scores, dtype=np.float64)
    learned = np.isfinite(values)
    rows, means, counts, noise = _merge_repeats(rows[learned], values[learned])
    report: dict[str, Any] = {"evaluations": int(counts.sum()), "distinct": len(rows), "noise": noise}
    if len(rows) < max(FEWEST, folds):
        return report
    mean, spread = _cross_validate(make_predictor, rows, means, rng.permutation(len(rows)) % folds)
    measured = asdict(quality(mean, spread, means, (noise or 0.0) / np.sqrt(counts)))
    report |= {name: value for name, value in measured.items() if np.isfinite(value)}
    report["held_out"] = {"predicted": mean.tolist(), "measured": means.tolist()}
    sizes = [len(rows) // 8, len(rows) // 4, len(rows) // 2, len(rows) * 3 // 4]
    curve = learning_curve(make_predictor, rows, means, [size for size in sizes if size >= 5], rng, splits=splits)
    report["learning_curve"] = [
        {"trained": size, "kendall_tau": found["kendall_tau"], "rmse": found["rmse"]}
        for size, found in curve.items()
        if np.isfinite(found["kendall_tau"])
    ]
    return report


def format_report(report: dict[str, Any]) -> str:
    """Return the report of :func:`predictor_report` as a few lines of text."""
    if "kendall_tau" not in report:
        return f"predictor: {report['distinct']} distinct candidates are too few, or too alike, to tell how it ranks"
    curve = ", ".join(f"{point['trained']}: {point['kendall_tau']:.2f}" for point in report["learning_curve"])
    return (
        f"predictor on held-out candidates of this search ({report['distinct']} distinct): Kendall tau "
        f"{report['kendall_tau']:.2f}, rmse {report['rmse']:.3g}\n"
        f"calibration: {report['within_one_deviation']:.0%} within one predicted standard deviation (68% is right), "
        f"{report['within_two_deviations']:.0%} within two (95%)\n"
        f"learning curve, Kendall tau by candidates trained on: {curve}"
    )


def _merge_repeats(codes: Codes, scores: Floats) -> tuple[Codes, Floats, NDArray[np.int64], float | None]:
    """Return distinct rows, their mean scores and counts, and the pooled standard deviation of repeats."""
    _, first, place, counts = np.unique(row_hashes(codes), return_index=True, return_inverse=True, return_counts=True)
    means = np.bincount(place, scores, len(first)) / counts
    freedom = len(codes) - len(first)
    squares = float(((scores - means[place]) ** 2).sum())
    return codes[first], means, counts, float(np.sqrt(squares / freedom)) if freedom else None


def _cross_validate(
    make_predictor: Callable[[], Predictor], codes: Codes, scores: Floats, fold: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the mean and spread of every candidate by the predictor that was not fitted on its fold."""
    mean, spread = np.empty(len(codes)), np.empty(len(codes))
    for part in range(fold.max() + 1):
        held = fold == part
        mean[held], spread[held] = make_predictor().fit(codes[~held], scores[~held]).predict(codes[held])
    return mean, spread
