"""Names of the arrays that predictors and searches pass around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Codes: TypeAlias = NDArray[np.uint8]
"""A population ``(n, genes)``: the index of the chosen value in every decision."""

Floats: TypeAlias = NDArray[np.floating[Any]]
"""Real numbers, float32 or float64."""

Mask: TypeAlias = NDArray[np.bool_]
"""One truth value per candidate, ``(n,)``."""

Proxies: TypeAlias = Callable[[Codes], Floats]
"""What is known of candidates without training them: codes ``(n, genes)`` -> numbers ``(n, p)``."""


def as_codes(codes: ArrayLike) -> Codes:
    """Return ``codes`` as a two-dimensional array of unsigned bytes.

    Raises:
        ValueError: if there are not exactly two axes.
    """
    array = np.asarray(codes, dtype=np.uint8)
    if array.ndim != 2:
        raise ValueError(f"codes must have two axes (candidates, genes), got shape {array.shape}")
    return array


def as_scores(scores: ArrayLike, rows: int) -> NDArray[np.float64]:
    """Return ``scores`` as float64 and refuse what no predictor can learn from.

    Raises:
        ValueError: if there is not one finite score per candidate.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (rows,):
        raise ValueError(f"scores must have shape ({rows},), one per candidate, got {array.shape}")
    if not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"scores[{first}] is {array[first]}: leave failed trainings out of what is fitted")
    return array
