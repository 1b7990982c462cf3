from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from predictors.anova_kernel import AnovaKernel, Inputs
from predictors.features import one_hot
from predictors.gaussian_process import GaussianProcess
from search_spaces.genome import Gene, Genome

GENOME = Genome((Gene("a", (0, 1, 2, 3)), Gene("b", (0, 1, 2), ordinal=False), Gene("c", (0, 1))))


def inputs(count: int) -> Inputs:
    rng = np.random.default_rng(0)
    return Inputs(one_hot(GENOME.cards, GENOME.sample(count, rng), np.float64), rng.standard_normal((count, 2)))


def test_the_gradient_of_the_kernel_is_the_slope_of_its_matrix() -> None:
    kernel = AnovaKernel(GENOME.cards, GENOME.ordinal, 2)
    some, upstream = inputs(9), np.random.default_rng(1).standard_normal((9, 9))
    upstream = upstream + upstream.T
    theta = kernel.prior[0] + 0.1 * np.random.default_rng(2).standard_normal(kernel.size)
    numeric = approx_fprime(theta, lambda at: float((upstream * kernel.matrix(at, some, some)).sum()), 1e-7)
    np.testing.assert_allclose(kernel.differentiable(theta, some)[1](upstream), numeric, rtol=1e-4, atol=1e-4)


def test_the_diagonal_is_the_diagonal_of_the_matrix_and_the_matrix_is_a_covariance() -> None:
    kernel = AnovaKernel(GENOME.cards, GENOME.ordinal, 2)
    some = inputs(12)
    matrix = kernel.matrix(kernel.prior[0], some, some)
    np.testing.assert_allclose(kernel.diagonal(kernel.prior[0], some), np.diag(matrix), rtol=1e-10)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_a_belief_that_is_kept_up_to_date_is_that_of_conditioning_on_everything_at_once() -> None:
    genome = Genome(tuple(Gene(f"w{index}", (0, 1, 2, 3)) for index in range(4)))
    rng = np.random.default_rng(0)
    codes = genome.sample(30, rng)
    scores = codes.sum(1) + 0.3 * rng.standard_normal(30)
    pool = genome.sample(60, rng)
    pool[:5] = codes[20:25]  # some of what is observed is in the pool, some is not
    model = GaussianProcess(genome, target="identity").fit(codes[:20], scores[:20])
    belief = model.over(pool)
    np.testing.assert_allclose(belief.mean, model.believe(pool)[0], atol=1e-4)
    np.testing.assert_allclose(belief.spread, model.believe(pool)[1], atol=1e-3)
    belief.observe(codes[20:], scores[20:])
    model._train = model._inputs(codes, np.float64)
    model._condition(model._outcome_of(scores))  # the same kernel and scale
    np.testing.assert_allclose(belief.mean, model.believe(pool)[0], atol=1e-4)
    np.testing.assert_allclose(belief.spread, model.believe(pool)[1], atol=1e-3)
    drawn = belief.draw(np.arange(20), 4000, rng)
    np.testing.assert_allclose(drawn.mean(0), belief.mean[:20], atol=0.1)
    np.testing.assert_allclose(drawn.std(0), belief.spread[:20], rtol=0.1, atol=0.01)


def test_noise_is_learned_so_that_noisy_scores_are_smoothed() -> None:
    genome = Genome(tuple(Gene(f"w{index}", (0, 1, 2, 3)) for index in range(5)))
    rng = np.random.default_rng(0)
    codes = genome.sample(120, rng)
    truth = codes.sum(1).astype(float)
    noisy = truth + 2.0 * rng.standard_normal(len(codes))
    mean, _ = GaussianProcess(genome, target="identity").fit(codes, noisy).predict(codes)
    assert np.abs(mean - truth).mean() < 0.6 * np.abs(noisy - truth).mean()


def test_drawn_functions_scatter_around_the_mean_as_the_spread_says() -> None:
    genome = Genome(tuple(Gene(f"w{index}", (0, 1, 2, 3)) for index in range(4)))
    rng = np.random.default_rng(0)
    codes = genome.sample(30, rng)
    model = GaussianProcess(genome, target="identity").fit(codes, codes.sum(1).astype(float))
    held = genome.sample(25, rng)
    mean, spread = model.predict(held)
    drawn = model.draw(held, 4000, rng)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.1 * (spread.max() + 0.1))
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.2, atol=0.03)
    with pytest.raises(RuntimeError, match="call fit"):
        GaussianProcess(genome).draw(held, 1, rng)
