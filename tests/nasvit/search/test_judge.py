"""Which of two measured candidates is better, the best under a budget, and the front."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.search.candidates import Candidate
from nasvit.search.finalists import Finalist, best_under, equals_of
from nasvit.search.judge import FEW, Judge
from nasvit.search.pareto import pareto_front, write_front
from nasvit.tasks.classification import Classification
from nasvit.tasks.task import Metric
from predictors.limits import Budget
from tests.nasvit.search.test_study import SPACE

BY_SCORE, BY_LOSS = (Judge.of(Classification(10), asked, 57) for asked in ("score", "loss"))
BUDGETS = tuple(map(Budget, ("macs<=2", "macs<=3", "memory<=2", "macs<=4 and memory<=3", "2<=macs<=3", "")))

JUDGES = st.sampled_from([BY_SCORE, BY_LOSS, Judge(Metric("error", higher_is_better=False))])
NUMBERS = st.sampled_from([0.0, 1.0, 2.0])
COSTS = st.sampled_from([1, 2, 3, 4])
MEASURED = st.lists(st.tuples(NUMBERS, NUMBERS, COSTS, COSTS), min_size=1, max_size=8)


def finalists(measured: list[tuple[float, float, int, int]]) -> list[Finalist]:
    return [
        Finalist(
            Candidate(SPACE.smallest),
            {"key": f"k{number}", "score": score, "loss": loss, "macs": macs, "params": 1, "memory": memory},
            {"macs": macs, "memory": memory},
        )
        for number, (score, loss, macs, memory) in enumerate(measured)
    ]


def dominates(one: Finalist, other: Finalist, judge: Judge, budget: Budget) -> bool:
    """Whether one is nowhere worse, in what counts under a budget, and better somewhere."""
    costs = [each.costs_under(budget) for each in (one, other)]
    if judge.better(other.record, one.record) or any(mine > theirs for mine, theirs in zip(*costs, strict=True)):
        return False
    return judge.better(one.record, other.record) or costs[0] != costs[1]


@given(measured=MEASURED, judge=JUDGES, budget=st.sampled_from(BUDGETS))
def test_no_candidate_that_meets_the_budget_dominates_the_chosen_one(
    measured: list[tuple[float, float, int, int]], judge: Judge, budget: Budget
) -> None:
    everyone = finalists(measured)
    able = [each for each in everyone if each.meets(budget)]
    if not able:
        with pytest.raises(ValueError, match=f"none of {len(everyone)} measured candidates meets"):
            best_under(budget, everyone, judge)
        return
    best = best_under(budget, everyone, judge)
    assert best.meets(budget)
    assert not any(dominates(other, best, judge, budget) for other in able)
    assert best_under(budget, everyone[::-1], judge) is best  # whatever the order in which they were measured


@given(measured=MEASURED, judge=JUDGES)
def test_where_multiply_adds_alone_are_limited_the_chosen_one_is_on_the_front(
    measured: list[tuple[float, float, int, int]], judge: Judge
) -> None:
    everyone = finalists(measured)
    front = [record["key"] for record in pareto_front([each.record for each in everyone], judge)]
    for budget in (Budget(f"macs<={limit}") for limit in range(1, 5)):
        if any(each.meets(budget) for each in everyone):
            assert best_under(budget, everyone, judge).record["key"] in front


@given(measured=MEASURED, judge=JUDGES)
def test_the_front_holds_what_none_beats_and_nothing_else(
    measured: list[tuple[float, float, int, int]], judge: Judge
) -> None:
    records = [each.record for each in finalists(measured)]
    front = pareto_front(records, judge)
    assert [record["macs"] for record in front] == sorted({record["macs"] for record in front})
    for record in records:
        beaten = any(
            other["macs"] <= record["macs"]
            and not judge.better(record, other)
            and (judge.better(other, record) or other["macs"] < record["macs"])
            for other in records
        )
        same = any(
            each["macs"] == record["macs"] and not judge.better(each, record) and not judge.better(record, each)
            for each in front
        )
        assert (not beaten) == same


@given(measured=MEASURED, judge=JUDGES)
def test_a_looser_budget_never_gets_a_worse_network(
    measured: list[tuple[float, float, int, int]], judge: Judge
) -> None:
    everyone = finalists(measured)
    ladder = [Budget(f"macs<={limit}") for limit in range(1, 5)]
    served = [best_under(each, everyone, judge) for each in ladder if any(one.meets(each) for one in everyone)]
    assert not any(judge.better(tight.record, loose.record) for tight, loose in zip(served, served[1:]))


def record(score: float, loss: float | None = None, key: str = "a") -> dict[str, Any]:
    return {"key": key, "score": score} | ({} if loss is None else {"loss": loss})


def test_ties_go_to_the_lower_loss_then_the_lower_limited_cost_then_multiply_adds_then_the_key() -> None:
    tied = [(0.5, 0.9, 1, 1), (0.5, 0.8, 3, 3), (0.5, 0.8, 3, 2), (0.5, 0.8, 2, 4), (0.5, 0.8, 2, 4), (0.4, 0.1, 1, 1)]
    everyone = finalists(tied)
    chosen = {budget: best_under(Budget(budget), everyone, BY_SCORE).record["key"] for budget in ("", "memory<=9")}
    assert chosen == {"": "k3", "memory<=9": "k2"}
    assert best_under(Budget(), everyone, BY_LOSS).record["key"] == "k5"


def test_the_loss_decides_on_few_images_and_the_score_on_many() -> None:
    few, many = (Judge.of(Classification(10), "auto", images) for images in (FEW - 1, FEW))
    right, sure = record(0.6, 1.0), record(0.5, 0.8)
    assert few.better(sure, right) and not few.better(right, sure)
    assert many.better(right, sure) and not many.better(sure, right)
    assert (few.name, many.name) == ("loss", "score")
    assert few.merit(sure) == -0.8


class Boxes(Classification):
    """A task whose score has no loss."""

    metric = Metric("error", higher_is_better=False)
    loss = None


def test_a_task_without_a_loss_is_judged_by_its_score() -> None:
    judge = Judge.of(Boxes(10), "auto", 5)
    assert judge.better(record(0.1), record(0.2))
    assert (judge.name, judge.merit(record(0.1))) == ("score", -0.1)
    with pytest.raises(ValueError, match=r"search\.judge: loss; this task has nothing but error; legal: auto, score"):
        Judge.of(Boxes(10), "loss", 5)


def test_a_training_that_collapsed_counts_as_guessing_by_loss_too() -> None:
    for collapsed in (record(0.1), record(0.1, math.nan)):
        assert BY_LOSS.merit(collapsed) == -math.log(10)
        assert BY_LOSS.better(record(0.1, 2.0), collapsed)
    assert Judge(Metric("m")).better(record(-5.0), record(math.nan))


def test_equals_meet_the_budget_too_and_come_by_cost() -> None:
    everyone = finalists(
        [(0.5, 0.80, 3, 1), (0.4, 0.85, 2, 1), (0.4, 0.89, 1, 1), (0.4, 0.95, 1, 1), (0.6, 0.81, 4, 1)]
    )
    budget = Budget("macs<=3")
    best = best_under(budget, everyone, BY_LOSS)
    found = equals_of(best, budget, everyone, BY_LOSS, unseen=0.1)
    assert [each.record["key"] for each in (best, *found)] == ["k0", "k2", "k1"]


def test_the_table_of_the_front_says_what_it_was_judged_by(tmp_path: Path) -> None:
    records = [each.record for each in finalists([(0.4, 0.5, 2, 1), (0.5, 0.6, 1, 1), (0.3, 0.7, 3, 1)])]
    write_front(records, records, tmp_path, BY_LOSS, ["k0"])
    table = pd.read_csv(tmp_path / "pareto.csv")
    assert [*table.columns] == ["key", "loss", "score", "macs", "params", "memory", "judged_by"]
    assert table.values.tolist() == [["k1", 0.6, 0.5, 1, 1, 1, "loss"], ["k0", 0.5, 0.4, 2, 1, 1, "loss"]]
    assert (tmp_path / "pareto.png").stat().st_size > 1000
