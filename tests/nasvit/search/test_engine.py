from __future__ import annotations

import numpy as np
import pytest

from nasvit.search.engine import EngineSettings, SearchEngine
from nasvit.search.genetic import evolve
from nasvit.search.run import SearchSettings, search
from predictors.arrays import Codes
from predictors.ensemble import make_predictor
from predictors.gaussian_process import GaussianProcess
from predictors.pool import Constraint, distinct
from search_spaces.genome import Gene, Genome

SMALL = Genome(tuple(Gene(f"width{index}", (8, 16, 24, 32)) for index in range(5)))
HUGE = Genome(tuple(Gene(f"g{index}", tuple(range(5))) for index in range(20)))


def score(codes: Codes) -> np.ndarray:
    levels = codes.astype(float)
    return -((levels - 2.0) ** 2).sum(1) + levels[:, 0] * levels[:, 1] * 0.3


def noisy(seed: int = 0) -> object:
    rng = np.random.default_rng(seed)
    return lambda codes: score(codes) + 0.2 * rng.standard_normal(len(codes))


def engine(constraint: Constraint, seed: int = 0, **settings: object) -> SearchEngine:
    return SearchEngine(constraint, lambda: GaussianProcess(constraint.genome), seed, EngineSettings(**settings))


def test_a_search_finds_the_best_of_a_thousand_with_forty_evaluations() -> None:
    result = search(SMALL, noisy(), budget=40)
    everything = Constraint(SMALL).listed(10**6)
    assert everything is not None
    assert score(result.best[None])[0] >= np.sort(score(everything))[-3]
    assert len(result.codes) == len(distinct(result.codes)) == 40


def test_a_search_goes_far_in_a_space_too_large_to_list_under_a_limit_few_candidates_meet() -> None:
    def excess(codes: Codes) -> np.ndarray:
        return np.maximum(codes.sum(1, dtype=float) - 20.0, 0.0)  # uniform: 40 +- 6

    settings = SearchSettings(EngineSettings(pool=512))
    result = search(HUGE, score, budget=60, violation=excess, settings=settings)
    assert (excess(result.codes) == 0).all()
    random = Constraint(HUGE, violation=excess).sample(60, np.random.default_rng(1))
    assert score(result.best[None])[0] > score(random).max()


def test_without_its_fine_stage_a_search_of_a_large_space_ends_lower() -> None:
    best = {}
    for fine in (True, False):
        found = search(HUGE, score, budget=40, settings=SearchSettings(EngineSettings(pool=128, fine=fine)))
        best[fine] = score(found.codes).max()
    assert best[True] > best[False]


def test_the_same_seed_searches_the_same_and_a_search_goes_on_as_if_it_had_never_stopped() -> None:
    first = search(SMALL, score, budget=30, seed=3)
    second = search(SMALL, score, budget=30, seed=3)
    np.testing.assert_array_equal(first.codes, second.codes)
    longer = search(SMALL, score, budget=47, seed=3)
    continued = search(SMALL, score, budget=47, seed=3, known=(first.codes, first.scores))
    np.testing.assert_array_equal(longer.codes[:30], first.codes)
    np.testing.assert_array_equal(longer.codes, continued.codes)


def test_a_network_is_never_proposed_twice_whatever_its_code() -> None:
    constraint = Constraint(SMALL, canonical=lambda codes: np.sort(codes, axis=1))
    found = search(SMALL, score, budget=60, canonical=constraint.canonical)
    assert len(found.codes) == len(distinct(found.codes)) == 56  # there are exactly 56 multisets
    asked = engine(constraint)
    asked.tell(found.codes, found.scores)
    assert len(asked.ask(3)) == 0


@pytest.mark.parametrize("predictor", ["gaussian_process", "ridge"])  # one learns between fits, one does not
def test_what_is_proposed_depends_on_what_was_told_and_not_on_when(predictor: str) -> None:
    def fresh() -> SearchEngine:
        return SearchEngine(Constraint(HUGE), lambda: make_predictor(predictor, HUGE), 1, EngineSettings(pool=256))

    going = fresh()
    for _ in range(33):
        row = going.ask()
        resumed = fresh()
        resumed.tell(going.codes, going.scores)
        np.testing.assert_array_equal(resumed.ask(), row)
        going.tell(row, score(row))


def test_scores_told_between_two_fits_count_at_once_where_the_predictor_can_learn_them() -> None:
    settings = EngineSettings(greedy_share=1.0)
    asked = SearchEngine(Constraint(SMALL), lambda: GaussianProcess(SMALL), 0, settings)
    codes = distinct(SMALL.sample(40, np.random.default_rng(0)))[:32]
    asked.tell(codes[:30], score(codes[:30]))  # the last fit is at 30, the next at 35
    first = asked.ask()
    asked.tell(first, [-1000.0])
    assert ((asked.ask() != first).sum(1) > 1).all()  # not one step beside the disappointment


