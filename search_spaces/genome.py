"""A population as a matrix: one row a candidate, one column a decision, every entry the index of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.values import MOST_VALUES

Population = NDArray[np.uint8]
"""Shape (candidates, genes), dtype uint8: entry [i, j] is an index into ``genome.genes[j].values``."""

_JOINT = 4096  # the most combinations of genes drawn as one number: at most one draw in sixteen is out of range
_CHUNK = 65_536  # rows drawn at once, enough that the time is spent in loops, few enough for the cache


@dataclass(frozen=True)
class Gene:
    """One decision with at least two values.

    Args:
        name: what is decided, for example ``"depth.mb4"``.
        values: the legal values, ascending when they have an order.
        ordinal: True if neighboring values are similar (numbers), False for names.
        recipe: True if the gene belongs to the training recipe, False if to the architecture.
        when: ``(parent gene, indices)``; the gene counts only where the parent has one of these value
            indices, and is 0 elsewhere. None: it always counts. The parent must always count.

    Raises:
        ValueError: fewer than 2 or more than 256 values, or a value twice.
    """

    name: str
    values: tuple[Any, ...]
    ordinal: bool = True
    recipe: bool = False
    when: tuple[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.values) <= MOST_VALUES:
            raise ValueError(f"gene {self.name!r} has {len(self.values)} values; legal: 2 to {MOST_VALUES}")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"gene {self.name!r} holds a value twice: {self.values}")


@dataclass(frozen=True)
class Genome:
    """The decisions of a search, in a fixed order, and the operations on whole populations of them.

    Every population that ``sample``, ``mutate``, ``crossover`` and ``neighbors`` return is canonical: a gene
    that does not count is 0, so equal candidates are equal rows.

    Args:
        genes: the decisions; each has at least two values.

    Raises:
        ValueError: two genes of one name, or a ``when`` that names no gene, or one that does not always count.
    """

    genes: tuple[Gene, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"gene names must differ: {self.names}")
        always = {gene.name for gene in self.genes if gene.when is None}
        for gene in self.genes:
            if gene.when is not None and gene.when[0] not in always:
                raise ValueError(f"gene {gene.name!r} depends on {gene.when[0]!r}; legal: {sorted(always)}")

    def __len__(self) -> int:
        return len(self.genes)

    def __add__(self, other: Genome) -> Genome:
        """Return the genome of this one's genes followed by the other's, for example architecture plus recipe."""
        return Genome(self.genes + other.genes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Gene names in column order."""
        return tuple(gene.name for gene in self.genes)

    @cached_property
    def cards(self) -> NDArray[np.int64]:
        """Number of values of every gene, shape (genes,)."""
        return np.array([len(gene.values) for gene in self.genes], dtype=np.int64)

    @cached_property
    def ordinal(self) -> NDArray[np.bool_]:
        """True where a gene's values have an order, shape (genes,)."""
        return np.array([gene.ordinal for gene in self.genes], dtype=bool)

    @cached_property
    def recipe(self) -> NDArray[np.bool_]:
        """True where a gene belongs to the recipe, shape (genes,)."""
        return np.array([gene.recipe for gene in self.genes], dtype=bool)

    @cached_property
    def size(self) -> int:
        """Number of different candidates (exact; genes that do not count add nothing)."""
        children: dict[str, list[tuple[tuple[int, ...], int]]] = {name: [] for name in self.names}
        for gene in self.genes:
            if gene.when is not None:
                children[gene.when[0]].append((gene.when[1], len(gene.values)))
        total = 1
        for gene in self.genes:
            if gene.when is None:
                dependents = children[gene.name]
                total *= sum(
                    math.prod(card for indices, card in dependents if index in indices)
                    for index in range(len(gene.values))
                )
        return total

    def column(self, name: str) -> int:
        """Return the column of a gene.

        Raises:
            ValueError: no gene has this name.
        """
        if name not in self.names:
            raise ValueError(f"no gene is called {name!r}; legal: {', '.join(self.names)}")
        return self.names.index(name)

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Return ``n`` random candidates; every gene is drawn uniformly and independently, without any bias.

        Neighboring genes are drawn together as one number, which is several times as fast as drawing gene by gene.
        The matrix is stored column by column (Fortran order), which suits code that reads one gene of all candidates.
        """
        columns = np.empty((len(self), n), dtype=np.uint8)
        for start in range(0, n, _CHUNK):
            self._draw(columns[:, start : start + _CHUNK], rng)
        return self._canonical_in_place(columns.T)

    def _draw(self, columns: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Fill ``columns``, shape (genes, candidates): the digits of random numbers, one number for several genes."""
        for first, stop in self._drawn_together:
            cards = self.cards[first:stop].astype(np.uint16)
            number = _multiples(int(cards.prod(dtype=np.int64)), columns.shape[1], rng)
            for column, card in zip(columns[first:stop], cards, strict=True):
                rest = number // card
                number -= rest * card
                column[:], number = number, rest

    def canonical(self, population: Population) -> Population:
        """Return a copy in which every gene that does not count is 0, so that equal candidates are equal rows."""
        return self._canonical_in_place(population.copy())

    def active(self, population: Population) -> NDArray[np.bool_]:
        """Return an array that is True where a gene counts, shape (candidates, genes)."""
        active = np.ones(population.shape, dtype=bool)
        for column, parent, counts in self._conditions:
            active[:, column] = counts[population[:, parent]]
        return active

    def check(self, population: NDArray[Any]) -> None:
        """Refuse a population that is not a matrix of value indices of this genome.

        Raises:
            ValueError: wrong dtype or shape, or an index out of range (named by row, gene and index).
        """
        if population.dtype != np.uint8 or population.ndim != 2 or population.shape[1] != len(self):
            raise ValueError(
                f"a population is a uint8 matrix of shape (candidates, {len(self)}); "
                f"this one is {population.dtype} of shape {population.shape}"
            )
        if (population.max(axis=0, initial=0) >= self.cards).any():
            row, column = np.argwhere(population >= self.cards)[0]
            gene = self.genes[column]
            raise ValueError(
                f"row {row}: gene {gene.name!r} has index {population[row, column]}; "
                f"legal: 0 to {len(gene.values) - 1} (values {gene.values})"
            )

    def one_hot(self, population: Population) -> NDArray[np.float32]:
        """Return one column for every value of every gene, 1 where chosen; shape (candidates, sum of cards)."""
        return one_hot(self.cards, population)

    def mutate(self, population: Population, rate: float, rng: np.random.Generator) -> Population:
        """Return a copy in which every gene has changed, with probability ``rate``, to a different value.

        The new value is uniform over the others. A changed gene that does not count in the result is 0 again.

        Raises:
            ValueError: ``rate`` is not from 0 to 1.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"mutation rate {rate} is not a probability; legal: 0 to 1")
        mutated = population.copy()
        rows, columns = np.nonzero(rng.random(population.shape) < rate)
        cards = self.cards[columns]
        mutated[rows, columns] = (population[rows, columns] + rng.integers(1, cards)) % cards
        return self._canonical_in_place(mutated)

    def crossover(self, first: Population, second: Population, rng: np.random.Generator) -> Population:
        """Return children of ``first[i]`` and ``second[i]``: every gene comes from either parent with equal chance.

        Raises:
            ValueError: the two populations differ in shape.
        """
        if first.shape != second.shape:
            raise ValueError(f"parents must pair up, but their shapes are {first.shape} and {second.shape}")
        from_first = rng.integers(0, 2, size=first.shape, dtype=np.uint8).astype(bool)
        return self._canonical_in_place(np.where(from_first, first, second))

    def neighbors(self, row: NDArray[np.uint8]) -> Population:
        """Return every candidate that differs from ``row``, shape (genes,), in exactly one gene that counts."""
        counts = self.active(row[None])[0]
        columns = np.repeat(np.arange(len(self)), np.where(counts, self.cards - 1, 0))
        shifts = np.concatenate([np.arange(1, card) for card in self.cards[counts]] or [np.empty(0, np.int64)])
        near = np.repeat(row[None], len(columns), axis=0)
        near[np.arange(len(columns)), columns] = (row[columns] + shifts) % self.cards[columns]
        return self._canonical_in_place(near)

    @cached_property
    def _drawn_together(self) -> list[tuple[int, int]]:
        """First column and end of every run of neighboring genes that one random number decides."""
        runs, first = [], 0
        while first < len(self):
            stop = first + 1
            while stop < len(self) and math.prod(self.cards[first : stop + 1].tolist()) <= _JOINT:
                stop += 1
            runs.append((first, stop))
            first = stop
        return runs

    @cached_property
    def _conditions(self) -> list[tuple[int, int, NDArray[np.bool_]]]:
        """(column, parent's column, whether the gene counts at each of the parent's value indices)."""
        conditions = []
        for column, gene in enumerate(self.genes):
            if gene.when is not None:
                parent = self.column(gene.when[0])
                conditions.append((column, parent, np.isin(np.arange(self.cards[parent]), gene.when[1])))
        return conditions

    def _canonical_in_place(self, population: Population) -> Population:
        for column, parent, counts in self._conditions:
            population[:, column] *= counts[population[:, parent]]
        return population


def _multiples(size: int, count: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return ``count`` random numbers, uniform below the largest multiple of ``size`` that 16 bits hold."""
    drawn = rng.integers(0, 2**64, -(-count // 4), dtype=np.uint64).view(np.uint16)[:count]
    end = 65_536 // size * size
    beyond = np.flatnonzero(drawn >= end) if end < 65_536 else np.empty(0, np.intp)
    while len(beyond):
        again = rng.integers(0, 65_536, len(beyond), dtype=np.uint16)
        drawn[beyond] = again
        beyond = beyond[again >= end]
    return drawn


def one_hot(
    cards: NDArray[np.int64], population: Population, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """Return one column for every value of every gene, 1 where it is chosen.

    Args:
        cards: number of values of each gene, shape (genes,).
        population: shape (candidates, genes).
        dtype: type of the result.

    Returns:
        Shape (candidates, sum of cards).
    """
    width = int(cards.sum())
    encoded = np.zeros((len(population), width), dtype=dtype)
    rows = np.arange(0, encoded.size, width)[:, None] if width else np.zeros((len(population), 1), np.int64)
    encoded.reshape(-1)[rows + (np.cumsum(cards) - cards) + population] = 1
    return encoded
