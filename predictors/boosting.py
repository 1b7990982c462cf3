"""Gradient-boosted trees on codes and proxies."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

from predictors.arrays import Codes, Floats, Proxies
from predictors.base import CodePredictor, Matrix, TargetKind
from predictors.features import one_hot
from search_spaces.genome import Genome

MANY = 1000
"""From this many candidates on, histograms are faster than exact splits."""


class Boosting(CodePredictor):
    """Several boosted tree models, each on a random part of the candidates; their spread is the uncertainty.

    Args:
        genome: the decisions; ordinal genes enter as numbers, categorical ones one-hot.
        proxies: free features beside the genes.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        members: models averaged.
        trees: trees of each.
        seed: of the parts drawn.
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        members: int = 4,
        trees: int = 120,
        seed: int = 0,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.members = members
        self.trees = trees
        self.seed = seed

    def _features(self, codes: Codes, free: Matrix) -> Matrix:
        ordinal = self.genome.ordinal
        named = one_hot(self.genome.cards[~ordinal], codes[:, ~ordinal], np.float64)
        return np.concatenate([codes[:, ordinal].astype(np.float64), named, free], axis=1)

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        features = self._features(codes, self.proxies.fit(codes))
        rng = np.random.default_rng(self.seed)
        self._models = []
        for member in range(self.members):
            kept = rng.permutation(len(codes))[: max(int(0.85 * len(codes)), 1)]
            self._models.append(self._model(len(kept), member).fit(features[kept], outcome[kept]))

    def _model(self, size: int, member: int) -> GradientBoostingRegressor | HistGradientBoostingRegressor:
        if size >= MANY:
            return HistGradientBoostingRegressor(max_iter=self.trees, learning_rate=0.08, random_state=member)
        return GradientBoostingRegressor(
            n_estimators=self.trees,
            learning_rate=0.08,
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
