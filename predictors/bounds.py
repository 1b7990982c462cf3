"""What a limit leaves of every decision: the smallest and largest cost of any subnet with one value, exactly.

The cost of a subnet is a sum (or a maximum) of parts that depend on few genes each, and parts that are far apart share
almost none. So the least cost over all subnets is found by eliminating one gene after the other, as in dynamic
programming along the network, and never by listing subnets.

Source: Dechter, Bucket elimination: a unifying framework for reasoning (1999), section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from predictors.cost import METRICS, CostTable
from predictors.limits import Limit
from search_spaces.genome import Genome

Kept: TypeAlias = "list[NDArray[np.intp]]"
"""For every gene the indices of the values that are left, ascending."""

_ROUNDING = 1e-9  # sums of milliseconds depend on their order; a value at the limit is rather kept


@dataclass(frozen=True)
class Factor:
    """One part of a cost.

    Args:
        columns: the population columns of the genes that it depends on; :meth:`ordered` sorts them, as all else needs.
        table: its cost for every combination of them, one axis a gene.
    """

    columns: tuple[int, ...]
    table: NDArray[Any]

    def ordered(self) -> Factor:
        """Return the same with ascending columns."""
        return Factor(tuple(sorted(self.columns)), self.table.transpose(np.argsort(self.columns).astype(int)))

    def combined(self, other: Factor, combine: np.ufunc) -> Factor:
        """Return both as one, over the genes of either."""
        columns = tuple(sorted({*self.columns, *other.columns}))
        return Factor(columns, combine(self._spread(columns), other._spread(columns)))

    def best(self, columns: Iterable[int], pick: np.ufunc) -> Factor:
        """Return the least (or most) over all genes but ``columns``."""
        left = {*columns}
        axes = tuple(axis for axis, column in enumerate(self.columns) if column not in left)
        return Factor(tuple(column for column in self.columns if column in left), pick.reduce(self.table, axis=axes))

    def only(self, kept: Kept) -> Factor:
        """Return the table over the values that are left."""
        return Factor(self.columns, self.table[np.ix_(*(kept[column] for column in self.columns))])

    def _spread(self, columns: Sequence[int]) -> NDArray[Any]:
        sizes = dict(zip(self.columns, self.table.shape, strict=True))
        return self.table.reshape([sizes.get(column, 1) for column in columns])


@dataclass(frozen=True)
class Parts:
    """A cost of subnets as parts.

    Args:
        factors: the parts, in the order of the network: a gene should be shared by neighbors, or by all.
        combine: ``np.add`` or ``np.maximum``.
    """

    factors: tuple[Factor, ...]
    combine: np.ufunc = field(default=np.add)


def parts_of(table: CostTable) -> dict[str, Parts]:
    """Return the costs of a table by metric."""
    return {
        name: Parts(tuple(Factor(part.columns, getattr(part, name)).ordered() for part in table.parts), combine)
        for name, combine in METRICS.items()
    }


def everything(genome: Genome) -> Kept:
    """Return all values of all genes."""
    return [np.arange(card) for card in genome.cards.tolist()]


def span(parts: Parts, genome: Genome) -> tuple[float, float]:
    """Return the smallest and the largest cost of all subnets."""
    factors = [factor.only(everything(genome)) for factor in parts.factors]
    least, most = (_best_of_all(factors, parts.combine, pick) for pick in (np.minimum, np.maximum))
    return least, most


def outside_bounds(parts: Parts, column: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds of a sum over subnets, cheap wherever genes are shared: each part at its best, or its worst.

    Args:
        parts: the sum.
        column: a gene; None: none.

    Returns:
        No subnet costs less than the first or more than the second; of a gene, an entry for each of its values, or one
        for all of them if it costs nothing.
    """
    kept = [] if column is None else [column]
    least, most = np.zeros(()), np.zeros(())
    for factor in parts.factors:
        least = least + factor.best(kept, np.minimum).table
        most = most + factor.best(kept, np.maximum).table
    return least - _ROUNDING * np.abs(least), most + _ROUNDING * np.abs(most)


def admitted(genome: Genome, costs: Mapping[str, Parts], limits: Sequence[Limit]) -> Kept | None:
    """Return the values that some subnet within the limits can have.

    For an upper (or a lower) limit on one cost these are exactly those that such a subnet has. For a range, and for
    several costs, it is a superset: each end is looked at alone, again and again until nothing more can be left out.

    Args:
        genome: the decisions; a gene that depends on another one is looked at where it counts.
        costs: metric -> its parts.
        limits: all must hold.

    Returns:
        The values; a gene that no subnet within the limits needs keeps its first one. None if there is no such subnet.

    Raises:
        ValueError: if a limited metric is not among ``costs``.
    """
    kept = everything(genome)
    while True:
        narrowed = _narrowed(genome, costs, limits, kept)
        if narrowed is None or all(map(np.array_equal, narrowed, kept)):
            return narrowed
        kept = narrowed


