"""Gradient-boosted trees on codes and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predictors.arrays import Codes, Floats, Proxies
from predictors.base import CodePredictor, Matrix, TargetKind
from predictors.features import one_hot64
from search_spaces.genome import Genome

if TYPE_CHECKING:  # it takes a second to import, and is imported where trees are grown
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

MANY = 1000
"""From this many candidates on, histograms are faster than exact splits."""


class Boosting(CodePredictor):
    """Several boosted tree models, each without another part of the candidates; their spread is the uncertainty.

    Args:
        genome: the decisions; ordinal genes enter as numbers, categorical ones one-hot.
        proxies: free features beside the genes.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        members: models averaged; each leaves out one part in ``members``.
        trees: trees of each.
        seed: of the parts and the trees.
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        members: int = 4,
        trees: int = 60,
        seed: int = 0,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.members = members
        self.trees = trees
        self.seed = seed

    def _features(self, codes: Codes, free: Matrix) -> Matrix:
        ordinal = self.genome.ordinal
        named = one_hot64(self.genome.cards[~ordinal], codes[:, ~ordinal])
        return np.concatenate([codes[:, ordinal].astype(np.float64), named, free], axis=1)

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        features = self._features(codes, self.proxies.fit(codes))
        fold = np.random.default_rng(self.seed).permutation(len(codes)) % self.members
        self._models = []
        errors = np.zeros(len(codes))
        for member in range(self.members):
            left_out = (fold == member) if len(codes) > self.members > 1 else np.zeros(len(codes), dtype=bool)
            kept = ~left_out
            self._models.append(self._model(int(kept.sum()), member).fit(features[kept], outcome[kept]))
            if left_out.any():
                errors[left_out] = self._models[-1].predict(features[left_out]) - outcome[left_out]
        self._error = float((errors**2).mean()) if len(codes) > self.members > 1 else 1.0

    def left_out_error(self) -> float:
        """Return the mean squared error of every candidate by the model that did not see it."""
        return self._error

    def _model(self, size: int, member: int) -> GradientBoostingRegressor | HistGradientBoostingRegressor:
        from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

        if size >= MANY:
            return HistGradientBoostingRegressor(max_iter=self.trees, learning_rate=0.12, random_state=member)
        return GradientBoostingRegressor(
            n_estimators=self.trees,
            learning_rate=0.12,
            max_depth=4,
            subsample=0.7,
            min_samples_leaf=min(3, size),
            max_features=0.6,
            random_state=member,
        )

    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        features = self._features(codes, self.proxies.apply(codes))
        predicted = np.stack([model.predict(features) for model in self._models])
        return predicted.mean(axis=0), predicted.std(axis=0) + 1e-6
