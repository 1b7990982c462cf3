"""A Gaussian process over codes whose noise and relevances are learned from the scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

from predictors.anova_kernel import AnovaKernel, Inputs
from predictors.arrays import Codes, Floats, Proxies, as_codes
from predictors.base import CodePredictor, Matrix, TargetKind, one_thread
from predictors.features import one_hot
from search_spaces.genome import Genome

NOISE_PRIOR = (float(np.log(0.05)), 1.5)
JITTER = 1e-6
CHUNK = 1024


class GaussianProcess(CodePredictor):
    """Gaussian process with additive, pairwise and full interactions of genes, and free proxies.

    Kernel parameters and the noise of one evaluation maximize the posterior (marginal likelihood times priors), so the
    mean smooths repeated and noisy trainings instead of interpolating them. A second ``fit`` starts from the
    parameters of the first.

    Args:
        genome: the decisions that codes index.
        proxies: free features of codes, standardized on what is fitted.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        first_steps: optimizer steps of the first fit.
        next_steps: optimizer steps of later fits.
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        first_steps: int = 40,
        next_steps: int = 12,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.first_steps = first_steps
        self.next_steps = next_steps
        self._theta: Matrix | None = None
        self.noise = float("nan")
        """Standard deviation of one evaluation, in units of the standardized, transformed scores."""

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        self._train = self._inputs(codes, np.float64, fit=True)
        self._kernel = AnovaKernel(self.genome.cards, self.genome.ordinal, self._train.proxies.shape[1])
        self._maximize(outcome)
        self._condition(outcome)

    def _inputs(self, codes: Codes, dtype: type[np.floating], fit: bool = False) -> Inputs:
        proxies = self.proxies.fit(codes) if fit else self.proxies.apply(codes)
        return Inputs(one_hot(self.genome.cards, codes, dtype), proxies.astype(dtype))

    def _maximize(self, outcome: Matrix) -> None:
        """Find the kernel parameters and the noise of largest posterior density."""
        mean, deviation = self._kernel.prior
        mean, deviation = np.append(mean, NOISE_PRIOR[0]), np.append(deviation, NOISE_PRIOR[1])
        warm = self._theta is not None and self._theta.shape == mean.shape
        start = self._theta if warm and self._theta is not None else mean

        def loss(theta: Matrix) -> tuple[float, Matrix]:
            value, slope = self._negative_evidence(theta, outcome)
            pull = (theta - mean) / deviation
            return value + 0.5 * float(pull @ pull), slope + pull / deviation

        steps = self.next_steps if warm else self.first_steps
        bounds = list(zip(mean - 4.0 * deviation, mean + 4.0 * deviation, strict=True))
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
        self._theta = found.x
        self.noise = float(np.exp(0.5 * found.x[-1]))

    def _covariance(self, theta: Matrix) -> Matrix:
        matrix = self._kernel.matrix(theta[:-1], self._train, self._train) + 1.0
        matrix[np.diag_indices_from(matrix)] += np.exp(theta[-1]) + JITTER
        return matrix

    def _negative_evidence(self, theta: Matrix, outcome: Matrix) -> tuple[float, Matrix]:
        factor = linalg.cholesky(self._covariance(theta), lower=True, check_finite=False)
        inverse = linalg.lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ outcome
        value = 0.5 * float(outcome @ weights) + float(np.log(np.diag(factor)).sum())
        upstream = 0.5 * (inverse - np.outer(weights, weights))
        slope = self._kernel.gradient(theta[:-1], self._train, upstream)
        return value, np.append(slope, np.exp(theta[-1]) * np.trace(upstream))

    def _condition(self, outcome: Matrix) -> None:
        assert self._theta is not None
        self._factor = linalg.cholesky(self._covariance(self._theta), lower=True, check_finite=False)
        self._weights = linalg.cho_solve((self._factor, True), outcome)
        inverse = linalg.solve_triangular(self._factor, np.eye(len(outcome)), lower=True)
        self._whiten = inverse.T.astype(np.float32)
        self._left_out = self._weights / (inverse**2).sum(axis=0)
        self._train32 = Inputs(self._train.one_hot.astype(np.float32), self._train.proxies.astype(np.float32))

    def left_out_error(self) -> float:
        """Return the mean squared error of leaving one candidate out, at the parameters learned from all."""
        return float((self._left_out**2).mean())

    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        parts = [self._latent_chunk(codes[i : i + CHUNK]) for i in range(0, max(len(codes), 1), CHUNK)]
        mean = np.concatenate([part[0] for part in parts])
        spread = np.concatenate([part[1] for part in parts])
        return mean, spread

    def _latent_chunk(self, codes: Codes) -> tuple[Floats, Floats]:
        assert self._theta is not None
        theta = self._theta[:-1]
        inputs = self._inputs(codes, np.float32)
        cross = self._kernel.matrix(theta, inputs, self._train32) + np.float32(1.0)
        mean = cross.astype(np.float64) @ self._weights
        explained = ((cross @ self._whiten) ** 2).sum(1)
        variance = self._kernel.diagonal(theta, inputs) + 1.0 - explained
        return mean, np.sqrt(np.maximum(variance, 1e-8))

    def draw(self, codes: ArrayLike, count: int, rng: np.random.Generator) -> Floats:
        """Return ``count`` functions drawn from the posterior at ``codes`` ``(n, d)``, ``(count, n)``.

        They are in units of the transformed scores (only their order matters to who asks for them). Memory and time
        grow with n squared and cubed: meant for shortlists.
        """
        if self.target is None:
            raise RuntimeError("GaussianProcess has not been fitted; call fit(codes, scores) first")
        with one_thread():
            drawn = self._draw(as_codes(codes), count, rng)
        return drawn * self._scale + self._offset

    def _draw(self, codes: Codes, count: int, rng: np.random.Generator) -> Matrix:
        assert self._theta is not None
        inputs = self._inputs(codes, np.float64)
        cross = self._kernel.matrix(self._theta[:-1], inputs, self._train) + 1.0
        explained = linalg.solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        covariance = self._kernel.matrix(self._theta[:-1], inputs, inputs) + 1.0 - explained.T @ explained
        covariance[np.diag_indices_from(covariance)] += 1e-5
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        drawn: Matrix = cross @ self._weights + (factor @ rng.standard_normal((len(codes), count))).T
        return drawn
