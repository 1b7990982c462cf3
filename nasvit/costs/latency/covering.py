"""Few subnets that have every combination of choices that some part of a network depends on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.genome import Population

Combination = tuple[int, ...]
"""Indices of the chosen values of some genes."""

MOST = 512
"""Combinations of a part that are looked at one by one; of more, some are, and the others interpolated."""

SAMPLED = 32
"""Combinations of such a part, at each resolution, besides one for every gene."""


def needed(cards: Sequence[int], exact: int, seed: int) -> tuple[set[Combination], bool]:
    """Return the combinations of a part that are looked at, and whether these are all.

    Args:
        cards: number of values of every gene that the part depends on.
        exact: how many of these genes, the first ones, have all of their combinations in any case.
        seed: seed of the draw where there are too many.
    """
    if np.prod(np.array(cards, dtype=np.float64)) <= MOST:
        return set(itertools.product(*map(range, cards))), True
    rng = np.random.default_rng(seed)
    drawn: set[Combination] = set()
    for first in itertools.product(*map(range, cards[:exact])):
        rest = [card - 1 for card in cards[exact:]]
        share = rng.random((SAMPLED + len(rest), 1))  # from small to large in all of them, as random ones are alike
        rows = rng.binomial(rest, share)
        rows[0], rows[1] = 0, rest
        drawn |= {(*first, *row) for row in rows.tolist()}
    return drawn, False


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
