"""Numbers that models read: one-hot codes and standardized proxies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Proxies
from search_spaces.genome import one_hot


def one_hot64(cards: NDArray[np.int64], codes: Codes) -> NDArray[np.float64]:
    """Return :func:`one_hot` in double precision, as closed forms want it."""
    return np.asarray(one_hot(cards, codes, np.float64), dtype=np.float64)


class Standardizer:
    """Proxy values with zero mean and unit variance over the codes they were fitted on.

    Args:
        proxies: codes -> ``(n, p)``; None gives p = 0. Columns that do not vary become zeros.
    """

    def __init__(self, proxies: Proxies | None) -> None:
        self.proxies = proxies

    def raw(self, codes: Codes) -> NDArray[np.float64]:
        """Return the proxies as they are, ``(n, p)``."""
        if self.proxies is None:
            return np.zeros((len(codes), 0))
        values = np.asarray(self.proxies(codes), dtype=np.float64)
        if values.ndim != 2 or len(values) != len(codes):
            raise ValueError(f"proxies must return ({len(codes)}, p) for {len(codes)} codes, got {values.shape}")
        return values

    def fit(self, codes: Codes) -> NDArray[np.float64]:
        """Remember mean and spread over ``codes`` and return the standardized proxies."""
        values = self.raw(codes)
        self._mean = values.mean(0)
        deviation = values.std(0)
        self._inverse = np.where(deviation > 1e-9 * (1 + np.abs(self._mean)), 1.0 / np.maximum(deviation, 1e-300), 0.0)
        return self.apply(codes)

    def apply(self, codes: Codes) -> NDArray[np.float64]:
        """Return the proxies in the units that :meth:`fit` learned."""
        values: NDArray[np.float64] = (self.raw(codes) - self._mean) * self._inverse
        return values
