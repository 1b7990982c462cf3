"""The search as ask-and-tell: coarse over the whole space, then fine around the best, by one predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasvit.search.genetic import evolve
from nasvit.search.round import Round, believe, promising
from predictors.accuracy import Predictor
from predictors.arrays import Codes, Floats, as_codes
from predictors.pool import Constraint, distinct, row_hashes, sobol


@dataclass(frozen=True)
class EngineSettings:
    """How the engine proposes.

    Args:
        start: quasi-random candidates before the predictor is asked.
        refit_every: new scores between two fits of the predictor, at least.
        refit_share: likewise, as a share of the scores at the earlier fit.
        pool: candidates scored in every round, and the largest space that is enumerated for it.
        enumerable: spaces up to this many code rows are held whole.
        greedy_share: share of proposals with the highest predicted mean. The rest is where a function drawn from the
            predictor's belief is highest (Thompson sampling): noisy scores leave many candidates that may be the best.
        shortlist: candidates among which functions are drawn.
        centers_predicted: best predicted candidates whose neighborhoods are searched.
        centers_observed: likewise, best evaluated candidates (by posterior mean).
        fine: look around the best, too, where not all candidates are held; False leaves the search coarse, to compare.
    """

    start: int = 10
    refit_every: int = 5
    refit_share: float = 0.2
    pool: int = 8192
    enumerable: int = 300_000
    greedy_share: float = 0.3
    shortlist: int = 256
    centers_predicted: int = 5
    centers_observed: int = 3
    fine: bool = True

    def last_fit(self, scores: int) -> int:
        """Return at how many of ``scores`` scores the predictor is fitted: with fewer than ``start``, at every one."""
        last = min(self.start, scores)
        while (following := last + max(self.refit_every, int(self.refit_share * last))) <= scores:
            last = following
        return last


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


class SearchEngine:
    """Proposes candidates, learns from their scores, and recommends by posterior mean.

    What it proposes next follows from what was told, in its order, from what is reserved, and from the seed alone: an
    engine that is told the same proposes the same, whenever it was made. The predictor is fitted from scratch at fixed
    numbers of scores; what is told between two fits updates its belief, where it can do that.

    Args:
        constraint: genome, limits and canonical form.
        make_predictor: makes an unfitted predictor.
        seed: of everything random.
        settings: how it proposes.
        first: candidates that are proposed before any other if they are feasible, ``(k, d)``, the best expected first.
    """

    def __init__(
        self,
        constraint: Constraint,
        make_predictor: Callable[[], Predictor],
        seed: int = 0,
        settings: EngineSettings | None = None,
        first: Codes | None = None,
    ) -> None:
        self.constraint, self.make_predictor, self.seed = constraint, make_predictor, seed
        self.settings = settings or EngineSettings()
        self._first = first
        self._round: Round | None = None
        self._forget()

    def _forget(self) -> None:
        self._codes, self._scores = np.zeros((0, len(self.constraint.genome)), dtype=np.uint8), np.zeros(0)
        self._known: set[int] = set()
        self._reserved: set[int] = set()

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
        rows, values = self._canonical(codes), np.asarray(scores, dtype=np.float64)
        if values.shape != (len(rows),):
            raise ValueError(f"scores must have shape ({len(rows)},), one per candidate, got {values.shape}")
        self.constraint.genome.check(rows)
        hashes = row_hashes(rows).tolist()
        self._known.update(hashes)
        self._reserved.difference_update(hashes)
        self._codes = np.concatenate([self._codes, rows])
        self._scores = np.concatenate([self._scores, values])

    def reserve(self, codes: ArrayLike) -> None:
        """Mark candidates that somebody is evaluating, so that they are not proposed meanwhile."""
        if len(rows := as_codes(codes)):
            self._reserved.update(row_hashes(self._canonical(rows)).tolist())

    def catch_up(self, codes: Codes, scores: NDArray[np.float64], reserved: Codes) -> None:
        """Know exactly these evaluations and these reserved candidates; what is known already costs nothing again."""
        known = len(self._codes)
        begins = np.array_equal(self._codes, codes[:known])
        if not begins or not np.array_equal(self._scores, scores[:known], equal_nan=True):
            self._forget()
        self._reserved = set()
        self.tell(codes[len(self._codes) :], scores[len(self._codes) :])
        self.reserve(reserved)

    def ask(self, count: int = 1) -> Codes:
        """Return up to ``count`` feasible candidates never evaluated or reserved; fewer only where no more exist."""
        proposed = [self._codes[:0]]
        for _ in range(count):
            proposed.append(self._next())
            self.reserve(proposed[-1])
        return np.concatenate(proposed)

    def recommend(self, count: int = 1) -> Recommendation:
        """Return the ``count`` evaluated feasible candidates of highest posterior mean (not of highest single score).

        Raises:
            ValueError: if no feasible candidate was evaluated successfully.
        """
        codes, scores = self.learned
        rows = self.constraint.clean(codes)
        if not len(rows):
            raise ValueError("nothing to recommend: no evaluation of a feasible candidate has succeeded yet")
        mean, spread = self.make_predictor().fit(codes, scores).predict(rows)
        order = np.argsort(-mean, kind="stable")[:count]
        return Recommendation(rows[order], mean[order], spread[order])

    @property
    def learned(self) -> tuple[Codes, NDArray[np.float64]]:
        """Candidates and scores of the evaluations that did not fail, in order."""
        known = np.isfinite(self._scores)
        return self._codes[known], self._scores[known]

    def _canonical(self, codes: ArrayLike) -> Codes:
        rows, canonical = as_codes(codes), self.constraint.canonical
        return rows if canonical is None else np.asarray(canonical(rows), dtype=np.uint8)

    def _next(self) -> Codes:
        """Return one candidate, ``(1, d)``, or none, ``(0, d)``, where all are taken."""
        taken = len(self._known | self._reserved)
        if taken < self.settings.start and len(unseen := self._unseen(self._design)):
            return unseen[:1]
        codes, scores = self.learned
        rng = np.random.default_rng([self.seed, 1, len(self._codes), len(self._reserved)])
        if len(codes) < 2:
            unseen = self._unseen(self._pool(rng))
            return unseen[rng.permutation(len(unseen))[:1]]
        return self._round_of(codes, scores).choose(self._known | self._reserved, rng)

    def _unseen(self, codes: Codes) -> Codes:
        taken = np.fromiter(self._known | self._reserved, dtype=np.uint64)
        return codes[~np.isin(row_hashes(codes), taken)]

    @cached_property
    def _everything(self) -> Codes | None:
        """Every feasible candidate; None where they are too many to list."""
        return self.constraint.listed(self.settings.enumerable)

    @cached_property
    def _design(self) -> Codes:
        """The start: what was expected to be best, then quasi-random ones; feasible, and the same for the same seed."""
        rng, wanted = np.random.default_rng([self.seed, 0]), self.settings.start
        drawn = self.constraint.clean(sobol(self.constraint.genome, max(64, 8 * wanted), rng))
        if self._first is not None:
            drawn = distinct(np.concatenate([self.constraint.clean(self._first), drawn]))
        if len(drawn) < wanted:
            drawn = distinct(np.concatenate([drawn, self._pool(rng)]))
        return drawn[:wanted]

    def _pool(self, rng: np.random.Generator) -> Codes:
        """Return feasible candidates from anywhere."""
        count = self.settings.pool
        if self._everything is None:
            return self.constraint.sample(count, rng)
        if len(self._everything) <= count:
            return self._everything
        return self._everything[rng.choice(len(self._everything), count, replace=False)]

    def _round_of(self, codes: Codes, scores: NDArray[np.float64]) -> Round:
        """Return the round of these scores, with what was told since its fit learned."""
        begin = self.settings.last_fit(len(codes))
        if self._round is None or not self._round.leads_to(codes, scores, begin):
            self._round = self._begin(codes[:begin], scores[:begin])
        self._round.learn(codes, scores)
        return self._round

    def _begin(self, codes: Codes, scores: NDArray[np.float64]) -> Round:
        """Fit the predictor and gather candidates from anywhere and, where not all are held, around the best."""
        predictor = self.make_predictor().fit(codes, scores)
        rng = np.random.default_rng([self.seed, 2, len(codes)])
        pool = self._pool(rng)
        if self.settings.fine and (self._everything is None or len(pool) < len(self._everything)):
            pool = self._refined(pool, predictor, codes, rng)
        # Until the next fit only what is promising now is followed: enough that it cannot run out.
        followed = max(4 * self.settings.shortlist, 8 * len(codes))
        if len(pool) > followed:
            pool = pool[promising(*believe(predictor, pool), followed)]
        return Round(codes, scores, predictor, pool, self.settings.greedy_share, self.settings.shortlist)

    def _refined(self, pool: Codes, predictor: Predictor, evaluated: Codes, rng: np.random.Generator) -> Codes:
        """Return the pool with what evolves from its best, and one change away from the best."""

        def best(codes: Codes, count: int) -> Codes:
            return codes[np.argsort(-believe(predictor, codes)[0], kind="stable")[:count]]

        observed = best(distinct(evaluated), 16)
        evolved = evolve(
            self.constraint,
            distinct(np.concatenate([best(pool, 48), observed[self.constraint.allowed(observed)]])),
            lambda codes: believe(predictor, codes)[0],
            rng,
            population=256,
            children=512,
            generations=6,
            patience=2,
        )
        joined = np.concatenate([pool, evolved])
        centers = [best(joined, self.settings.centers_predicted), observed[: self.settings.centers_observed]]
        near = [self.constraint.genome.neighbors(row) for row in np.concatenate(centers)]
        return distinct(np.concatenate([joined, self.constraint.clean(np.concatenate(near))]))
