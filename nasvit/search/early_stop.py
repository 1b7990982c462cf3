"""Where a training may stop without losing the order of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.metrics import kendall_tau


def score_at(curve: Sequence[float], share: float) -> float:
    """Return the score after ``share`` of a training, from one score an epoch.

    Args:
        curve: score after every epoch.
        share: part of the training, above 0, at most 1.
    """
    return curve[epochs_of(len(curve), share) - 1]


def epochs_of(epochs: int, share: float) -> int:
    """Return how many whole epochs ``share`` of ``epochs`` is, rounded up."""
    return max(1, int(np.ceil(share * epochs - 1e-9)))


def stopping_share(curves: Sequence[Sequence[float]], least: float) -> float:
    """Return the smallest share of training that ranks candidates as the end does, nearly.

    Source: FBNetV3 (Dai et al., 2021), section 3.2, https://arxiv.org/abs/2006.02049: the first candidates are trained
    to the end, and the epoch from which on their ranking hardly changes is where all others stop. The paper's
    threshold could not be read; ``least`` is the user's.

    Args:
        curves: of every candidate, the score after each epoch; candidates may differ in epochs.
        least: Kendall's tau between the scores there and at the end that is good enough.

    Raises:
        ValueError: if there are fewer than two curves.
    """
    if len(curves) < 2:
        raise ValueError(f"a ranking needs at least two training curves, got {len(curves)}")
    shortest = min(map(len, curves))
    final = [curve[-1] for curve in curves]
    for epoch in range(1, shortest):
        share = epoch / shortest
        tau = kendall_tau([score_at(curve, share) for curve in curves], final)
        if tau >= least:  # not where all are equal, which is NaN
            return share
    return 1.0
