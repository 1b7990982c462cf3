"""Plans: the division of the hours, as arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.experiment.config import Experiment
from nasvit.experiment.plan import (
    MOST_EPOCHS,
    MOST_EVALUATIONS,
    WAYS,
    Paces,
    Way,
    choose,
    final_epochs,
    from_json,
    from_scratch,
    make_plan,
    planned,
    to_json,
    too_few_seen,
    way_of,
    with_epochs,
)
from tests.nasvit.experiment.tiny import write_experiment

PACES = Paces(plain=(2.0, 3.0), supernet=10.0, evaluation=1.0, final=4.0, found=6.0)

SECONDS = st.floats(0.01, 20.0)
ANY_PACES = st.builds(
    Paces,
    plain=st.lists(SECONDS, min_size=1, max_size=5).map(tuple),
    supernet=SECONDS,
    evaluation=st.floats(0.01, 2.0),
    final=SECONDS,
    found=SECONDS,
)


@given(ANY_PACES, st.floats(3600, 36_000), st.floats(0, 100))
def test_every_plan_uses_the_time_there_is_and_no_more(paces: Paces, seconds: float, used: float) -> None:
    longest = max(paces.supernet, paces.all_plain)
    for way in WAYS:
        plan = make_plan(way, seconds, used, paces)
        whole = used + sum(plan.stages.values())
        assert whole <= seconds
        assert whole >= 0.97 * seconds - longest - 1 or plan.final_epochs == MOST_EPOCHS


def test_a_plan_by_the_prior_trains_nothing_but_the_networks() -> None:
    plan = make_plan("prior", 1000, 0, PACES)
    assert (plan.train_epochs, plan.evaluations) == (0, 0)
    assert plan.final_epochs == int((970 - 8) / 5)
    assert plan.stages == {"training": plan.final_epochs * 5 + 8}


def test_a_search_has_no_more_evaluations_than_are_of_use() -> None:
    assert make_plan("supernet", 1e6, 0, PACES).evaluations == MOST_EVALUATIONS


def test_the_final_trainings_get_the_time_that_is_left() -> None:
    plan = make_plan("supernet", 1000, 0, PACES)
    assert final_epochs(plan, used=570) == int((970 - 570 - 8) / 5)
    assert final_epochs(plan, used=5000) == 1


@pytest.mark.parametrize("way", WAYS)
def test_hours_that_are_not_enough_are_refused_with_the_least(way: Way) -> None:
    said = r"hours: 0.00278 \(0:10 minutes\) are not enough for one epoch of everything, which takes 0.0.* minutes"
    with pytest.raises(ValueError, match=said):
        make_plan(way, 10, 0, PACES)


def test_a_plan_by_which_random_weights_learn_nothing_says_what_would_be_enough() -> None:
    plan = make_plan("prior", 100, 0, PACES)  # 17 epochs
    (line,) = too_few_seen(plan, images=400)
    assert "17 epochs of 400 images" in line and "would give 50;" in line
    hours = float(line.split("--hours ")[1].split()[0])
    assert make_plan("prior", 3600 * hours, 0, PACES).final_epochs == pytest.approx(50, rel=0.05)
    assert too_few_seen(plan, images=600) == too_few_seen(make_plan("features", 100, 0, PACES), images=400) == []


@pytest.mark.parametrize(("more", "has_prior", "way"), [([], True, "prior"), ([], False, "largest")] + [
    ([("search.evaluate", asked)], True, way)
    for asked, way in (("inherited", "supernet"), ("largest", "largest"), ("prior", "prior"))
])  # fmt: skip
def test_what_is_asked_for_is_planned_or_else_what_was_better(
    more: list[tuple[str, str]], has_prior: bool, way: Way, tmp_path: Path
) -> None:
    experiment = Experiment.load(write_experiment(tmp_path), [("hours", "1"), *more])
    found, reason = way_of(experiment, has_prior=has_prior)
    assert found == way
    assert ("asks for it" in reason) == bool(more)


def test_no_network_is_trained_for_ever() -> None:
    plan = choose(1e6, 0, PACES, "prior", "why")
    assert plan.final_epochs == MOST_EPOCHS
    assert "the rest of the time is left" in plan.reasons[-1]
    assert choose(1000, 0, PACES, "prior", "why").reasons == ("why",)


def test_a_supernet_that_leaves_no_time_for_the_networks_is_refused() -> None:
    paces = Paces(plain=(10.0,), supernet=40.0, evaluation=5.0, final=3.0, found=60.0)
    with pytest.raises(ValueError, match="are not enough"):
        make_plan("supernet", 300, 0, paces)


def test_networks_are_trained_by_the_rate_of_their_own_optimizer(tmp_path: Path) -> None:
    sgd = [("finetune.optimizer", "sgd"), ("finetune.learning_rate", "0.05")]
    recipe = from_scratch(Experiment.load(write_experiment(tmp_path), sgd))
    assert (recipe.optimizer, recipe.learning_rate) == ("sgd", 0.05)
    recipe = from_scratch(Experiment.load(write_experiment(tmp_path), [*sgd, ("compare.learning_rate", "0.1")]))
    assert recipe.learning_rate == 0.1


def test_projection_begins_at_its_share_of_the_planned_epochs(tmp_path: Path) -> None:
    experiment = Experiment.load(write_experiment(tmp_path), [("train.project_from", "1"), ("hours", "1")])
    made = planned(experiment, make_plan("supernet", 1000, 0, PACES))
    assert made.train.project_from == made.train.recipe.epochs // 2  # of 2 epochs it was the second


def test_a_plan_is_kept_as_json() -> None:
    plan = choose(1000, 0, PACES, "supernet", "why")
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


def test_a_planned_experiment_says_all_its_epochs(tmp_path: Path) -> None:
    experiment = Experiment.load(write_experiment(tmp_path), [("hours", "1")])
    plan = make_plan("supernet", 1000, 0, PACES)
    made = planned(experiment, plan)
    assert made.hours is None
    assert made.train.recipe.epochs == plan.train_epochs
    assert made.search.evaluations == plan.evaluations
    assert made.finetune.recipe.epochs == plan.final_epochs
    assert made.finetune.recipe.learning_rate == experiment.finetune.recipe.learning_rate
    for way in ("prior", "largest"):
        alone = planned(experiment, make_plan(way, 1000, 0, PACES))
        assert alone.search.evaluate == way
        assert alone.finetune.recipe.learning_rate == experiment.train.recipe.learning_rate


@given(st.integers(1, 500))
def test_the_warm_up_is_a_small_part_of_any_number_of_epochs(epochs: int) -> None:
    recipe = with_epochs(Experiment.load(Path("experiments/quickstart.yaml")).finetune.recipe, epochs)
    assert 1 <= recipe.warmup_epochs <= max(1, 0.06 * epochs + 1)


def test_hours_are_refused_where_there_is_nothing_to_divide(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hours: 0.0 is illegal; legal: numbers above 0"):
        Experiment.load(write_experiment(tmp_path), [("hours", "0")])
    with pytest.raises(ValueError, match="hours: are not divided where every candidate is trained"):
        Experiment.load(write_experiment(tmp_path), [("hours", "1"), ("search.evaluate", "scratch")])
