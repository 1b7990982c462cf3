"""Populations of one space as populations of a larger one that holds the same architectures."""

from __future__ import annotations

import numpy as np

from search_spaces.genome import Population
from search_spaces.space import Space


class Translation:
    """Rewrites rows of a space as rows of another space that holds their architectures, without decoding them.

    Args:
        source: the space of the rows, such as one that was cut to what limits admit.
        target: a space with at least its choices.

    Raises:
        ValueError: if the source has another kind of network, or a choice that the target lacks.
    """

    def __init__(self, source: Space, target: Space) -> None:
        theirs = {decision.name: decision.values for decision in source.decisions}
        if theirs.keys() != {decision.name for decision in target.decisions}:
            raise ValueError(f"the spaces {source.name!r} and {target.name!r} have other decisions")
        self._target, self._columns = target, []
        for gene in target.genome.genes:
            places = {value: place for place, value in enumerate(gene.values)}
            missing = [value for value in theirs[gene.name] if value not in places]
            if missing:
                raise ValueError(f"{gene.name} may be {missing[0]} in {source.name!r}, but not in {target.name!r}")
            column = source.genome.column(gene.name) if gene.name in source.genome.names else None
            self._columns.append((column, np.array([places[value] for value in theirs[gene.name]], dtype=np.uint8)))

    def __call__(self, population: Population) -> Population:
        """Return the same architectures as canonical rows of the target, ``(n, genes of the target)``."""
        rows = np.empty((len(population), len(self._columns)), dtype=np.uint8)
        for place, (column, index) in enumerate(self._columns):
            rows[:, place] = index[0] if column is None else index[population[:, column]]
        return self._target.genome.canonical(rows)
