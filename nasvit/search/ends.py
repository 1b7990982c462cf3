"""The largest and the smallest subnet within limits, in the place of the ends of the whole space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nasvit.search.candidates import Candidates
from predictors.arrays import Codes, Mask
from predictors.limits import Limit
from search_spaces import Genome, Subnet

_GOLDEN = (5**0.5 - 1) / 2  # multiples of it, without the whole part, lie as evenly as possible however many there are
_SCALES = 201

Row = NDArray[np.uint8]


def largest_within(candidates: Candidates, budgets: Sequence[Sequence[Limit]], pools: Sequence[Codes]) -> Subnet:
    """Return a subnet that holds as much as the limits allow, with every decision about equally far up its choices.

    All decisions rise together until a limit is met; where a decision has few choices, so that all would rise at once,
    they take turns, spread evenly over the network. What is then left of the limits is used up decision by decision.
    Of several budgets' largest subnets it is the one of most multiply-adds.

    Args:
        candidates: architectures with their costs.
        budgets: sets of limits.
        pools: candidates within each of them.
    """
    found = [
        _moved(candidates, _scaled(candidates, limits, pool), limits, up=True)
        for limits, pool in zip(budgets, pools, strict=True)
    ]
    return _end(candidates, np.stack(found), np.argmax)


def smallest_within(candidates: Candidates, budgets: Sequence[Sequence[Limit]], pools: Sequence[Codes]) -> Subnet:
    """Return the smallest subnet of the space, or, where no limit allows it, one of which no decision can be smaller.

    Of several budgets' smallest subnets it is the one of fewest multiply-adds. Arguments as in :func:`largest_within`.
    """
    smallest = candidates.smallest_and_largest[:1]
    if any(candidates.constraint(limits).allowed(smallest)[0] for limits in budgets):
        return candidates.space.smallest
    found = [
        _moved(candidates, pool[np.argmin(candidates.costs(pool)["macs"])], limits, up=False)
        for limits, pool in zip(budgets, pools, strict=True)
    ]
    return _end(candidates, np.stack(found), np.argmin)


def _end(candidates: Candidates, rows: Codes, choose: Callable[..., np.intp]) -> Subnet:
    rows = candidates.genome.canonical(rows)
    (found,) = candidates.decode(rows[[choose(candidates.costs(rows)["macs"])]])
    return found.architecture


def _scaled(candidates: Candidates, limits: Sequence[Limit], pool: Codes) -> Row:
    """Return the most of the subnets in which all decisions stand equally far up; else the most there is in the pool.

    Every decision is rounded at a point of its own, spread evenly, so that half of those with two choices are up at
    the half.
    """
    genome = candidates.genome
    shares = np.linspace(1, 0, _SCALES)[:, None]
    offsets = (_GOLDEN * np.arange(1, len(genome) + 1)) % 1
    levels = np.minimum(np.floor(shares * (genome.cards - 1) + offsets * (shares < 1)), genome.cards - 1)
    rows = _rows(genome, levels.astype(np.uint8))
    within = np.flatnonzero(_allowed(candidates, rows, limits))
    return np.asarray(rows[within[0]] if len(within) else pool[np.argmax(candidates.costs(pool)["macs"])])


def _moved(candidates: Candidates, row: Row, limits: Sequence[Limit], *, up: bool) -> Row:
    """Move one decision after the other by one choice, the one farthest behind first, as long as the limits hold."""
    genome = candidates.genome
    row = _with_idle_lowest(genome, row)
    while True:
        (levels,) = _rows(genome, row[None]).astype(np.int64)
        last = genome.cards - 1
        free = genome.active(row[None])[0] & (levels < last if up else levels > 0)
        behind = (levels if up else last - levels) / last
        columns = [column for column in np.argsort(behind, kind="stable") if free[column]]
        moved = np.repeat(levels[None], len(columns), axis=0)
        moved[np.arange(len(columns)), columns] += 1 if up else -1
        rows = _rows(genome, moved.astype(np.uint8))
        within = np.flatnonzero(_allowed(candidates, rows, limits))
        if not len(within):
            return row
        row = rows[within[0]]


def _rows(genome: Genome, levels: Codes) -> Codes:
    """Turn levels, 0 for the smallest choice of every decision, into codes, or codes into levels.

    They are the same but for attention windows, of which more are smaller.
    """
    falls = np.array([name.startswith("windows.") for name in genome.names])
    return np.where(falls, genome.cards.astype(np.uint8) - np.uint8(1) - levels, levels)


def _with_idle_lowest(genome: Genome, row: Row) -> Row:
    """Return the row with the smallest choice of every decision that does not count, for the case that it will."""
    lowest = _rows(genome, np.zeros((1, len(genome)), dtype=np.uint8))[0]
    return np.where(genome.active(row[None])[0], row, lowest)


def _allowed(candidates: Candidates, rows: Codes, limits: Sequence[Limit]) -> Mask:
    return candidates.constraint(limits).allowed(candidates.genome.canonical(rows))
