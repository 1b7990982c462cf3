"""A search whose evaluations are shared, killed, resumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.files.owners import this_process
from nasvit.search import study as study_module
from nasvit.search.candidates import Candidate, Candidates
from nasvit.search.judge import Judge
from nasvit.search.optuna_sampler import distributions, open_storage, to_params
from nasvit.search.run import search
from nasvit.search.study import Plan, Study
from nasvit.tasks.task import Metric
from nasvit.training.progress import Progress
from predictors.gaussian_process import GaussianProcess
from predictors.limits import parse_limits
from search_spaces.recipe_space import load_recipes

SPACE = search_spaces.load("micro8")
TABLE = cost_table(SPACE, 10)
COUNT = 14
PATIENCE = 60.0  # seconds after which something that should happen in another process counts as not happening


def make_plan(evaluations: int = COUNT, budgets: tuple[str, ...] = (), early_stop: float = 0.0) -> Plan:
    candidates = Candidates(SPACE, TABLE.costs, load_recipes("finetune_small") if early_stop else None)
    return Plan(
        candidates,
        [parse_limits([budget]) for budget in budgets],
        evaluations,
        lambda: GaussianProcess(candidates.genome, steps=5),
        early_stop=early_stop,
    )


def width(candidate: Candidate, share: float) -> dict[str, Any]:
    return {"score": sum(candidate.architecture.width) / 1000, "share": share}


def make(folder: Path, plan: Plan | None = None, evaluate: Any = width) -> Study:
    return Study(plan or make_plan(), evaluate, f"sqlite:///{folder}/study.db", "test")


def test_a_search_evaluates_as_many_different_candidates_as_planned(tmp_path: Path) -> None:
    study = make(tmp_path)
    study.run()
    assert len({record["key"] for record in study.records}) == COUNT
    codes, scores = study.told()
    assert [record["score"] for record in study.records] == scores.tolist()
    assert study.plan.candidates.decode(codes)[0].key == study.records[0]["key"]


def test_budgets_take_turns_and_their_limits_hold(tmp_path: Path) -> None:
    study = make(tmp_path, make_plan(budgets=("macs<=200K", "300K<=macs<=500K")))
    study.run()
    macs = study.plan.candidates.costs(study.told()[0])["macs"]
    assert (macs[: COUNT // 2] <= 200_000).all()
    assert ((macs[COUNT // 2 :] >= 300_000) & (macs[COUNT // 2 :] <= 500_000)).all()


def touch_and_sleep(folder: Path, stuck: int = 10**6) -> Any:
    """Return an evaluation that leaves a file for each call, and does not end from call ``stuck`` on."""

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        (folder / f"{candidate.key}@{time.monotonic_ns()}@{os.getpid()}").touch()
        time.sleep(3600 if len(started(folder)) >= stuck else 0)
        return width(candidate, share)

    return evaluate


def start_worker(folder: Path, evaluate: Any) -> Any:
    worker = multiprocessing.get_context("fork").Process(
        target=lambda: make(folder, evaluate=evaluate).run(), daemon=True
    )
    worker.start()
    return worker


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Return when something has happened; fail in words where it does not."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.01)


def started(folder: Path) -> list[str]:
    """Keys of all evaluations that were begun, in order."""
    paths = sorted(folder.glob("*@*"), key=lambda path: int(path.name.split("@")[1]))
    return [path.name.split("@")[0] for path in paths]


def test_a_worker_that_was_killed_loses_one_evaluation_and_the_search_goes_on_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    whole = make(tmp_path / "whole")
    whole.run()
    worker = start_worker(tmp_path, touch_and_sleep(tmp_path, stuck=6))
    wait_until(lambda: len(started(tmp_path)) == 6 or not worker.is_alive(), "the worker's sixth evaluation")
    assert worker.is_alive(), "the worker ended before it was killed"
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    resumed = start_worker(tmp_path, touch_and_sleep(tmp_path))
    resumed.join(PATIENCE)
    assert resumed.exitcode == 0, "the resumed search does not end"
    assert [record["key"] for record in make(tmp_path).records] == [record["key"] for record in whole.records]
    begun = started(tmp_path)
    assert begun[5] == begun[6]
    assert len(begun) == COUNT + 1


class KilledError(BaseException):
    """Ends an evaluation as a kill does: nobody tells the storage."""


def killed(candidate: Candidate, share: float) -> dict[str, Any]:
    raise KilledError


def test_a_dead_workers_trial_is_released_even_if_another_worker_does_it_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(tmp_path, evaluate=killed)
    with pytest.raises(KilledError):
        study.run()
    monkeypatch.setattr(study_module, "is_gone", lambda _: True)
    trials = study_module._Shared(study, Progress("search", COUNT))
    seen_a_moment_ago = study.study.get_trials()
    assert [trial.state for trial in seen_a_moment_ago] == [TrialState.RUNNING]
    assert trials._release_lost(seen_a_moment_ago)
    assert trials._release_lost(seen_a_moment_ago)
    assert [trial.state for trial in study.study.trials] == [TrialState.FAIL]
    assert study.study.trials[0].user_attrs["lost"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # which only optimize gives
def test_a_worker_that_fell_silent_on_another_machine_is_not_waited_for(tmp_path: Path) -> None:
    study = make(tmp_path, make_plan(1))
    running = study.study.ask(distributions(study.plan.candidates.genome))
    running.set_user_attr("owner", {**this_process(), "host": "elsewhere"})
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    storage.record_heartbeat(running._trial_id)
    with storage.engine.begin() as database:
        database.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    study.run(visible=False)
    assert [trial.state for trial in study.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_who_takes_over_a_waiting_trial_owns_it(tmp_path: Path) -> None:
    study = make(tmp_path, make_plan(1))
    row = study.plan.candidates.encode([Candidate(SPACE.smallest)])
    dead = {**this_process(), "process": 2**22 + 1}
    seen: list[Any] = []

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        seen.extend(study.study.get_trials(states=(TrialState.RUNNING,)))
        return width(candidate, share)

    study.study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=to_params(study.plan.candidates.genome, row[0]),
            distributions=distributions(study.plan.candidates.genome),
            user_attrs={"owner": dead},
        )
    )
    study.evaluate = evaluate
    study.run()
    assert [trial.user_attrs["owner"] for trial in seen] == [this_process()]


def test_workers_share_the_evaluations_and_none_is_done_twice(tmp_path: Path) -> None:
    touch = touch_and_sleep(tmp_path)

    def together(candidate: Candidate, share: float) -> dict[str, Any]:
        record = touch(candidate, share)
        wait_until(lambda: len(list(tmp_path.glob("*@*"))) > 1, "an evaluation of the other worker")
        return record

    workers = [start_worker(tmp_path, together) for _ in range(2)]
    for worker in workers:
        worker.join(2 * PATIENCE)
        assert worker.exitcode == 0
    assert len({path.name.split("@")[2] for path in tmp_path.glob("*@*")}) == 2
    begun = started(tmp_path)
    assert len(set(begun)) == len(begun)
    assert COUNT <= len(begun) <= COUNT + 1  # both may start a last one


def test_two_workers_that_propose_the_same_evaluate_it_once(tmp_path: Path) -> None:
    evaluated: list[str] = []

    def evaluate(candidate: Candidate, share: float) -> dict[str, Any]:
        evaluated.append(candidate.key)
        if len(evaluated) == 1:  # the other worker proposed it at the same moment, and starts meanwhile
            other = study_module._Shared(make(tmp_path, make_plan(1), evaluate), Progress("search", 1))
            other.evaluate(study.plan.candidates.encode([candidate]))
        return width(candidate, share)

    study = make(tmp_path, make_plan(1), evaluate)
    study.run()
    assert len(evaluated) == 1
    assert [trial.state for trial in study.study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_the_product_and_a_search_in_memory_evaluate_the_same_candidates_in_the_same_order(tmp_path: Path) -> None:
    plan = replace(make_plan(30), seed=3)
    study = make(tmp_path, plan)
    study.run()
    candidates = plan.candidates
    found = search(
        candidates.genome,
        lambda codes: [width(candidate, 1.0)["score"] for candidate in candidates.decode(codes)],
        budget=30,
        seed=3,
        make_predictor=plan.make_predictor,
    )
    np.testing.assert_array_equal(found.codes, study.told()[0])
    np.testing.assert_array_equal(found.scores, study.told()[1])


def test_where_lower_is_better_the_search_goes_down(tmp_path: Path) -> None:
    down = make(tmp_path, replace(make_plan(30), judge=Judge(Metric("error", higher_is_better=False))))
    down.run()
    _, learned = down.told()
    assert learned.tolist() == [-record["score"] for record in down.records]
    assert down.study.best_value == min(record["score"] for record in down.records)
    found = [record["architecture"]["width"] for record in down.records]
    assert np.mean([sum(each) for each in found[10:]]) < np.mean([sum(each) for each in found[:10]])


def test_a_search_ends_where_every_candidate_is_evaluated_after_the_other_budgets_had_their_turn(
    tmp_path: Path,
) -> None:
    smallest = int(TABLE.costs(SPACE.encode([SPACE.smallest]))["macs"][0])
    alone = make(tmp_path, make_plan(budgets=(f"macs<={smallest}",)))
    alone.run()
    assert [record["key"] for record in alone.records] == [SPACE.smallest.key]
    (tmp_path / "both").mkdir()
    both = make(tmp_path / "both", make_plan(budgets=(f"macs<={smallest}", "macs>=600K")))
    both.run()
    macs = both.plan.candidates.costs(both.told()[0])["macs"]
    assert macs[0] == smallest
    assert len(macs) == COUNT
    assert (macs[1:] >= 600_000).all()


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
        return {"score": curve[-1], "curve": curve, "share": share}

    study = make(tmp_path, make_plan(early_stop=0.9), evaluate)
    study.run()
    assert [record["share"] for record in study.records] == [1.0] * 10 + [0.25] * (COUNT - 10)
    _, scores = study.told()
    halves = [0.5 * sum(record["architecture"]["width"]) / 1000 for record in study.records]
    np.testing.assert_allclose(scores, halves)


def test_two_workers_that_propose_the_last_candidate_at_once_evaluate_one_of_the_two(tmp_path: Path) -> None:
    study = make(tmp_path, make_plan(evaluations=2))
    other = make(tmp_path, study.plan)
    rows = study.plan.candidates.genome.sample(3, np.random.default_rng(0))
    mine, theirs = (study_module._Shared(each, Progress("a test", 2, visible=False)) for each in (study, other))
    mine.evaluate(rows[:1])
    assert mine.look().done == theirs.look().done == 1  # both see that one is left
    mine.evaluate(rows[1:2])
    theirs.evaluate(rows[2:])
    assert len(study.records) == 2
    assert mine.look().done == 2
