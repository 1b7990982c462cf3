"""Ridge regression on one-hot values and their pairs, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from predictors.arrays import Codes, Floats, Proxies
from predictors.base import CodePredictor, Matrix, TargetKind
from predictors.features import one_hot64
from search_spaces.genome import Genome

PAIR_SHARES = (0.0, 0.2, 0.5, 0.8)
NOISES = tuple(float(noise) for noise in np.logspace(-4, 1, 16))


class Ridge(CodePredictor):
    """Linear regression on every value and every pair of values, with one penalty for each of the two.

    Penalties maximize the marginal likelihood. The number of pairs does not matter: with n candidates everything is
    solved in n dimensions, because two candidates with m equal genes share m values and m (m - 1) / 2 pairs.

    Args:
        genome: the decisions that codes index.
        proxies: free features, linear terms beside the values.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        pairs: False leaves the pairs out (an additive model, as latencies want).
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        pairs: bool = True,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.pairs = pairs

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        self._features = one_hot64(self.genome.cards, codes)
        self._free = self.proxies.fit(codes)
        singles, pairs = self._covariances(self._features, self._free)
        best = -np.inf
        for share in PAIR_SHARES if self.pairs else (0.0,):
            values, vectors = linalg.eigh((1.0 - share) * singles + share * pairs + 1.0, check_finite=False)
            values, rotated = np.maximum(values, 0.0), vectors.T @ outcome
            for noise in NOISES:
                scale = float((rotated**2 / (values + noise)).mean())
                evidence = -0.5 * len(outcome) * np.log(max(scale, 1e-300)) - 0.5 * np.log(values + noise).sum()
                if evidence > best:
                    best, self._share, self._noise, self._amplitude = evidence, share, noise, scale
                    self._values, self._vectors, self._rotated = values, vectors, rotated

    def _covariances(self, features: Matrix, free: Matrix) -> tuple[Matrix, Matrix]:
        """Return the covariances of values and of pairs with the training candidates, diagonals near 1."""
        genes = len(self.genome)
        equal = features @ self._features.T
        singles = equal / genes
        if free.shape[1]:
            singles = singles + free @ self._free.T / free.shape[1]
        return singles, equal * (equal - 1.0) / max(genes * (genes - 1), 1)

    def left_out_error(self) -> float:
        """Return the mean squared error of leaving one candidate out, at the penalties learned from all."""
        weights = 1.0 / (self._values + self._noise)
        residual = self._vectors @ (weights * self._rotated) / ((self._vectors**2) @ weights)
        return float((residual**2).mean())

    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        features, free = one_hot64(self.genome.cards, codes), self.proxies.apply(codes)
        singles, pairs = self._covariances(features, free)
        cross = ((1.0 - self._share) * singles + self._share * pairs + 1.0) @ self._vectors
        weights = 1.0 / (self._values + self._noise)
        own = 2.0
        if free.shape[1]:
            own = own + (1.0 - self._share) * (free**2).mean(axis=1)
        variance = self._amplitude * np.maximum(own - (cross**2) @ weights, 1e-8)
        return cross @ (weights * self._rotated), np.sqrt(variance)
