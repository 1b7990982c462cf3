"""Experiments with hours: planned once, followed, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasvit.experiment import planning
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.plan import Paces
from nasvit.experiment.planning import follow_known_plan, follow_plan
from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.stages.search import work
from nasvit.experiment.workbench import PLAN, TIMING, Workbench
from nasvit.training.trainer import Trainer
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

PACES = Paces(plain=(1.0, 1.0), supernet=4.0, evaluation=0.2, final=1.0, found=1.0)
HOURS = 12 / 3600


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    """Exporting takes seconds a network, and is tested elsewhere."""
    with without_programs(), few_digits():
        yield


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which everybody knows how fast it is."""
    monkeypatch.setattr(planning.Timing, "paces", lambda self, way: PACES)


def opened(folder: Path, *overrides: tuple[str, str]) -> Workbench:
    path = write_experiment(folder)
    usual = (("hours", str(HOURS)), ("compare.scratch", "false"), ("compare.random", "0"))
    return open_workbench(path, folder / "run", (*usual, *overrides))


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


@pytest.mark.usefixtures("paces")
def test_the_priors_choices_are_trained_for_the_epochs_of_the_plan(tmp_path: Path) -> None:
    bench = opened(tmp_path)
    rows = run(bench)
    kept = json.loads((bench.folder / PLAN).read_text(encoding="utf-8"))["plan"]
    assert kept["way"] == "prior"
    assert bench.experiment.finetune.recipe.epochs == kept["final_epochs"] > 1
    assert [row["epochs"] for row in rows] == [{"scratch": kept["final_epochs"]}] * 2
    assert not (bench.folder / "supernet.pt").exists()
    assert [choice.evidence["judged_by"] for choice in load_choices(bench)] == ["prior"] * 2


@pytest.mark.usefixtures("paces")
def test_a_plan_that_was_killed_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(opened(tmp_path / "whole"))
    took, steps = Trainer._train_on, 0

    def killed_at_step_10(self: Trainer, batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 10:
            raise KeyboardInterrupt
        return took(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_on", killed_at_step_10)
        with pytest.raises(KeyboardInterrupt):
            run(opened(tmp_path / "killed"))
    monkeypatch.setattr(planning.Timing, "paces", lambda self, way: pytest.fail("the plan was made anew"))
    assert comparable(run(opened(tmp_path / "killed"))) == comparable(whole)


@pytest.mark.usefixtures("paces")
def test_without_a_prior_networks_as_large_as_the_budgets_allow_are_trained(tmp_path: Path) -> None:
    bench = opened(tmp_path, ("search.prior", "none"))
    run(bench)
    choices = load_choices(bench)
    assert [choice.evidence["judged_by"] for choice in choices] == ["size"] * 2
    for choice in choices:
        assert all(limit.low <= choice.costs[limit.metric] <= limit.high for limit in choice.budget.limits)
    assert choices[0].costs["macs"] > 0.9 * 300e3
    assert not (bench.folder / "supernet.pt").exists()


@pytest.mark.usefixtures("paces")
def test_a_supernet_is_trained_if_asked_for_and_the_rest_of_the_time_is_for_the_networks(tmp_path: Path) -> None:
    asked = (("search.evaluate", "inherited"), ("hours", "0.01"))
    bench = opened(tmp_path, *asked)
    rows = run(bench)
    kept = json.loads((bench.folder / PLAN).read_text(encoding="utf-8"))["plan"]
    assert kept["way"] == "supernet"
    assert kept["replanned"] is True
    assert {name for row in rows for name in row["scores"]} == {"supernet", "extracted", "finetuned"}
    again = opened(tmp_path, *asked)
    assert comparable(run(again)) == comparable(rows)
    assert again.experiment == bench.experiment


@pytest.mark.usefixtures("paces")
def test_a_folder_that_follows_a_plan_is_refused_to_another_experiment(tmp_path: Path) -> None:
    run(opened(tmp_path))
    with pytest.raises(ValueError, match="follows a plan that was made for another search"):
        run(opened(tmp_path, ("search.budgets", "[macs<=500K]")))
    with pytest.raises(ValueError, match="another hours"):
        run(opened(tmp_path, ("hours", "1")))


@pytest.mark.usefixtures("paces")
def test_a_plan_that_nothing_was_trained_by_is_made_anew(tmp_path: Path) -> None:
    follow_plan(opened(tmp_path))
    other = opened(tmp_path, ("hours", "0.02"))
    follow_plan(other)
    assert json.loads((other.folder / PLAN).read_text(encoding="utf-8"))["plan"]["seconds"] == 72


@pytest.mark.usefixtures("paces")
def test_a_worker_follows_the_plan_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no plan in .* yet"):
        follow_known_plan(opened(tmp_path))
    bench = opened(tmp_path)
    follow_plan(bench)
    worker = opened(tmp_path)
    follow_known_plan(worker)
    assert worker.experiment == bench.experiment
    with pytest.raises(ValueError, match="prior chooses without evaluations"):
        work(worker)


def test_hours_that_are_not_enough_claim_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are not enough for one epoch of everything"):
        run(opened(tmp_path, ("hours", "1e-5")))
    folder = tmp_path / "run"
    assert not (folder / TIMING).exists()
    assert not (folder / PLAN).exists()
    open_workbench(write_experiment(tmp_path, space="space: micro8", threads="threads: 2"), folder)


def test_everything_is_timed_on_the_networks_themselves(tmp_path: Path) -> None:
    bench = opened(tmp_path, ("hours", "0.01"))
    measured = planning.Timing(bench, 36.0).paces("supernet")
    assert len(measured.plain) == len(bench.budgets)
    assert all(seconds > 0 for seconds in (*measured.plain, measured.supernet, measured.evaluation, measured.final))
    assert measured.supernet > max(measured.plain) / 10