def admitted_by_any(genome: Genome, costs: Mapping[str, Parts], budgets: Iterable[Sequence[Limit]]) -> Kept | None:
    """Return the values that some subnet within any of several sets of limits can have; see :func:`admitted`."""
    each = [kept for limits in budgets if (kept := admitted(genome, costs, limits)) is not None]
    return [reduce(np.union1d, values) for values in zip(*each, strict=True)] if each else None


def _narrowed(genome: Genome, costs: Mapping[str, Parts], limits: Sequence[Limit], kept: Kept) -> Kept | None:
    """Return what is left of ``kept`` when every end of every limit is looked at once."""
    allowed = [np.ones(len(values), dtype=bool) for values in kept]
    for limit in limits:
        limit.require_known(costs)
        if np.isfinite(limit.high):
            high = limit.high + _ROUNDING * abs(limit.high)
            least = _extremes(costs[limit.metric], genome, kept, np.minimum)
            allowed = [so_far & (costs_of <= high) for so_far, costs_of in zip(allowed, least, strict=True)]
        if np.isfinite(limit.low):
            low = limit.low - _ROUNDING * abs(limit.low)
            most = _extremes(costs[limit.metric], genome, kept, np.maximum)
            allowed = [so_far & (costs_of >= low) for so_far, costs_of in zip(allowed, most, strict=True)]
    if not all(mask.any() for gene, mask in zip(genome.genes, allowed, strict=True) if gene.when is None):
        return None
    return [values[mask] if mask.any() else values[:1] for values, mask in zip(kept, allowed, strict=True)]


def _extremes(parts: Parts, genome: Genome, kept: Kept, pick: np.ufunc) -> list[NDArray[np.float64]]:
    """Return, for every gene, the least (or most) cost of any subnet with each of its values.

    A value that no subnet has, as the gene never counts, costs the worst there is.
    """
    factors = [factor.only(kept) for factor in parts.factors]
    before = _messages(factors, parts.combine, pick)
    behind = _messages(factors[::-1], parts.combine, pick)[::-1]
    found: dict[int, NDArray[np.float64]] = {}
    for ahead, factor, after in zip(before, factors, behind, strict=True):
        whole = reduce(lambda one, other: one.combined(other, parts.combine), [factor, *ahead, *after])
        for column in whole.columns:
            if column not in found:
                found[column] = _where_it_counts(whole, column, genome, kept, pick)
    best = _best_of_all(factors, parts.combine, pick)  # of a gene that costs nothing
    return [found.get(column, np.full(len(values), best)) for column, values in enumerate(kept)]


def _messages(factors: Sequence[Factor], combine: np.ufunc, pick: np.ufunc) -> list[list[Factor]]:
    """Return, for every part, the best that all parts before it cost together, by the genes that come up again."""
    messages: list[list[Factor]] = [[]]
    for place, factor in enumerate(factors[:-1], start=1):
        needed = {column for later in factors[place:] for column in later.columns}
        so_far = reduce(lambda one, other: one.combined(other, combine), [factor, *messages[-1]])
        messages.append([so_far.best(needed, pick)])
    return messages


def _best_of_all(factors: Sequence[Factor], combine: np.ufunc, pick: np.ufunc) -> float:
    ahead = _messages(factors, combine, pick)[-1]
    return float(reduce(lambda one, other: one.combined(other, combine), [factors[-1], *ahead]).best([], pick).table)


def _where_it_counts(whole: Factor, column: int, genome: Genome, kept: Kept, pick: np.ufunc) -> NDArray[np.float64]:
    """Return the best cost at each value of a gene, over the subnets in which the gene counts."""
    when = genome.genes[column].when
    table = whole.table.astype(np.float64)
    if when is not None:
        parent = genome.column(when[0])
        counts = np.isin(kept[parent], when[1])
        axis = whole.columns.index(parent)  # a gene and the one it depends on are of one part
        worst = np.inf if pick is np.minimum else -np.inf
        table = np.where(counts.reshape([-1 if each == axis else 1 for each in range(table.ndim)]), table, worst)
    return np.asarray(Factor(whole.columns, table).best([column], pick).table)
