"""Pools of candidates: all of them, quasi-random ones, and those that meet hard limits however few do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Floats, Mask
from search_spaces.genome import Genome

SPARSE = 0.02
"""Below this share of feasible random candidates, rejection gives way to repair and walking."""


def combinations(genome: Genome) -> int:
    """Return the number of code rows, counting rows that stand for the same candidate."""
    total = 1
    for card in genome.cards.tolist():
        total *= card
    return total


def enumerate_codes(genome: Genome) -> Codes:
    """Return every candidate of a small genome once, ``(size, d)``."""
    index = np.arange(combinations(genome))
    columns = np.unravel_index(index, tuple(genome.cards.tolist()))
    return distinct(genome.canonical(np.stack(columns, axis=1).astype(np.uint8)))


def sobol(genome: Genome, count: int, rng: np.random.Generator) -> Codes:
    """Return ``count`` quasi-random candidates: every value of every gene has its share, as exactly as it can."""
    from scipy.stats import qmc  # which takes a second

    power = max(int(np.ceil(np.log2(max(count, 1)))), 0)
    points = qmc.Sobol(len(genome), scramble=True, rng=rng).random_base2(power)[:count]
    codes = np.minimum((points * genome.cards).astype(np.int64), genome.cards - 1).astype(np.uint8)
    return np.asarray(genome.canonical(codes), dtype=np.uint8)


@cache
def _multipliers(columns: int) -> NDArray[np.uint64]:
    drawn = np.random.default_rng(20200406).integers(1, 2**63, columns, dtype=np.uint64)
    return drawn * np.uint64(2) + np.uint64(1)


def row_hashes(codes: Codes) -> NDArray[np.uint64]:
    """Return one 64-bit number per row; equal rows have equal numbers, and different rows (nearly) never do."""
    mixed = (codes.astype(np.uint64) + np.uint64(1)) * _multipliers(codes.shape[1])
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed.sum(1, dtype=np.uint64))


def distinct(codes: Codes) -> Codes:
    """Return the rows of ``codes`` without repetitions, in the order of their first occurrence."""
    _, first = np.unique(row_hashes(codes), return_index=True)
    return codes[np.sort(first)]


@dataclass(frozen=True)
class Constraint:
    """Which candidates may be proposed.

    Args:
        genome: the decisions.
        feasible: codes ``(n, d)`` -> mask ``(n,)``; None allows all.
        violation: codes -> how far each is from feasible (0 where it is); lets infeasible rows be repaired quickly.
        canonical: codes -> codes with one form for every network; None: every row is a network of its own.
        anchors: candidates known to be feasible, ``(m, d)``: where walks may start.
        members: the only candidates there are, ``(m, d)``; None: every combination of values.
    """

    genome: Genome
    feasible: Callable[[Codes], Mask] | None = None
    violation: Callable[[Codes], Floats] | None = None
    canonical: Callable[[Codes], Codes] | None = None
    anchors: Codes | None = None
    members: Codes | None = None

    def listed(self, most: int) -> Codes | None:
        """Return every feasible candidate where they can be listed: ``members``, or up to ``most`` combinations.

        Raises:
            ValueError: if they can be listed and none is feasible.
        """
        if self.members is None and combinations(self.genome) > most:
            return None
        found = self.clean(enumerate_codes(self.genome) if self.members is None else self.members)
        if not len(found):
            raise ValueError("no candidate meets the limits: every candidate of the space was checked")
        return found

    def allowed(self, codes: Codes) -> Mask:
        """Return which rows are feasible."""
        if not len(codes):
            return np.zeros(0, dtype=bool)
        if self.feasible is not None:
            return np.asarray(self.feasible(codes), dtype=bool)
        if self.violation is not None:
            return np.asarray(self.violation(codes)) <= 0
        return np.ones(len(codes), dtype=bool)

    def clean(self, codes: Codes) -> Codes:
        """Return the feasible rows in canonical form, each once."""
        rows = codes if self.canonical is None else np.asarray(self.canonical(codes), dtype=np.uint8)
        rows = distinct(rows)
        return rows[self.allowed(rows)]

    def sample(self, count: int, rng: np.random.Generator) -> Codes:
        """Return up to ``count`` distinct feasible candidates, quasi-random where feasible ones are common.

        Fewer are returned only where so many cannot be found: the work done is bounded.

        Raises:
            ValueError: if not one feasible candidate is found.
        """
        found = self._by_rejection(count, rng)
        if len(found) >= count:
            return found[:count]
        seeds = found if len(found) else self._seeds(rng)
        if not len(seeds):
            raise ValueError(
                "no candidate meets the limits: none of 8192 random candidates, none reached by changing them towards "
                "the limits, neither the smallest nor the largest; loosen a limit (predictors.limits names the "
                "closest feasible value)"
            )
        return self._by_walking(seeds, count, rng)

    def _by_rejection(self, count: int, rng: np.random.Generator) -> Codes:
        found, drawn = self.clean(sobol(self.genome, max(4 * count, 1024), rng)), max(4 * count, 1024)
        while len(found) < count and SPARSE * drawn <= len(found) and drawn < 200 * count:
            found = distinct(np.concatenate([found, self.clean(self.genome.sample(drawn, rng))]))
            drawn *= 2
        return found[rng.permutation(len(found))] if len(found) > count else found

    def _seeds(self, rng: np.random.Generator) -> Codes:
        """Return feasible candidates found by random draws, corners, and repair."""
        corners = np.stack([np.zeros(len(self.genome), np.uint8), (self.genome.cards - 1).astype(np.uint8)])
        tries = [self.genome.canonical(corners), self.genome.sample(8192, rng)]
        if self.anchors is not None:
            tries.append(self.anchors)
        found = self.clean(np.concatenate(tries))
        if self.violation is not None and len(found) < 64:
            repaired = self.repair(self.genome.sample(512, rng), rng)
            found = distinct(np.concatenate([found, self.clean(repaired)]))
        return found

    def repair(self, codes: Codes, rng: np.random.Generator, rounds: int = 400) -> Codes:
        """Return ``codes`` with single genes changed, at random, wherever that lowers the violation.

        Rows may still be infeasible after ``rounds`` changes were tried. Without ``violation`` nothing is changed.
        """
        rows = codes.copy()
        if self.violation is None:
            return rows
        violation = np.asarray(self.violation(rows), dtype=np.float64)
        for _ in range(rounds):
            broken = np.flatnonzero(violation > 0)
            if not len(broken):
                break
            proposed = self._change_one(rows[broken], rng)
            amount = np.asarray(self.violation(proposed), dtype=np.float64)
            better = amount <= violation[broken]
            rows[broken[better]], violation[broken[better]] = proposed[better], amount[better]
        return rows

    def _change_one(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """Return ``codes`` with one random gene of each row set to a different random value."""
        changed = codes.copy()
        row, gene = np.arange(len(codes)), rng.integers(0, len(self.genome), len(codes))
        cards = self.genome.cards[gene]
        changed[row, gene] = (changed[row, gene] + rng.integers(1, cards)) % cards
        return np.asarray(self.genome.canonical(changed), dtype=np.uint8)

    def _by_walking(self, seeds: Codes, count: int, rng: np.random.Generator) -> Codes:
        """Return candidates met on random walks inside the feasible set (uniform in the long run)."""
        current = seeds[rng.integers(0, len(seeds), max(min(count, 2048), 64))]
        kept = [self.clean(seeds)]
        steps = 12 * len(self.genome)
        for step in range(1, steps + 1):
            proposed = self._change_one(current, rng)
            moved = self.allowed(proposed)
            current = np.where(moved[:, None], proposed, current)
            if step % len(self.genome) == 0:
                kept.append(self.clean(current))
        late_first = distinct(np.concatenate(kept[::-1]))
        return late_first[:count]
