"""The search as ask-and-tell: coarse over the whole space, then fine around the best, by one predictor."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasvit.search.genetic import evolve
from predictors.accuracy import Predictor
from predictors.arrays import Codes, Floats, as_codes
from predictors.pool import Constraint, distinct, row_hashes, sobol


@dataclass(frozen=True)
class EngineSettings:
    """How the engine proposes.

    Args:
        start: quasi-random candidates before the predictor is asked.
        pool: candidates scored in every round, and the largest space that is enumerated for it.
        enumerable: spaces up to this many code rows are held whole.
        fine_share: share of a batch proposed around the best rather than from anywhere.
        explore: standard deviations added to the mean of the proposals that explore.
        centers_predicted: best predicted candidates whose neighborhoods are searched.
        centers_observed: likewise, best evaluated candidates (by posterior mean).
    """

    start: int = 10
    pool: int = 8192
    enumerable: int = 300_000
    fine_share: float = 0.5
    explore: float = 1.0
    centers_predicted: int = 5
    centers_observed: int = 3


@dataclass(frozen=True)
class Recommendation:
    """Candidates in the order the search would deploy them.

    Args:
        codes: ``(k, d)``.
        mean: posterior mean of the score, ``(k,)``.
        spread: its standard deviation, ``(k,)``.
    """

    codes: Codes
    mean: Floats
    spread: Floats


@dataclass
class SearchEngine:
    """Proposes candidates, learns from their scores, and recommends by posterior mean.

    All state is what was told and the generator: telling the same again rebuilds the engine.

    Args:
        constraint: genome, limits and canonical form.
        predictor: fitted again in every round that learned something.
        rng: source of all randomness.
        settings: how it proposes.
    """

    constraint: Constraint
    predictor: Predictor
    rng: np.random.Generator
    settings: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        self._codes = np.zeros((0, len(self.constraint.genome)), dtype=np.uint8)
        self._scores = np.zeros(0)
        self._pending: set[int] = set()
        self._known: set[int] = set()
        self._fitted_rows = -1
        self._everything = self.constraint.listed(self.settings.enumerable)

    @property
    def codes(self) -> Codes:
        """Every candidate told, in order, ``(n, d)``; failed ones too."""
        return self._codes

    @property
    def scores(self) -> NDArray[np.float64]:
        """Their scores ``(n,)``; NaN where the evaluation failed."""
        return self._scores

    def tell(self, codes: ArrayLike, scores: ArrayLike) -> None:
        """Record evaluations; NaN marks a failed one, which is never proposed again and not learned from.

        Raises:
            ValueError: if there is not one score for each row.
        """
        rows, values = self._canonical(as_codes(codes)), np.asarray(scores, dtype=np.float64)
        if values.shape != (len(rows),):
            raise ValueError(f"scores must have shape ({len(rows)},), one per candidate, got {values.shape}")
        self.constraint.genome.check(rows)
        hashes = row_hashes(rows).tolist()
        self._known.update(hashes)
        self._pending.difference_update(hashes)
        self._codes = np.concatenate([self._codes, rows])
        self._scores = np.concatenate([self._scores, values])

    def reserve(self, codes: ArrayLike) -> None:
        """Mark candidates that somebody is evaluating, so that they are not proposed meanwhile."""
        self._pending.update(row_hashes(self._canonical(as_codes(codes))).tolist())

    def ask(self, count: int = 1) -> Codes:
        """Return up to ``count`` feasible candidates never evaluated or reserved; fewer only where no more exist."""
        proposed = self._start(count)
        if len(proposed) < count:
            proposed = np.concatenate([proposed, self._guided(count - len(proposed), proposed)])
        self.reserve(proposed)
        return proposed

    def recommend(self, count: int = 1) -> Recommendation:
        """Return the ``count`` evaluated candidates of highest posterior mean (not of highest single score).

        Raises:
            ValueError: if nothing was evaluated successfully.
        """
        rows = distinct(self._codes[np.isfinite(self._scores)])
        if not len(rows):
            raise ValueError("nothing to recommend: no evaluation has succeeded yet")
        mean, spread = self._fitted().predict(rows)
        order = np.argsort(-mean, kind="stable")[:count]
        return Recommendation(rows[order], mean[order], spread[order])

    def _canonical(self, codes: Codes) -> Codes:
        canonical = self.constraint.canonical
        return codes if canonical is None else np.asarray(canonical(codes), dtype=np.uint8)

    def _unseen(self, codes: Codes) -> Codes:
        taken = np.fromiter(self._known | self._pending, dtype=np.uint64)
        return codes[~np.isin(row_hashes(codes), taken)]

    def _start(self, count: int) -> Codes:
        """Return what is still missing of the quasi-random start."""
        missing = min(count, self.settings.start - len(self._known | self._pending))
        if missing <= 0:
            return self._codes[:0]
        drawn = self.constraint.clean(sobol(self.constraint.genome, max(64, 8 * missing), self.rng))
        if len(drawn) < missing:
            drawn = distinct(np.concatenate([drawn, self._pool(max(64, missing))]))
        return self._unseen(drawn)[:missing]

    def _pool(self, count: int) -> Codes:
        """Return up to ``count`` feasible candidates from anywhere."""
        if self._everything is None:
            return self.constraint.sample(count, self.rng)
        if len(self._everything) <= count:
            return self._everything
        return self._everything[self.rng.choice(len(self._everything), count, replace=False)]

    def _fitted(self) -> Predictor:
        if self._fitted_rows != len(self._codes):
            learned = np.isfinite(self._scores)
            self.predictor.fit(self._codes[learned], self._scores[learned])
            self._fitted_rows = len(self._codes)
        return self.predictor

    def _guided(self, count: int, already: Codes) -> Codes:
        """Return the most promising unseen candidates: part from anywhere, part around the best."""
        if np.isfinite(self._scores).sum() < 2:
            return self._unseen(self._pool(count + len(self._known | self._pending)))[:count]
        predictor = self._fitted()
        pool = self._coarse_pool(predictor)
        near = self._neighborhood(predictor, pool)
        candidates = distinct(np.concatenate([near, pool]))
        is_near = np.isin(row_hashes(candidates), row_hashes(near))
        unseen = ~np.isin(row_hashes(candidates), np.fromiter(self._known | self._pending, dtype=np.uint64))
        unseen &= ~np.isin(row_hashes(candidates), row_hashes(already))
        candidates, is_near = candidates[unseen], is_near[unseen]
        mean, spread = predictor.predict(candidates)
        return candidates[self._choose(mean, spread, is_near, count)]

    def _coarse_pool(self, predictor: Predictor) -> Codes:
        """Return candidates from anywhere, joined, in spaces too large to score whole, by evolved ones."""
        pool = self._pool(self.settings.pool)
        if self._everything is not None and len(pool) == len(self._everything):
            return pool
        mean, _ = predictor.predict(pool)
        best = pool[np.argsort(-mean)[:48]]
        observed = self._best_observed(16)
        observed = observed[self.constraint.allowed(observed)]
        parents = distinct(np.concatenate([best, observed]))
        evolved = evolve(
            self.constraint,
            parents,
            lambda codes: predictor.predict(codes)[0],
            self.rng,
            population=256,
            children=512,
            generations=6,
            patience=2,
        )
        return distinct(np.concatenate([evolved, pool]))

    def _best_observed(self, count: int) -> Codes:
        rows = self._codes[np.isfinite(self._scores)]
        mean, _ = self._fitted().predict(rows)
        return distinct(rows[np.argsort(-mean, kind="stable")])[:count]

    def _neighborhood(self, predictor: Predictor, pool: Codes) -> Codes:
        """Return feasible candidates one gene away from the best predicted and the best evaluated."""
        mean, _ = predictor.predict(pool)
        predicted = pool[np.argsort(-mean, kind="stable")[: self.settings.centers_predicted]]
        centers = np.concatenate([predicted, self._best_observed(self.settings.centers_observed)])
        near = [self.constraint.genome.neighbours(row) for row in centers]
        return self.constraint.clean(np.concatenate(near))

    def _choose(self, mean: Floats, spread: Floats, is_near: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        """Return indices: alternately the best anywhere by mean, and the best nearby by optimistic mean."""
        optimistic = mean + self.settings.explore * spread
        by_mean, by_optimism = np.argsort(-mean, kind="stable"), np.argsort(-optimistic, kind="stable")
        nearby = by_optimism[is_near[by_optimism]]
        fine = round(self.settings.fine_share * count)
        queue = np.concatenate([nearby[:fine], by_mean, nearby[fine:]])
        _, first = np.unique(queue, return_index=True)
        return np.asarray(queue[np.sort(first)][:count])
