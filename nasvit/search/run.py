"""The simple front of the search: one call from a genome to a recommended candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasvit.search.driver import Evaluate, Memory, drive
from nasvit.search.engine import EngineSettings, Recommendation, SearchEngine
from nasvit.search.genetic import evolve
from predictors.accuracy import Predicting, Predictor
from predictors.arrays import Codes, Floats, Mask, Proxies, as_codes
from predictors.gaussian_process import GaussianProcess
from predictors.pool import Constraint, distinct
from search_spaces.genome import Genome


@dataclass(frozen=True)
class SearchSettings:
    """How a search spends its evaluations.

    Args:
        engine: how candidates are proposed.
        repeats: evaluations kept for evaluating the best few again at the end (the predictor learns from repeats).
        top: candidates recommended, and those that share the repeats.
    """

    engine: EngineSettings = field(default_factory=EngineSettings)
    repeats: int = 0
    top: int = 5


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        codes: every evaluated candidate in order, ``(n, d)``.
        scores: what its evaluation returned, ``(n,)``; NaN where it failed.
        best: the recommended candidate, ``(d,)``: highest posterior mean among the evaluated.
        top: the recommended few, best first, with mean and spread.
        predictor: fitted on everything.
        constraint: genome and limits, for further questions.
    """

    codes: Codes
    scores: NDArray[np.float64]
    best: NDArray[np.uint8]
    top: Recommendation
    predictor: Predictor
    constraint: Constraint

    def imagine(
        self,
        count: int,
        rng: np.random.Generator,
        *,
        feasible: Callable[[Codes], Mask] | None = None,
        violation: Callable[[Codes], Floats] | None = None,
    ) -> Recommendation:
        """Return the best predicted candidates, evaluated or not, also under other limits (a multi-use predictor).

        Args:
            count: candidates wanted.
            rng: source of randomness.
            feasible: other limits as a mask; None with ``violation`` None keeps the limits of the search.
            violation: other limits as amounts, which lets candidates be repaired.
        """
        constraint = self.constraint
        if feasible is not None or violation is not None:
            constraint = Constraint(constraint.genome, feasible, violation, constraint.canonical, constraint.anchors)
        return imagine(self.predictor, constraint, self.codes, count, rng)


def imagine(
    predictor: Predicting, constraint: Constraint, evaluated: Codes, count: int, rng: np.random.Generator
) -> Recommendation:
    """Return the best predicted candidates, evaluated or not: the fine stage, an adaptive genetic search.

    It starts from the best of what was evaluated and of a quasi-random pool, keeps the limits by repair, asks the
    predictor alone, and stops when it finds nothing better. One predictor so serves any number of limits.

    Source: FBNetV3 (Dai et al., 2021), section 3.3, https://arxiv.org/abs/2006.02049

    Args:
        predictor: expects scores: a fitted predictor, or a prior.
        constraint: the limits.
        evaluated: candidates that were evaluated, also under other limits, ``(n, d)``.
        count: candidates wanted.
        rng: source of randomness.
    """
    pool = distinct(np.concatenate([constraint.sample(4096, rng), constraint.clean(evaluated)]))
    mean, _ = predictor.predict(pool)
    parents = pool[np.argsort(-mean, kind="stable")[:64]]
    found = evolve(constraint, parents, lambda codes: predictor.predict(codes)[0], rng, population=256)[:count]
    return Recommendation(found, *predictor.predict(found))


def search(
    genome: Genome,
    evaluate: Evaluate,
    *,
    budget: int,
    seed: int = 0,
    feasible: Callable[[Codes], Mask] | None = None,
    violation: Callable[[Codes], Floats] | None = None,
    canonical: Callable[[Codes], Codes] | None = None,
    proxies: Proxies | None = None,
    make_predictor: Callable[[], Predictor] | None = None,
    anchors: Codes | None = None,
    known: tuple[ArrayLike, ArrayLike] | None = None,
    settings: SearchSettings | None = None,
    on_told: Callable[[Codes, NDArray[np.float64]], None] | None = None,
) -> SearchResult:
    """Find the candidate of highest expected score with at most ``budget`` evaluations.

    Args:
        genome: the decisions; architecture, recipe, or both.
        evaluate: what a candidate scores; it is called with distinct feasible candidates, one row at a time.
        budget: evaluations, those in ``known`` included.
        seed: of all randomness.
        feasible: hard limits, codes -> mask; None allows everything.
        violation: hard limits, codes -> how far from feasible (0 = feasible); needed where feasible candidates are
            rare. One of ``feasible`` and ``violation`` is enough.
        canonical: codes -> codes with one form per network, so that none is paid for twice.
        proxies: free features (log MACs, log parameters, ...) for the predictor.
        make_predictor: makes an unfitted predictor; default :class:`predictors.gaussian_process.GaussianProcess`; an
            ensemble costs several times its time, and which of the two proposes better was not measured.
        anchors: candidates known to be feasible.
        known: codes and scores evaluated before: a resumed or continued search. With the same seed it goes on as if it
            had never stopped.
        settings: how candidates are proposed, and what is kept for repeats.
        on_told: called with all codes and scores after every evaluation, for example to save them.

    Raises:
        ValueError: if no candidate meets the limits, before anything is evaluated.
    """
    chosen = settings or SearchSettings()
    constraint = Constraint(genome, feasible, violation, canonical or genome.canonical, anchors)
    make = make_predictor or (lambda: GaussianProcess(genome, proxies))
    engine = SearchEngine(constraint, make, seed, chosen.engine)
    codes, scores = known or (np.zeros((0, len(genome))), [])
    trials = Memory(evaluate, as_codes(codes), np.asarray(scores, dtype=np.float64), on_told)
    drive(trials, [engine], budget - chosen.repeats)
    _repeat(engine, trials, budget, chosen)
    engine.catch_up(trials.codes, trials.scores, trials.codes[:0])
    top = engine.recommend(chosen.top)
    return SearchResult(engine.codes, engine.scores, top.codes[0], top, make().fit(*engine.learned), constraint)


def _repeat(engine: SearchEngine, trials: Memory, budget: int, settings: SearchSettings) -> None:
    """Spend what is kept for repeats on the recommended few, in rounds, best first."""
    left = min(settings.repeats, budget - len(trials.codes))
    while left > 0:
        engine.catch_up(trials.codes, trials.scores, trials.codes[:0])
        codes = engine.recommend(min(settings.top, left)).codes
        trials.evaluate(codes)
        left -= len(codes)
