"""Ways to train a supernet, timed and judged alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.supernet_start import Settings, experiment_of, judges, lasting, main
from nasvit.experiment.workbench import Workbench
from predictors.limits import feasible
from tests.nasvit.experiment.tiny import write_experiment


def test_a_way_is_fields_of_the_train_section(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    plain, changed = (experiment_of(path, way, 3) for way in ("", "members=one, largest_first=0.2"))
    assert changed.train == replace(plain.train, members="one", largest_first=0.2)
    assert (plain.seed, plain.train.evaluate_every, plain.train.random_subnets) == (3, 0, 1)


def test_a_way_that_there_is_not_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    with pytest.raises(ValueError, match=r"--train\.member: unknown key"):
        main(Settings(path, ways=("", "member=one"), json=tmp_path / "found.json"))
    assert not (tmp_path / "found.json").exists()


def test_other_epochs_have_as_large_a_share_to_warm_up_in(tmp_path: Path) -> None:
    experiment = experiment_of(write_experiment(tmp_path), "recipe.warmup_epochs=1,project_from=1", 0)
    longer, shorter = lasting(experiment, 20).train, lasting(experiment, 1).train
    assert (longer.recipe.epochs, longer.recipe.warmup_epochs, longer.project_from) == (20, 10, 1)
    assert (shorter.recipe.epochs, shorter.project_from) == (1, 0)


def test_the_judges_meet_the_budget_and_are_the_same_in_every_way(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    within, whole = (
        Workbench(experiment_of(path, way, 0), tmp_path / way)
        for way in ("within_budgets=true", "within_budgets=false")
    )
    for budget in within.budgets:
        found = judges(within, budget, 6)
        assert found == judges(whole, budget, 6)
        costs = whole.candidates.costs(whole.space.encode(found))
        assert len({*found}) == 6 and feasible(costs, budget.limits).all()
        assert np.mean(costs["macs"]) > 0.75 * budget.limits[0].high


def test_every_way_is_trained_for_about_the_time_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    main(Settings(write_experiment(tmp_path), seconds=0.01, ways=("", "members=one"), subnets=2, json=file))
    content = json.loads(file.read_text())
    assert [(row["way"], row["epochs"]) for row in content["rows"]] == [("as it is", 1), ("members=one", 1)]
    assert all(0 <= row["macs-300K"]["mean"] <= 1 and 0 <= row["macs-300K"]["best"] <= 1 for row in content["rows"])
    assert content["config"]["space"] == "micro8"
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == content["rows"]
