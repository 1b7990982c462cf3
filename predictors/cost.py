"""Exact costs of whole populations, from tables over the parts of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes
from predictors.lookup import Lookup, Scratch

Integers = NDArray[np.int64]

_ROWS = 65_536  # entries of a joint table: its index fits 16 bits, and the table the processor's second cache
_CHUNK = 32_768  # candidates at once, for the same reason
METRICS: dict[str, np.ufunc] = {"macs": np.add, "params": np.add, "memory": np.maximum, "int8_size": np.add}
"""The costs, and how those of two parts make that of both."""

LARGEST = 2**62
"""The most that a cost may be, so that sums of a few fit in 64 bits."""


def integers(costs: Sequence[int]) -> Integers:
    """Return costs as integers of 64 bits; one that is too large is more than :data:`LARGEST`."""
    return np.array([min(each, LARGEST + 1) for each in costs], dtype=np.int64)


@dataclass(frozen=True)
class Part:
    """The costs of one part of the network (stem, stage or head) for every combination of the genes it depends on.

    Args:
        columns: the population columns of those genes.
        macs: multiply-adds, one axis a gene, in the order of ``columns``.
        params: parameters, likewise.
        memory: the most bytes of activations alive at once while the part runs, likewise.
        int8_size: bytes of its weights as integers of 8 bits, likewise.
    """

    columns: tuple[int, ...]
    macs: Integers
    params: Integers
    memory: Integers
    int8_size: Integers

    def join(self, other: Part) -> Part:
        """Return both parts as one, over the genes of either."""
        columns = tuple(sorted({*self.columns, *other.columns}))
        tables = [
            combine(self._spread(name, columns), other._spread(name, columns)) for name, combine in METRICS.items()
        ]
        return Part(columns, *tables)

    def _spread(self, name: str, columns: tuple[int, ...]) -> Integers:
        """Return a table with an axis for each of ``columns``, of length 1 where the part does not depend on it."""
        table: Integers = getattr(self, name)
        ordered = table.transpose(np.argsort(self.columns))
        sizes = dict(zip(self.columns, table.shape, strict=True))
        return ordered.reshape([sizes.get(column, 1) for column in columns])

    def lookup(self) -> Lookup:
        """Return the tables in the form that is read fast."""
        return Lookup(self.columns, self.macs.shape, {name: getattr(self, name) for name in METRICS})

    def rows_with(self, other: Part) -> int:
        """Return the entries that the tables of both parts joined would have."""
        sizes = dict(zip(self.columns + other.columns, self.macs.shape + other.macs.shape, strict=True))
        return math.prod(sizes.values())


class CostTable:
    """Costs of every subnet of a space as array look-ups: sums over parts, and a maximum for memory.

    The tables are counted on the plain blocks themselves (:func:`nasvit.cost_table`), so they are exact.

    Args:
        parts: the parts in order.
        genes: columns that a population must have.

    Raises:
        ValueError: if the largest subnet costs more than whole numbers of 64 bits can say.
    """

    def __init__(self, parts: Sequence[Part], genes: int) -> None:
        self.parts = tuple(parts)
        self._require_countable()
        self.genes = genes
        self._lookups = [part.lookup() for part in _joined(self.parts)]

    def _require_countable(self) -> None:
        for name in METRICS:
            if sum(int(getattr(part, name).max()) for part in self.parts) > LARGEST:
                raise ValueError(f"the largest subnets have more than {LARGEST:g} {name}; give smaller choices")

    def macs(self, population: Codes) -> Integers:
        """Return the multiply-adds of one image, shape ``(n,)``."""
        return self.costs(population, ("macs",))["macs"]

    def params(self, population: Codes) -> Integers:
        """Return the parameters, shape ``(n,)``."""
        return self.costs(population, ("params",))["params"]

    def memory(self, population: Codes) -> Integers:
        """Return the most bytes of activations alive at once (float32, batch size 1), shape ``(n,)``."""
        return self.costs(population, ("memory",))["memory"]

    def int8_size(self, population: Codes) -> Integers:
        """Return the bytes of the parameters where weights are integers of 8 bits, shape ``(n,)``."""
        return self.costs(population, ("int8_size",))["int8_size"]

    def costs(self, population: Codes, metrics: Sequence[str] = tuple(METRICS)) -> dict[str, Integers]:
        """Return several of them by name, for the work of hardly more than one.

        Args:
            population: legal candidates ``(n, genes)``; fastest stored column by column, as ``Genome.sample`` does.
            metrics: names of :data:`METRICS`.

        Raises:
            ValueError: if the population has another shape or is not of unsigned bytes.
        """
        if population.ndim != 2 or population.shape[1] != self.genes or population.dtype != np.uint8:
            raise ValueError(
                f"a population of shape (n, {self.genes}) is needed, got {population.shape}"
                f" of {population.dtype} (legal: uint8)"
            )
        found = {name: np.empty(len(population), dtype=np.int64) for name in metrics}
        scratch = Scratch(min(len(population), _CHUNK))
        for start in range(0, len(population), _CHUNK):
            columns = population[start : start + _CHUNK].T
            if columns.strides[1] != 1:
                columns = np.ascontiguousarray(columns)
            if columns.shape[1] < len(scratch.flat):
                scratch = Scratch(columns.shape[1])
            self._look_up(columns, {name: costs[start : start + _CHUNK] for name, costs in found.items()}, scratch)
        return found

    def _look_up(self, columns: Codes, found: dict[str, Integers], scratch: Scratch) -> None:
        """Write the costs of a transposed population ``(genes, n)`` into ``found``."""
        for number, lookup in enumerate(self._lookups):
            flat = lookup.index(columns, scratch)
            for name, total in found.items():
                # No index is out of range; "clip" only spares numpy the copy that "raise" makes.
                if number == 0:
                    np.take(lookup.tables[name], flat, out=total, mode="clip")
                else:
                    np.take(lookup.tables[name], flat, out=scratch.cost, mode="clip")
                    METRICS[name](total, scratch.cost, out=total)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Return fewer, larger parts of equal cost: neighbors share genes, and every look-up saved is time saved."""
    joined = list(parts[:1])
    for part in parts[1:]:
        if joined[-1].rows_with(part) <= _ROWS:
            joined[-1] = joined[-1].join(part)
        else:
            joined.append(part)
    return joined
