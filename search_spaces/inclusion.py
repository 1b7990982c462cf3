"""A space inside a larger one: the rows of one as rows of the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.genome import Population
from search_spaces.protocol import SearchSpace


class Inclusion:
    """Turns populations of a space with fewer choices into those of the space that it was cut from.

    Args:
        inner: the space with fewer choices, see :meth:`search_spaces.Space.cut`.
        outer: the space that it was cut from.
    """

    def __init__(self, inner: SearchSpace, outer: SearchSpace) -> None:
        self.inner, self.outer, self._same = inner, outer, inner == outer
        self._columns = [self._column(gene.name, gene.values) for gene in outer.genome.genes]

    def __call__(self, population: Population) -> Population:
        """Return the same architectures, shape (candidates, genes of the outer space), stored column by column."""
        if self._same:
            return population
        columns = np.empty((len(self._columns), len(population)), dtype=np.uint8)
        for row, (column, index_of) in zip(columns, self._columns, strict=True):
            row[:] = index_of[0] if column is None else index_of[population[:, column]]
        return self.outer.canonical(columns.T)

    def _column(self, name: str, values: tuple[object, ...]) -> tuple[int | None, NDArray[np.uint8]]:
        """Return the inner column of an outer gene, if it is one, and the outer index of each of its inner values."""
        (left,) = (decision.values for decision in self.inner.decisions if decision.name == name)
        genome = self.inner.genome
        column = genome.column(name) if name in genome.names else None
        return column, np.array([values.index(value) for value in left], dtype=np.uint8)
