from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.arrays import Codes
from predictors.pool import Constraint, distinct, enumerate_codes, row_hashes, sobol
from search_spaces.genome import Gene, Genome

WIDE = Genome(tuple(Gene(f"g{index}", tuple(range(6))) for index in range(30)))


def excess(codes: Codes) -> np.ndarray:
    """How far the sum of all genes is above 30; a uniform sample has 75 +- 9, so none in a million is feasible."""
    return np.maximum(codes.sum(1, dtype=float) - 30.0, 0.0)


def test_every_candidate_of_a_small_genome_is_listed_once() -> None:
    genome = Genome((Gene("kind", ("sgd", "adam")), Gene("momentum", (0.8, 0.9, 0.99), when=("kind", (0,)))))
    assert len(enumerate_codes(genome)) == genome.size == 4


@given(st.integers(1, 300), st.integers(0, 5))
def test_quasi_random_candidates_hold_every_value_in_its_share(count: int, seed: int) -> None:
    genome = Genome((Gene("a", (0, 1)), Gene("b", (0, 1, 2, 3))))
    codes = sobol(genome, count, np.random.default_rng(seed))
    genome.check(codes)
    assert codes.shape == (count, 2)
    assert abs((codes[:, 0] == 0).mean() - 0.5) <= 4 / count + 0.02


def test_equal_rows_have_equal_hashes_and_different_rows_different_ones() -> None:
    codes = WIDE.sample(20000, np.random.default_rng(0))
    assert len(np.unique(row_hashes(codes))) == len(np.unique(codes, axis=0))
    np.testing.assert_array_equal(row_hashes(codes[:5]), row_hashes(codes[:5].copy()))


def test_distinct_keeps_first_occurrences_in_order() -> None:
    codes = np.array([[3], [1], [3], [2], [1]], dtype=np.uint8)
    np.testing.assert_array_equal(distinct(codes)[:, 0], [3, 1, 2])


@pytest.mark.parametrize("with_violation", [True, False])
def test_a_pool_is_filled_where_uniform_sampling_finds_nothing(with_violation: bool) -> None:
    constraint = (
        Constraint(WIDE, violation=excess)
        if with_violation
        else Constraint(WIDE, feasible=lambda codes: excess(codes) <= 0)
    )
    pool = constraint.sample(1500, np.random.default_rng(0))
    assert len(pool) == len(distinct(pool)) == 1500
    assert (excess(pool) == 0).all()
    assert pool.std(0).min() > 0.1  # nothing is stuck at the smallest


def test_limits_that_nothing_meets_are_refused_after_bounded_work() -> None:
    with pytest.raises(ValueError, match="loosen a limit"):
        Constraint(WIDE, violation=lambda codes: excess(codes) + 1.0).sample(10, np.random.default_rng(0))


def test_a_range_around_a_rare_value_is_reached_by_repair() -> None:
    def outside(codes: Codes) -> np.ndarray:
        total = codes.sum(1, dtype=float)
        return np.maximum(total - 33, 0) + np.maximum(31 - total, 0)

    pool = Constraint(WIDE, violation=outside).sample(100, np.random.default_rng(0))
    assert len(pool) >= 50
    assert (outside(pool) == 0).all()


def test_one_network_is_sampled_in_one_form_only() -> None:
    genome = Genome(tuple(Gene(f"layer{index}", (0, 1, 2), ordinal=False) for index in range(6)))
    pool = Constraint(genome, canonical=lambda codes: np.sort(codes, axis=1)).sample(1000, np.random.default_rng(0))
    np.testing.assert_array_equal(pool, np.sort(pool, axis=1))
    assert len(pool) <= 28
