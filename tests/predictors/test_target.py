from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictors.target import Target

scores = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=40).map(lambda rows: np.array(rows))


@given(scores)
def test_the_transform_never_changes_the_order_above_its_floor(values: np.ndarray) -> None:
    bent = Target.choose(values).apply(values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(bent[order]) >= -1e-9).all()
    assert np.isfinite(bent).all()


@given(scores)
def test_restoring_returns_what_was_not_cut_at_the_floor(values: np.ndarray) -> None:
    target = Target.choose(values)
    bent = target.apply(values)
    restored, _ = target.restore(bent, np.zeros_like(bent))
    kept = bent > target.floor + 1e-9
    np.testing.assert_allclose(restored[kept], values[kept], rtol=1e-6, atol=1e-6)


def test_accuracies_with_a_long_lower_tail_get_a_bound_and_symmetric_scores_do_not() -> None:
    rng = np.random.default_rng(0)
    assert Target.choose(94.0 - np.exp(1.0 + 0.8 * rng.standard_normal(300))).bound is not None
    assert Target.choose(-np.exp(rng.standard_normal(300)) + np.exp(rng.standard_normal(300))).bound is None


def test_one_collapsed_training_does_not_rule_the_scale() -> None:
    values = np.append(90.0 + np.random.default_rng(0).random(50), 0.0)
    bent = Target.choose(values).apply(values)
    assert bent.min() > -8
