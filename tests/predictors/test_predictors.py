"""What every accuracy predictor must do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from predictors.arrays import Codes
from predictors.ensemble import KINDS, Ensemble, make_predictor
from predictors.metrics import kendall_tau
from search_spaces.genome import Gene, Genome

GENOME = Genome(
    tuple(Gene(f"width{index}", (1, 2, 3, 4)) for index in range(4))
    + (Gene("kind", ("a", "b", "c"), ordinal=False), Gene("rate", (0.1, 0.2, 0.3, 0.4, 0.5), recipe=True))
)
NAMES = [*KINDS, "ensemble"]


def truth(codes: Codes) -> np.ndarray:
    """A bounded score with a long lower tail, an interaction, and a best rate in the middle."""
    levels = codes.astype(float)
    gap = 1.5 - 0.2 * levels[:, :4].sum(1) / 4 + 0.3 * (codes[:, 4] == 2) * levels[:, 0] / 3
    return 100.0 - 10.0 * np.exp(gap - 1.0 + 0.15 * (levels[:, 5] - 2) ** 2)


def proxies(codes: Codes) -> np.ndarray:
    return np.log(1.0 + codes[:, :4].sum(1, keepdims=True, dtype=float))


@pytest.fixture(scope="module")
def data() -> tuple[Codes, np.ndarray]:
    codes = GENOME.sample(90, np.random.default_rng(0))
    return codes, truth(codes) + 0.3 * np.random.default_rng(1).standard_normal(len(codes))


@pytest.mark.parametrize("name", NAMES)
def test_a_predictor_ranks_candidates_it_never_saw(name: str, data: tuple[Codes, np.ndarray]) -> None:
    mean, spread = (
        make_predictor(name, GENOME, proxies).fit(*data).predict(GENOME.sample(300, np.random.default_rng(2)))
    )
    held = GENOME.sample(300, np.random.default_rng(2))
    assert kendall_tau(mean, truth(held)) > 0.5
    assert mean.shape == spread.shape == (300,)
    assert np.isfinite(mean).all()
    assert (spread > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_fitting_the_same_again_predicts_the_same(name: str, data: tuple[Codes, np.ndarray]) -> None:
    held = GENOME.sample(20, np.random.default_rng(3))
    first = make_predictor(name, GENOME, proxies).fit(*data).predict(held)
    second = make_predictor(name, GENOME, proxies).fit(*data).predict(held)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_predictor_works_without_proxies_and_from_very_few_equal_scores(name: str) -> None:
    codes = GENOME.sample(3, np.random.default_rng(0))
    mean, spread = make_predictor(name, GENOME).fit(codes, [90.0, 90.0, 90.0]).predict(codes)
    np.testing.assert_allclose(mean, 90.0, atol=1e-3)
    assert np.isfinite(spread).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_does_not_depend_on_how_candidates_are_batched(name: str, data: tuple[Codes, np.ndarray]) -> None:
    model = make_predictor(name, GENOME, proxies).fit(*data)
    held = GENOME.sample(40, np.random.default_rng(4))
    parts = np.concatenate([model.predict(held[:7])[0], model.predict(held[7:])[0]])
    np.testing.assert_allclose(model.predict(held)[0], parts, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_belief_orders_candidates_as_the_scores_do_and_is_not_squeezed_by_their_bound(
    name: str, data: tuple[Codes, np.ndarray]
) -> None:
    model = make_predictor(name, GENOME, proxies).fit(*data)
    held = GENOME.sample(200, np.random.default_rng(5))
    believed, spread = model.believe(held)
    assert kendall_tau(believed, model.predict(held)[0]) > 0.999
    best, worst = believed > np.quantile(believed, 0.9), believed < np.quantile(believed, 0.1)
    in_scores = model.predict(held)[1]
    assert spread[worst].mean() / spread[best].mean() < in_scores[worst].mean() / in_scores[best].mean()


@pytest.mark.parametrize("name", NAMES)
def test_repeated_candidates_with_different_scores_are_averaged_not_refused(
    name: str, data: tuple[Codes, np.ndarray]
) -> None:
    codes, scores = data
    twice = np.concatenate([codes, codes])
    mean, _ = (
        make_predictor(name, GENOME, proxies).fit(twice, np.concatenate([scores + 0.5, scores - 0.5])).predict(codes)
    )
    assert kendall_tau(mean, scores) > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_predicting_before_fitting_is_refused_in_words(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(codes, scores\) first"):
        make_predictor(name, GENOME).predict(GENOME.sample(2, np.random.default_rng(0)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes, scores: (codes, scores[:-1]), "one per candidate"),
        (lambda codes, scores: (codes, np.where(np.arange(len(scores)) == 4, np.nan, scores)), r"scores\[4\] is nan"),
        (lambda codes, scores: (codes[0], scores), "two axes"),
        (lambda codes, scores: (codes + np.uint8(7), scores), "legal: 0 to"),
        (lambda codes, scores: (codes[:0], scores[:0]), "at least one"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_words(
    name: str,
    change: Callable[[Codes, np.ndarray], tuple[Codes, np.ndarray]],
    message: str,
    data: tuple[Codes, np.ndarray],
) -> None:
    with pytest.raises(ValueError, match=message):
        make_predictor(name, GENOME).fit(*change(*data))


def test_an_ensemble_may_hold_every_kind() -> None:
    codes = GENOME.sample(40, np.random.default_rng(0))
    model = Ensemble(GENOME, proxies, kinds=tuple(KINDS)).fit(codes, truth(codes))
    assert model.weights.sum() == pytest.approx(1)
    assert kendall_tau(model.predict(codes)[0], truth(codes)) > 0.7


def test_an_unknown_predictor_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="legal: ensemble, gaussian_process"):
        make_predictor("forest", GENOME)
    with pytest.raises(ValueError, match="legal: one or more of gaussian_process"):
        Ensemble(GENOME, kinds=("forest",))


def test_the_ensemble_gives_a_member_that_fits_badly_little_weight() -> None:
    rng = np.random.default_rng(0)
    genome = Genome(tuple(Gene(f"rate{index}", tuple(range(10))) for index in range(3)))
    codes = genome.sample(80, rng)
    scores = -((codes.astype(float) - [2, 5, 7]) ** 2).sum(1)
    model = Ensemble(genome, kinds=("gaussian_process", "ridge")).fit(codes, scores)
    assert model.weights[0] > 0.8  # the ridge does not know that neighboring values are alike


def test_importing_predictors_does_not_import_torch() -> None:
    code = "import sys, predictors.ensemble, predictors.pool, predictors.limits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
