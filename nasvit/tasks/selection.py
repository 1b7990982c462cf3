"""Scores of networks of many widths as one number, which selects the best weights."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

ACCURACY = "accuracy_"
"""Prefix of accuracies in the values of an evaluation; the rest names the subnet."""


def mean_accuracy(values: Mapping[str, float]) -> float:
    """Return the mean accuracy of all subnets that were evaluated.

    The smallest width alone, by which released slimmable code chooses its best checkpoint, says little of the others.

    Args:
        values: values of an evaluation, such as ``{"accuracy_0.5": 0.61, "accuracy_1.0": 0.67}``.

    Raises:
        ValueError: if there is no accuracy among the values.
    """
    return mean(_accuracies(values))


def worst_accuracy(values: Mapping[str, float]) -> float:
    """Return the lowest accuracy of all subnets that were evaluated; arguments and errors as :func:`mean_accuracy`."""
    return min(_accuracies(values))


def _accuracies(values: Mapping[str, float]) -> list[float]:
    found = [value for name, value in values.items() if name.startswith(ACCURACY)]
    if not found:
        raise ValueError(f"no accuracy among {', '.join(values) or 'no values'}; names must begin with {ACCURACY!r}")
    return found
