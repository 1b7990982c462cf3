"""The search as ask-and-tell: coarse over the whole space, then fine around the best, by one predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasvit.search.genetic import evolve
from predictors.accuracy import Believing, Drawing, Predictor
from predictors.arrays import Codes, Floats, as_codes
from predictors.pool import Constraint, distinct, row_hashes, sobol


@dataclass(frozen=True)
class EngineSettings:
    """How the engine proposes.

    Args:
        start: quasi-random candidates before the predictor is asked.
        pool: candidates scored in every round, and the largest space that is enumerated for it.
        enumerable: spaces up to this many code rows are held whole.
        greedy_share: share of a batch with the highest predicted mean. The rest is where functions drawn from the
            predictor's belief are highest (Thompson sampling): noisy scores leave many candidates that may be the best.
        shortlist: candidates among which functions are drawn.
        centers_predicted: best predicted candidates whose neighborhoods are searched.
        centers_observed: likewise, best evaluated candidates (by posterior mean).
    """

    start: int = 10
    pool: int = 8192
    enumerable: int = 300_000
    greedy_share: float = 0.3
    shortlist: int = 512
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
        design_seed: seed of the quasi-random start alone, so that many workers share one; None draws it from ``rng``.
    """

    constraint: Constraint
    predictor: Predictor
    rng: np.random.Generator
    settings: EngineSettings = field(default_factory=EngineSettings)
    design_seed: int | None = None

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
        """Return the ``count`` evaluated feasible candidates of highest posterior mean (not of highest single score).

        Raises:
            ValueError: if no feasible candidate was evaluated successfully.
        """
        rows = self.constraint.clean(self._codes[np.isfinite(self._scores)])
        if not len(rows):
            raise ValueError("nothing to recommend: no evaluation of a feasible candidate has succeeded yet")
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
        return self._unseen(self._design)[:missing]

    @cached_property
    def _design(self) -> Codes:
        """The quasi-random start: feasible, distinct, and the same for the same seed."""
        rng = self.rng if self.design_seed is None else np.random.default_rng(self.design_seed)
        wanted = self.settings.start
        drawn = self.constraint.clean(sobol(self.constraint.genome, max(64, 8 * wanted), rng))
        if len(drawn) < wanted:
            drawn = distinct(np.concatenate([drawn, self._pool(max(64, wanted), rng)]))
        return drawn[:wanted]

    def _pool(self, count: int, rng: np.random.Generator | None = None) -> Codes:
        """Return up to ``count`` feasible candidates from anywhere."""
        source = self.rng if rng is None else rng
        if self._everything is None:
            return self.constraint.sample(count, source)
        if len(self._everything) <= count:
            return self._everything
        return self._everything[source.choice(len(self._everything), count, replace=False)]

    def _fitted(self) -> Predictor:
        if self._fitted_rows != len(self._codes):
            learned = np.isfinite(self._scores)
            self.predictor.fit(self._codes[learned], self._scores[learned])
            self._fitted_rows = len(self._codes)
        return self.predictor

    def _guided(self, count: int, already: Codes) -> Codes:
        """Return the most promising unseen candidates, from anywhere and from around the best."""
        if np.isfinite(self._scores).sum() < 2:
            some = self._unseen(self._pool(self.settings.pool))
            some = some[~np.isin(row_hashes(some), row_hashes(already))]
            return some[self.rng.permutation(len(some))[:count]]
        predictor = self._fitted()
        pool, mean, spread = self._coarse(predictor)
        near = self._neighborhood(pool, mean)
        near = near[~np.isin(row_hashes(near), row_hashes(pool))]
        if len(near):
            added = _believe(predictor, near)
            pool = np.concatenate([pool, near])
            mean, spread = np.concatenate([mean, added[0]]), np.concatenate([spread, added[1]])
        taken = np.fromiter(self._known | self._pending, dtype=np.uint64)
        unseen = ~np.isin(row_hashes(pool), np.concatenate([taken, row_hashes(already)]))
        pool = pool[unseen]
        if not len(pool):
            return pool
        return pool[self._choose(pool, mean[unseen], spread[unseen], count)]

    def _coarse(self, predictor: Predictor) -> tuple[Codes, Floats, Floats]:
        """Return candidates from anywhere with mean and spread; too large a space is sampled and evolved."""
        pool = self._pool(self.settings.pool)
        mean, spread = _believe(predictor, pool)
        if self._everything is not None and len(pool) == len(self._everything):
            return pool, mean, spread
        best = pool[np.argsort(-mean)[:48]]
        observed = self._best_observed(16)
        parents = distinct(np.concatenate([best, observed[self.constraint.allowed(observed)]]))
        evolved = evolve(
            self.constraint,
            parents,
            lambda codes: _believe(predictor, codes)[0],
            self.rng,
            population=256,
            children=512,
            generations=6,
            patience=2,
        )
        evolved = evolved[~np.isin(row_hashes(evolved), row_hashes(pool))]
        if not len(evolved):
            return pool, mean, spread
        more = _believe(predictor, evolved)
        joined = np.concatenate([pool, evolved])
        return joined, np.concatenate([mean, more[0]]), np.concatenate([spread, more[1]])

    def _best_observed(self, count: int) -> Codes:
        rows = distinct(self._codes[np.isfinite(self._scores)])
        mean, _ = self._fitted().predict(rows)
        return rows[np.argsort(-mean, kind="stable")[:count]]

    def _neighborhood(self, pool: Codes, mean: Floats) -> Codes:
        """Return feasible candidates one gene away from the best predicted and the best evaluated."""
        predicted = pool[np.argsort(-mean, kind="stable")[: self.settings.centers_predicted]]
        centers = np.concatenate([predicted, self._best_observed(self.settings.centers_observed)])
        near = [self.constraint.genome.neighbors(row) for row in centers]
        return self.constraint.clean(np.concatenate(near))

    def _choose(self, pool: Codes, mean: Floats, spread: Floats, count: int) -> NDArray[np.int64]:
        """Return indices into ``pool``: best means, then posterior draws, all distinct.

        A count of one takes turns between the two, at random, in the same shares.
        """
        greedy = int(np.floor(self.settings.greedy_share * count + self.rng.random()))
        by_mean = np.argsort(-mean, kind="stable")
        chosen: list[int] = []
        _extend(chosen, by_mean, min(greedy, count))
        if len(chosen) < count:
            _extend(chosen, self._explore(pool, mean, spread, by_mean, count), count)
        _extend(chosen, by_mean, count)
        return np.array(chosen, dtype=np.int64)

    def _explore(
        self, pool: Codes, mean: Floats, spread: Floats, by_mean: NDArray[np.int64], count: int
    ) -> NDArray[np.int64]:
        """Return where functions drawn from the predictor's belief are highest (Thompson sampling)."""
        half = self.settings.shortlist // 2
        by_hope = np.argsort(-(mean + 2.0 * spread), kind="stable")
        short = np.union1d(by_hope[:half], by_mean[:half])
        if isinstance(self.predictor, Drawing):
            drawn = self.predictor.draw(pool[short], 3 * count, self.rng)
        else:
            drawn = mean[short] + spread[short] * np.abs(self.rng.standard_normal((3 * count, 1)))
        return np.asarray(short[drawn.argmax(axis=1)])


def _believe(predictor: Predictor, codes: Codes) -> tuple[Floats, Floats]:
    """Return mean and spread where optimism is meant: on the scale the predictor learned on, if it tells that."""
    return predictor.believe(codes) if isinstance(predictor, Believing) else predictor.predict(codes)


def _extend(chosen: list[int], queue: NDArray[np.int64], until: int) -> None:
    """Append entries of ``queue`` that are not chosen yet, until there are ``until``."""
    for index in queue.tolist():
        if len(chosen) >= until:
            return
        if index not in chosen:
            chosen.append(index)
