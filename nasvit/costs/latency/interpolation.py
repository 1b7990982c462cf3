"""The time of a part with more combinations of decisions than can be timed, from some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nasvit.costs.latency.covering import Combination

Tables: TypeAlias = "list[tuple[list[str], NDArray[np.float64]]]"
"""Decisions, and milliseconds for every combination of them, one axis each; what they give is added up."""


def interpolated(names: Sequence[str], values: Sequence[Sequence[Any]], known: Mapping[Combination, float]) -> Tables:
    """Return milliseconds as a sum over decisions, each linear in its value, at every resolution.

    None of them gets faster as it grows; the error of relative times is the smallest that there is.

    Args:
        names: the decisions.
        values: their values.
        known: indices of values -> milliseconds.
    """
    apart = int(names[0] == "resolution")
    shape = [len(each) for each in values]
    tables = [(list(names[:apart]), np.zeros(shape[:apart]))]
    for name, size in zip(names[apart:], shape[apart:], strict=True):
        tables.append(([*names[:apart], name], np.zeros([*shape[:apart], size])))
    own_values = [np.array(each, dtype=np.float64) for each in values[apart:]]
    for first in np.ndindex(*shape[:apart]):
        own = {each[apart:]: time for each, time in known.items() if each[:apart] == first}
        base, effects = _fitted(own, own_values)
        tables[0][1][first] = base
        for (_, table), effect, sizes in zip(tables[1:], effects, own_values, strict=True):
            table[first] = effect * sizes
    return tables


def _fitted(known: Mapping[Combination, float], values: Sequence[NDArray[np.float64]]) -> tuple[float, list[float]]:
    """Return milliseconds that are always taken, and those for each unit of every decision; none is below 0."""
    times = np.array([*known.values()])
    sizes = np.array([[of[index] for of, index in zip(values, each, strict=True)] for each in known])
    most = sizes.max(axis=0)
    rows = np.concatenate([np.ones((len(sizes), 1)), sizes / most], axis=1) / times[:, None]
    effects, _ = nnls(rows, np.ones(len(rows)))
    return float(effects[0]), (effects[1:] / most).tolist()
