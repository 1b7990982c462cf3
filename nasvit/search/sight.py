"""What differences between two networks a number of held-out images can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasvit.tasks.task import Score

GROUPS = 512
"""Most numbers kept of a measurement: with more images than that, the means of groups."""

SURE = 2.0
"""Standard errors below which a difference may be chance: it is larger by chance in 1 of 20 cases."""


def in_groups(score: Score) -> dict[str, list[float]]:
    """Return the numbers of single images, by name, or of groups of images where these are many.

    Neighboring images often show one class, so that each group takes its images from everywhere, and the same ones
    from every network that was measured on the same images.
    """
    return {name: _means(values) for name, values in score.per_image().items() if len(values)}


def smallest_seen(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """Return the difference of two means below which two networks look alike, or None where nothing tells it.

    It is :data:`SURE` standard errors of the difference of two networks on the same images, the median over the pairs:
    networks mostly err on the same images, so that it is smaller than the error of one network alone suggests.

    Args:
        pairs: what :func:`in_groups` keeps of a number for two networks; pairs of other lengths are passed over.
    """
    variances = [_variance(*pair) for pair in pairs if len(pair[0]) == len(pair[1]) > 1]
    return SURE * math.sqrt(median(variances)) if variances else None


def _means(values: NDArray[np.floating[Any]]) -> list[float]:
    place = np.arange(len(values)) % min(GROUPS, len(values))
    means = np.bincount(place, values.astype(np.float64)) / np.bincount(place)
    return [float(f"{mean:.4g}") for mean in means]


def _variance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the variance of the mean difference."""
    return float(np.subtract(one, other).var(ddof=1)) / len(one)
