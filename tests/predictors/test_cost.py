"""Look-ups of costs; that the tables themselves are right is tested with the networks they were counted on."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.cost import METRICS, CostTable, Part

CARDS = (3, 2, 200, 4, 7, 2, 100, 30, 5)


def part(*columns: int) -> Part:
    rng = np.random.default_rng(columns)
    shape = [CARDS[column] for column in columns]
    return Part(columns, *(rng.integers(1, 2**40, shape) for _ in METRICS))


# Of one gene, of genes out of order, of none; parts that join, and one too large for 16 bits.
PARTS = (part(0), part(3, 0, 1), part(), part(2, 4, 0), part(4, 5, 3), part(6, 7, 8, 0), part(8, 2))


def population(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CARDS, (rows, len(CARDS))).astype(np.uint8)


@pytest.mark.parametrize("rows", [0, 1, 40_000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_look_up_is_the_sum_or_maximum_over_parts_however_the_population_is_stored(rows: int, order: str) -> None:
    codes = population(rows)
    costs = CostTable(PARTS, len(CARDS)).costs(np.asarray(codes, order=order))
    for name, combine in METRICS.items():
        each = [getattr(one, name)[tuple(codes[:, column] for column in one.columns)] for one in PARTS]
        np.testing.assert_array_equal(costs[name], combine.reduce(np.array(np.broadcast_arrays(*each))))
        assert costs[name].dtype == np.int64


def test_parts_that_share_genes_are_joined_into_fewer_look_ups() -> None:
    joined = part(0).join(part(3, 0, 1))
    assert joined.columns == (0, 1, 3)
    assert joined.macs[2, 1, 3] == part(0).macs[2] + part(3, 0, 1).macs[3, 2, 1]
    assert joined.memory[2, 1, 3] == max(part(0).memory[2], part(3, 0, 1).memory[3, 2, 1])


@pytest.mark.parametrize("wrong", [population(3)[:, :4], population(3).astype(np.int64), population(3)[0]])
def test_what_is_no_population_of_the_table_is_refused_in_words(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a population of shape \(n, 9\) is needed, .*uint8"):
        CostTable(PARTS, len(CARDS)).macs(wrong)
