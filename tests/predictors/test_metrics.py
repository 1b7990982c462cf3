from __future__ import annotations

import numpy as np
import pytest

from predictors.metrics import kendall_tau, learning_curve, quality, spearman
from predictors.ridge import Ridge
from search_spaces.genome import Gene, Genome


def test_rank_correlations_of_equal_and_opposite_orders_are_one_and_minus_one() -> None:
    values = np.arange(10.0)
    assert kendall_tau(values, values**3) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)


def test_calibrated_normal_errors_count_as_calibrated() -> None:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 2.0, 20000)
    found = quality(np.zeros(20000), spread, spread * rng.standard_normal(20000))
    assert found.within_one_deviation == pytest.approx(0.683, abs=0.02)
    assert found.within_two_deviations == pytest.approx(0.954, abs=0.02)


def test_a_learning_curve_rises_and_leaves_out_sizes_that_leave_nothing_to_test_on() -> None:
    genome = Genome(tuple(Gene(f"w{index}", (0, 1, 2, 3)) for index in range(6)))
    codes = genome.sample(150, np.random.default_rng(0))
    scores = codes.sum(1) + np.random.default_rng(1).standard_normal(150)
    curve = learning_curve(lambda: Ridge(genome), codes, scores, (10, 100, 148), np.random.default_rng(2), splits=4)
    assert list(curve) == [10, 100]
    assert curve[100]["kendall_tau"] > curve[10]["kendall_tau"]
