"""A search whose evaluations are shared, killed, resumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.search import study as study_module
from nasvit.search.candidates import Candidate, Candidates
from nasvit.search.study import Plan, Study
from predictors.gaussian_process import GaussianProcess
from predictors.limits import parse_limits
from search_spaces.recipe_space import load_recipes

SPACE = search_spaces.load("micro8")
TABLE = cost_table(SPACE, 10)
COUNT = 14


def make_plan(evaluations: int = COUNT, budgets: tuple[str, ...] = (), early_stop: float = 0.0) -> Plan:
    candidates = Candidates(SPACE, TABLE.costs, load_recipes("finetune_small") if early_stop else None)
    return Plan(
        candidates,
        [parse_limits([budget]) for budget in budgets],
        evaluations,
        lambda: GaussianProcess(candidates.genome, first_steps=5),
        early_stop=early_stop,
    )


def width(candidate: Candidate, share: float) -> dict[str, Any]:
    return {"accuracy": sum(candidate.architecture.width) / 1000, "share": share}


def make(folder: Path, plan: Plan | None = None, evaluate: Any = width) -> Study:
    return Study(plan or make_plan(), evaluate, f"sqlite:///{folder}/study.db", "test")


def test_a_search_evaluates_as_many_different_candidates_as_planned(tmp_path: Path) -> None:
    study = make(tmp_path)
    study.run()
    assert len({record["key"] for record in study.records}) == COUNT
    codes, scores = study.told()
    assert [record["accuracy"] for record in study.records] == scores.tolist()
    assert study.plan.candidates.decode(codes)[0].key == study.records[0]["key"]


def test_budgets_take_turns_and_their_limits_hold(tmp_path: Path) -> None:
    study = make(tmp_path, make_plan(budgets=("macs<=200K", "300K<=macs<=500K")))
    study.run()
    macs = study.plan.candidates.costs(study.told()[0])["macs"]
    assert (macs[: COUNT // 2] <= 200_000).all()
    assert ((macs[COUNT // 2 :] >= 300_000) & (macs[COUNT // 2 :] <= 500_000)).all()


def touch_and_sleep(folder: Path, seconds: float, stuck: int) -> Any:
    """Return an evaluation that leaves a file for each call, and does not end from call ``stuck`` on."""

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        (folder / f"{candidate.key}@{time.monotonic_ns()}").touch()
        time.sleep(3600 if len(list(folder.glob("*@*"))) >= stuck else seconds)
        return width(candidate, share)

    return evaluate


def start_worker(folder: Path, seconds: float = 0.0, stuck: int = 10**6) -> Any:
    def work() -> None:
        make(folder, evaluate=touch_and_sleep(folder, seconds, stuck)).run()

    worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    worker.start()
    return worker


def started(folder: Path) -> list[str]:
    """Keys of all evaluations that were begun, in order."""
    paths = sorted(folder.glob("*@*"), key=lambda path: int(path.name.partition("@")[2]))
    return [path.name.partition("@")[0] for path in paths]


def test_a_worker_that_was_killed_loses_one_evaluation_and_the_search_goes_on_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole")
    whole.run()
    worker = start_worker(tmp_path, stuck=6)
    while len(started(tmp_path)) < 6:
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    resumed = make(tmp_path, evaluate=touch_and_sleep(tmp_path, 0.0, 10**6))
    resumed.run()
    assert [record["key"] for record in resumed.records] == [record["key"] for record in whole.records]
    begun = started(tmp_path)
    assert begun[5] == begun[6]
    assert len(begun) == COUNT + 1


def test_a_dead_workers_trial_is_released_even_if_another_worker_does_it_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(tmp_path)
    study._propose()
    trial = study.study.ask()
    monkeypatch.setattr(study_module, "_is_dead", lambda _: True)
    running = study._trials(optuna.trial.TrialState.RUNNING)
    monkeypatch.setattr(study, "_trials", lambda *_: running)  # what a worker saw a moment ago
    study._release_lost()
    study._release_lost()
    assert study.study.trials[trial.number].state == optuna.trial.TrialState.FAIL
    assert study.study.trials[trial.number].user_attrs["lost"]


def test_workers_share_the_evaluations_and_none_is_done_twice(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path, seconds=0.05) for _ in range(2)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    begun = started(tmp_path)
    assert len(set(begun)) == len(begun)
    assert COUNT <= len(begun) <= COUNT + 1  # both may start a last one


def test_two_workers_that_propose_the_same_evaluate_it_once(tmp_path: Path) -> None:
    evaluated: list[str] = []

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        evaluated.append(candidate.key)
        if len(evaluated) == 1:
            other.study.optimize(other._objective, n_trials=1)  # the other worker's trial starts meanwhile
        return width(candidate, share)

    study, other = make(tmp_path, make_plan(1), evaluate), make(tmp_path, make_plan(1), evaluate)
    study._propose()
    proposed = study._trials(optuna.trial.TrialState.WAITING)[0].system_attrs["fixed_params"]
    other.study.enqueue_trial(proposed, user_attrs={"owner": study_module._owner()})
    study.run()
    assert len(evaluated) == 1
    assert [trial.state.name for trial in study.study.trials] == ["COMPLETE", "PRUNED"]


def test_an_evaluation_that_fails_twice_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad: list[str] = []

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        bad[:] = bad or [candidate.key]
        if candidate.key == bad[0]:
            raise MemoryError("too large")
        return width(candidate, share)

    study = make(tmp_path, evaluate=evaluate)
    for _ in range(2):
        with pytest.raises(MemoryError):
            study.run()
    study.run()
    assert len(study.records) == COUNT
    assert bad[0] not in {record["key"] for record in study.records}


def test_interrupting_is_no_failure_of_the_candidate(tmp_path: Path) -> None:
    interrupts = 3

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        nonlocal interrupts
        if interrupts:
            interrupts -= 1
            raise KeyboardInterrupt
        return width(candidate, share)

    study = make(tmp_path, evaluate=evaluate)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study.run()
    study.run()
    assert len({str(trial.params) for trial in study.study.trials[:4]}) == 1


def test_after_the_first_candidates_trainings_stop_where_the_ranking_is_settled(tmp_path: Path) -> None:
    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        final = sum(candidate.architecture.width) / 1000
        curve = [0.5 * final, 0.8 * final, 0.9 * final, final][: round(4 * share)]
        return {"accuracy": curve[-1], "curve": curve, "share": share}

    study = make(tmp_path, make_plan(early_stop=0.9), evaluate)
    study.run()
    assert [record["share"] for record in study.records] == [1.0] * 10 + [0.25] * (COUNT - 10)
    _, scores = study.told()
    halves = [0.5 * sum(record["architecture"]["width"]) / 1000 for record in study.records]
    np.testing.assert_allclose(scores, halves)
