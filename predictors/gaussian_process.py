"""A Gaussian process over codes whose noise and relevances are learned from the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize

from predictors.anova_kernel import AnovaKernel, Inputs
from predictors.arrays import Codes, Floats, Proxies, as_codes
from predictors.base import CodePredictor, Matrix, TargetKind, one_thread
from predictors.features import one_hot
from search_spaces.genome import Genome

NOISE_PRIOR = (float(np.log(0.05)), 1.5)
JITTER = 1e-6
LEAST_VARIANCE = 1e-8
CHUNK = 1024


class GaussianProcess(CodePredictor):
    """Gaussian process with additive, pairwise and full interactions of genes, and free proxies.

    Kernel parameters and the noise of one evaluation maximize the posterior (marginal likelihood times priors), so the
    mean smooths repeated and noisy trainings instead of interpolating them.

    Args:
        genome: the decisions that codes index.
        proxies: free features of codes, standardized on what is fitted.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        steps: optimizer steps of a fit.
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        steps: int = 40,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.steps = steps
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
        start, deviation = self._prior()

        def loss(theta: Matrix) -> tuple[float, Matrix]:
            value, slope = self._negative_evidence(theta, outcome)
            pull = (theta - start) / deviation
            return value + 0.5 * float(pull @ pull), slope + pull / deviation

        bounds = list(zip(start - 4.0 * deviation, start + 4.0 * deviation, strict=True))
        found = optimize.minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": self.steps}
        )
        self._theta: Matrix = found.x
        self.noise = float(np.exp(0.5 * found.x[-1]))

    def _prior(self) -> tuple[Matrix, Matrix]:
        """Return means and standard deviations of the normal priors, the noise's last."""
        mean, deviation = self._kernel.prior
        return np.append(mean, NOISE_PRIOR[0]), np.append(deviation, NOISE_PRIOR[1])

    def _noisy(self, theta: Matrix, matrix: Matrix) -> Matrix:
        """Return the covariance of scores: the kernel's, that of the unknown mean, and the noise."""
        matrix = matrix + 1.0
        matrix[np.diag_indices_from(matrix)] += np.exp(theta[-1]) + JITTER
        return matrix

    def _negative_evidence(self, theta: Matrix, outcome: Matrix) -> tuple[float, Matrix]:
        matrix, gradient = self._kernel.differentiable(theta[:-1], self._train)
        factor = linalg.cholesky(self._noisy(theta, matrix), lower=True, overwrite_a=True, check_finite=False)
        inverse = linalg.lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weights = inverse @ outcome
        value = 0.5 * float(outcome @ weights) + float(np.log(np.diag(factor)).sum())
        upstream = 0.5 * (inverse - np.outer(weights, weights))
        return value, np.append(gradient(upstream), np.exp(theta[-1]) * np.trace(upstream))

    def _condition(self, outcome: Matrix) -> None:
        matrix = self._kernel.matrix(self._theta[:-1], self._train, self._train)
        self._factor = linalg.cholesky(self._noisy(self._theta, matrix), lower=True, check_finite=False)
        self._weights = linalg.cho_solve((self._factor, True), outcome)
        inverse = linalg.solve_triangular(self._factor, np.eye(len(outcome)), lower=True)
        self._whiten = inverse.T
        self._whiten32 = self._whiten.astype(np.float32)
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
        inputs = self._inputs(codes, np.float32)
        cross = self._between(inputs, self._train32)
        mean, whitened = cross.astype(np.float64) @ self._weights, cross @ self._whiten32
        return mean, np.sqrt(np.maximum(self._own(inputs) - (whitened**2).sum(1), LEAST_VARIANCE))

    def _between(self, some: Inputs, others: Inputs) -> Matrix:
        """Return the prior covariance, that of the unknown mean included."""
        covariance: Matrix = self._kernel.matrix(self._theta[:-1], some, others) + some.one_hot.dtype.type(1.0)
        return covariance

    def _own(self, inputs: Inputs) -> Matrix:
        """Return the prior variance of each."""
        return self._kernel.diagonal(self._theta[:-1], inputs) + 1.0

    def over(self, codes: Codes) -> Posterior:
        """Return what is believed of ``codes`` ``(n, d)``, to be kept up to date until the next fit."""
        with one_thread():
            return Posterior(self, codes)

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
        inputs = self._inputs(codes, np.float64)
        cross = self._between(inputs, self._train)
        explained = linalg.solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        covariance = self._between(inputs, inputs) - explained.T @ explained
        return _normal(cross @ self._weights, covariance, 1e-5, count, rng)


