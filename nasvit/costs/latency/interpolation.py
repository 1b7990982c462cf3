"""The time of a part with more combinations of decisions than can be timed, from some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from nasvit.costs.latency.covering import Combination

Tables = "list[tuple[list[str], NDArray[np.float64]]]"
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
    tables += [([*names[:apart], name], np.zeros([*shape[:apart], size])) for name, size in list(zip(names, shape))[apart:]]
    for first in np.ndindex(*shape[:apart]):
        own = {each[apart:]: time for each, time in known.items() if each[:apart] == first}
        sizes = np.array([[values[apart + g][index] for g, index in enumerate(each)] for each in own], dtype=np.float64)
        weights, times = sizes.max(axis=0), np.array([*own.values()])
        rows = np.concatenate([np.ones((len(sizes), 1)), sizes / weights], axis=1) / times[:, None]
        effects, _ = nnls(rows, np.ones(len(rows)))
        tables[0][1][first] = effects[0]
        for number, (effect, weight) in enumerate(zip(effects[1:], weights, strict=True)):
            tables[1 + number][1][first] = effect / weight * np.array(values[apart + number], dtype=np.float64)
    return tables
