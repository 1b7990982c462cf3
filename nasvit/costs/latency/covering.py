"""Few subnets that have every combination of choices that some part of a network depends on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.genome import Genome, Population

Combination = tuple[int, ...]
"""Indices of the chosen values of some genes."""

MOST = 512
"""Combinations of a part that are looked at one by one; of more, some are, and the others interpolated."""

DRAWN = 48
"""Subnets whose combinations these are, at each resolution: as many as decisions that a part depends on, and more."""

_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without their whole part, fill the range from 0 to 1 evenly, however many there are."""


def spread(genome: Genome, count: int, seed: int) -> Population:
    """Return random rows, of which each is small or large in all of its genes, so that they differ in what they cost.

    Uniform ones would all cost nearly the same where there are many genes.

    Args:
        genome: the genes.
        count: number of rows; the first ones are the same whatever it is.
        seed: seed of the draw.
    """
    rng = np.random.default_rng(seed)
    shares = (0.5 + np.arange(count) * _GOLDEN) % 1
    return np.stack([rng.binomial(genome.cards - 1, share) for share in shares]).astype(np.uint8)


def examples(genome: Genome) -> Population:
    """Return the rows that parts with too many combinations are looked at in, the smallest and the largest included."""
    rows = spread(genome, DRAWN, seed=0)
    rows[0], rows[1] = 0, genome.cards - 1
    if genome.names[:1] != ("resolution",):
        return rows
    rows = np.tile(rows, (len(genome.genes[0].values), 1))
    rows[:, 0] = np.arange(len(rows)) // DRAWN
    return rows


def needed(columns: Sequence[int], cards: Sequence[int], rows: Population) -> tuple[set[Combination], bool]:
    """Return the combinations of a part that are looked at, and whether these are all.

    Args:
        columns: the genes that the part depends on.
        cards: number of values of every gene.
        rows: where there are too many, those in these rows.
    """
    own = [int(cards[column]) for column in columns]
    if math.prod(own) <= MOST:
        return set(itertools.product(*map(range, own))), True
    return {tuple(row[list(columns)].tolist()) for row in rows}, False


def covering(
    columns: Mapping[str, tuple[int, ...]], combinations: Mapping[str, set[Combination]], largest: NDArray[np.uint8]
) -> Population:
    """Return rows that together have every combination of every part; what no part asks for is as in the largest.

    Args:
        columns: part -> the genes that it depends on.
        combinations: part -> combinations of these.
        largest: the row of the largest subnet, shape (genes,).
    """
    left = {part: sorted(each, reverse=True) for part, each in combinations.items()}
    rows = []
    while any(left.values()):
        row = np.full(len(largest), -1)
        for part in sorted(left, key=lambda each: -len(left[each])):
            place = list(columns[part])
            fitting = (each for each in left[part] if all(row[c] in (-1, v) for c, v in zip(place, each, strict=True)))
            chosen = next(fitting, None)
            if chosen is not None:
                row[place] = chosen
        row = np.where(row < 0, largest, row)
        for part, each in left.items():
            met = tuple(row[list(columns[part])].tolist())
            left[part] = [combination for combination in each if combination != met]
        rows.append(row.astype(np.uint8))
    return np.array(rows, dtype=np.uint8).reshape(-1, len(largest))
