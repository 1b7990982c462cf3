"""Numbers that models read: one-hot codes and standardized proxies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Floats, Proxies
from search_spaces.genome import Genome


def one_hot(cards: NDArray[np.int64], codes: Codes, dtype: type[np.floating] = np.float32) -> Floats:
    """Return ``codes`` ``(n, d)`` as zeros and ones ``(n, sum(cards))``."""
    starts = np.concatenate([[0], np.cumsum(cards)[:-1]])
    result = np.zeros((len(codes), int(np.sum(cards))), dtype=dtype)
    np.put_along_axis(result, codes.astype(np.int64) + starts, 1, axis=1)
    return result


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


def join(parts: Sequence[Proxies]) -> Proxies:
    """Return one callable that puts the columns of several proxies side by side."""
    return lambda codes: np.concatenate([np.asarray(part(codes), dtype=np.float64) for part in parts], axis=1)


def group_counts(genome: Genome) -> Proxies | None:
    """Return summaries of genes that repeat one decision (``depth.0``, ``depth.1``, ...), or None without any.

    Genes that share the stem of their name and their number of values are one group. An ordinal group is summed;
    a categorical group counts how often each value occurs.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for index, (name, card) in enumerate(zip(genome.names, genome.cards, strict=True)):
        groups.setdefault((name.rstrip("0123456789_.").split(".")[0], int(card)), []).append(index)
    repeated = [(np.array(genes), card) for (_, card), genes in groups.items() if len(genes) > 2]
    if not repeated:
        return None

    def summarize(codes: Codes) -> Floats:
        columns = []
        for genes, card in repeated:
            part = codes[:, genes]
            if genome.ordinal[genes].all():
                columns.append(part.mean(1, dtype=np.float64))
            else:
                columns.extend((part == value).mean(1, dtype=np.float64) for value in range(1, card))
        return np.stack(columns, axis=1)

    return summarize