def _normal(mean: Matrix, covariance: Matrix, jitter: float, count: int, rng: np.random.Generator) -> Matrix:
    """Return ``count`` joint normal draws ``(count, n)``; the covariance is overwritten."""
    covariance[np.diag_indices_from(covariance)] += jitter
    factor = linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    drawn: Matrix = mean + (factor @ rng.standard_normal((len(mean), count))).T
    return drawn


@dataclass(frozen=True)
class _Observation:
    """One score learned after the fit: one more row of the Cholesky factor.

    Args:
        inputs: of the candidate.
        whitened: its coordinates among what was learned before, ``(1, n)``.
        root: standard deviation of its score before it was seen.
        surprise: the score minus its mean, in units of ``root``.
    """

    inputs: Inputs
    whitened: Matrix
    root: float
    surprise: float


class Posterior:
    """The belief of a fitted process about a pool of candidates, on the scale the process learned on.

    A score that is observed after the fit is learned exactly, with the kernel and the transform of the fit: it adds a
    row to the Cholesky factor, and updates the pool by one product instead of a new prediction.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2 and A.3

    Args:
        process: a fitted process; this belief ends with its next fit.
        codes: the pool, ``(n, d)``.
    """

    def __init__(self, process: GaussianProcess, codes: Codes) -> None:
        self._process = process
        self._observed: list[_Observation] = []
        self.codes = codes
        self._inputs = process._inputs(codes, np.float64)
        self.mean, self._whitened = self._project(self._inputs)
        self._variance = process._own(self._inputs) - (self._whitened**2).sum(1)

    @property
    def spread(self) -> Floats:
        """Standard deviation of every candidate of the pool, ``(n,)``."""
        return np.sqrt(np.maximum(self._variance, LEAST_VARIANCE))

    def _project(self, inputs: Inputs) -> tuple[Matrix, Matrix]:
        process = self._process
        cross = process._between(inputs, process._train)
        mean, whitened = cross @ process._weights, cross @ process._whiten
        for seen in self._observed:
            column = self._column(seen, inputs, whitened)
            mean, whitened = mean + seen.surprise * column, np.column_stack([whitened, column])
        return mean, whitened

    def _column(self, seen: _Observation, inputs: Inputs, whitened: Matrix) -> Matrix:
        """Return the coordinate ``(m,)`` along what was new in an observation."""
        covariance = self._process._between(inputs, seen.inputs)[:, 0]
        return (covariance - whitened @ seen.whitened[0]) / seen.root

    def observe(self, codes: Codes, scores: ArrayLike) -> None:
        """Learn scores ``(k,)`` of candidates ``(k, d)``, in the pool or not."""
        with one_thread():
            for row, outcome in zip(codes, self._process._outcome_of(scores), strict=True):
                self._observe(row[None], float(outcome))

    def _observe(self, row: Codes, outcome: float) -> None:
        inputs, mean, variance, whitened = self._believed(row)
        root = float(np.sqrt(max(variance, 0.0) + self._process.noise**2 + JITTER))
        seen = _Observation(inputs, whitened, root, (outcome - mean) / root)
        column = self._column(seen, self._inputs, self._whitened)
        self.mean = self.mean + seen.surprise * column
        self._variance = self._variance - column**2
        self._whitened = np.column_stack([self._whitened, column])
        self._observed.append(seen)

    def _believed(self, row: Codes) -> tuple[Inputs, float, float, Matrix]:
        """Return inputs, mean, variance and coordinates of a candidate, ``(1, d)``; in the pool, they are known."""
        found = np.flatnonzero((self.codes == row).all(axis=1))[:1]
        if len(found):
            inputs = self._inputs.at(found)
            return inputs, float(self.mean[found[0]]), float(self._variance[found[0]]), self._whitened[found]
        inputs = self._process._inputs(row, np.float64)
        mean, whitened = self._project(inputs)
        variance = self._process._own(inputs) - (whitened**2).sum(1)
        return inputs, float(mean[0]), float(variance[0]), whitened

    def draw(self, index: NDArray[np.int64], count: int, rng: np.random.Generator) -> Matrix:
        """Return ``count`` functions drawn from the belief at some of the pool ``(k,)``, ``(count, k)``."""
        some = self._inputs.at(index)
        whitened = self._whitened[index]
        with one_thread():
            covariance = self._process._between(some, some) - whitened @ whitened.T
            return _normal(self.mean[index], covariance, 1e-5, count, rng)
