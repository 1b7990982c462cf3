"""Exact costs of whole populations, from tables over the parts of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The costs of one part of the network (stem, stage or head) for every combination of the genes it depends on.

    Args:
        columns: the population columns of those genes.
        macs: multiply-adds, one axis a gene, in the order of ``columns``.
        params: parameters, likewise.
        memory: the most bytes of activations alive at once while the part runs, likewise.
    """

    columns: tuple[int, ...]
    macs: Integers
    params: Integers
    memory: Integers

    def index(self, columns: NDArray[np.uint8]) -> NDArray[np.int32] | int:
        """Return the flat position in the tables of every row, given a transposed population."""
        flat: NDArray[np.int32] | None = None
        for column, size in zip(self.columns, self.macs.shape, strict=True):
            if flat is None:
                flat = columns[column].astype(np.int32)
            else:
                flat *= np.int32(size)
                flat += columns[column]
        return 0 if flat is None else flat


class CostTable:
    """Costs of every subnet of a space as array look-ups: sums over parts, and a maximum for memory.

    The tables are counted on the plain blocks themselves (:func:`nasvit.cost_table`), so they are exact.

    Args:
        parts: the parts in order.
        genes: columns that a population must have.
    """

    def __init__(self, parts: Sequence[Part], genes: int) -> None:
        self.parts = tuple(parts)
        self.genes = genes

    def macs(self, population: Codes) -> Integers:
        """Return the multiply-adds of one image, shape ``(n,)``."""
        return self._reduce(population, "macs", np.add)

    def params(self, population: Codes) -> Integers:
        """Return the parameters, shape ``(n,)``."""
        return self._reduce(population, "params", np.add)

    def memory(self, population: Codes) -> Integers:
        """Return the most bytes of activations alive at once (float32, batch size 1), shape ``(n,)``."""
        return self._reduce(population, "memory", np.maximum)

    def costs(self, population: Codes) -> dict[str, Integers]:
        """Return all of them by name."""
        return {name: getattr(self, name)(population) for name in ("macs", "params", "memory")}

    def _reduce(self, population: Codes, name: str, combine: np.ufunc) -> Integers:
        if population.ndim != 2 or population.shape[1] != self.genes:
            raise ValueError(f"a population of shape (n, {self.genes}) is needed, got {population.shape}")
        result = np.zeros(len(population), dtype=np.int64)
        for start in range(0, len(population), _CHUNK):
            rows = population[start : start + _CHUNK]
            columns = np.ascontiguousarray(rows.T)
            chunk = result[start : start + _CHUNK]
            for part in self.parts:
                combine(chunk, getattr(part, name).ravel()[part.index(columns)], out=chunk)
        return result


_CHUNK = 16_384  # rows at once, so that the columns stay in the processor's cache