def test_candidates_that_others_are_evaluating_are_not_proposed() -> None:
    one = engine(Constraint(SMALL))
    first = one.ask(6)
    assert len(distinct(np.concatenate([first, one.ask(6), one.ask(6)]))) == 18


def test_failed_evaluations_are_never_proposed_again_and_not_learned_from() -> None:
    def failing(codes: Codes) -> np.ndarray:
        return np.where(codes[:, 0] == 3, np.nan, score(codes))

    result = search(SMALL, failing, budget=40)
    assert len(distinct(result.codes)) == 40
    assert result.best[0] != 3


def test_the_recommended_candidate_is_not_a_lucky_number() -> None:
    asked = engine(Constraint(SMALL))
    codes = SMALL.sample(80, np.random.default_rng(0))
    codes = distinct(codes)
    scores = score(codes) + np.random.default_rng(1).standard_normal(len(codes))
    worst = int(scores.argmin())
    asked.tell(codes, np.where(np.arange(len(codes)) == worst, scores.max() + 0.1, scores))
    assert not np.array_equal(asked.recommend(1).codes[0], codes[worst])


def test_only_feasible_candidates_are_recommended_even_if_others_were_told() -> None:
    constraint = Constraint(SMALL, feasible=lambda codes: codes[:, 0] == 0)
    asked = engine(constraint)
    codes = distinct(SMALL.sample(60, np.random.default_rng(0)))
    asked.tell(codes, score(codes))
    assert (asked.recommend(3).codes[:, 0] == 0).all()
    assert (asked.ask(7)[:, 0] == 0).all()


def test_limits_that_nothing_meets_are_refused_before_anything_is_evaluated() -> None:
    def never(codes: Codes) -> np.ndarray:
        raise AssertionError("evaluated")

    with pytest.raises(ValueError, match="no candidate meets the limits"):
        search(SMALL, never, budget=5, feasible=lambda codes: np.zeros(len(codes), bool))
    with pytest.raises(ValueError, match="no candidate meets the limits"):
        search(HUGE, never, budget=5, violation=lambda codes: np.ones(len(codes)))


def test_repeats_go_to_the_best_few() -> None:
    settings = SearchSettings(repeats=6, top=3)
    result = search(SMALL, noisy(), budget=36, settings=settings)
    assert len(result.codes) == 36
    assert len(distinct(result.codes[:30])) == 30
    assert len(distinct(result.codes)) == 30


def test_one_predictor_serves_limits_it_was_not_searched_under() -> None:
    result = search(SMALL, score, budget=40)
    found = result.imagine(4, np.random.default_rng(1), feasible=lambda codes: codes.sum(1, dtype=int) <= 6)
    assert (found.codes.sum(1, dtype=int) <= 6).all()
    assert (np.diff(found.mean) <= 1e-6).all()


def test_evolution_never_leaves_the_limits_and_does_not_lose_its_best() -> None:
    constraint = Constraint(HUGE, violation=lambda codes: np.maximum(codes.sum(1, dtype=float) - 25.0, 0.0))
    parents = constraint.sample(20, np.random.default_rng(0))
    found = evolve(constraint, parents, score, np.random.default_rng(1), population=16, children=64)
    assert constraint.allowed(found).all()
    assert score(found[:1])[0] >= score(parents).max()
    assert (np.diff(score(found)) <= 0).all()


class Bounded:
    """Believes, on the scale it learned on, in the middle; in scores, a delta-method spread makes the worst look best."""

    def fit(self, codes: object, scores: object) -> Bounded:
        return self

    def believe(self, codes: Codes) -> tuple[np.ndarray, np.ndarray]:
        levels = codes.astype(float)
        return -((levels - 1.0) ** 2).sum(1), np.full(len(codes), 0.01)

    def predict(self, codes: Codes) -> tuple[np.ndarray, np.ndarray]:
        mean, spread = self.believe(codes)
        return 100 - np.exp(-mean), np.exp(-mean) * 10


def test_a_candidate_surely_bad_is_not_explored_because_its_score_has_far_to_rise() -> None:
    asked = SearchEngine(Constraint(SMALL), Bounded)
    asked.tell(SMALL.sample(10, np.random.default_rng(1)), np.arange(10.0))
    distance = ((asked.ask(20).astype(float) - 1.0) ** 2).sum(1)
    assert distance.max() <= 4  # the worst of the space is at 20


def test_scores_that_do_not_match_the_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="one per candidate"):
        engine(Constraint(SMALL)).tell(SMALL.sample(3, np.random.default_rng(0)), [1.0])
