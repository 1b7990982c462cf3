"""The choice at the end of a search, what it says, and results of earlier versions."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nasvit.data.config import DataConfig
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages.choice import Choice, load_choices
from nasvit.experiment.stages.search import is_searched, search
from nasvit.experiment.stages.train import train
from nasvit.experiment.training import FitConfig
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import read_json
from nasvit.search.evaluate import InheritedWeights
from nasvit.tasks.classification import ClassificationScore as Score
from search_spaces import Architecture
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import write_experiment

FEW = {
    "data": "data: {source: digits, padding: 1}",
    "budgets": "  budgets: [macs<=300K, macs<=600K, memory<=12KB]",
    "images": "  images: 0",
    "finalists": "  finalists: 3",
}


def opened(folder: Path, **changes: str) -> Workbench:
    return open_workbench(write_experiment(folder, **{**FEW, **changes}), folder / "out")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a supernet that nothing was searched in; tests copy it."""
    folder = tmp_path_factory.mktemp("few")
    train(opened(folder))
    return folder


@pytest.fixture(scope="module")
def searched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, list[Choice], str]:
    """The experiment after its search, what was chosen, and what was printed."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(trained / "out", folder / "out")
    bench = opened(folder)
    with redirect_stdout(io.StringIO()) as printed:
        choices = search(bench)
    return bench, choices, printed.getvalue()


def finalists(bench: Workbench) -> list[dict[str, Any]]:
    (path,) = (bench.folder / "search").glob("finalists-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_on_few_images_the_finalist_of_least_loss_is_chosen_whichever_budget_it_was_found_for(
    searched: tuple[Workbench, list[Choice], str],
) -> None:
    bench, choices, _ = searched
    assert len(bench.images.validation) == 250
    for choice in choices:
        (limit,) = choice.budget.limits
        able = [each for each in finalists(bench) if each[limit.metric] <= limit.high]
        assert choice.evidence["judged_by"] == "loss"
        assert choice.evidence["loss"] == min(each["loss"] for each in able)
    counts = [sum(each["macs"] <= limit for each in finalists(bench)) for limit in (300_000, 600_000)]
    assert 3 <= counts[0] < counts[1] > 3  # the looser budget is served from those of the tighter one too
    assert choices[1].evidence["loss"] <= choices[0].evidence["loss"]


def test_the_search_learns_from_the_loss_on_few_images(searched: tuple[Workbench, list[Choice], str]) -> None:
    assert json.loads((searched[0].folder / "search" / "predictor.json").read_text())["learned"] == "loss"


def test_the_front_is_made_of_finalists_and_the_chosen_ones_are_on_it(
    searched: tuple[Workbench, list[Choice], str],
) -> None:
    bench, choices, _ = searched
    table = pd.read_csv(bench.folder / "search" / "pareto.csv")
    assert set(table["key"]) <= {each["key"] for each in finalists(bench)}
    assert set(table["judged_by"]) == {"loss"}
    assert {choice.candidate.key for choice in choices[:2]} <= set(table["key"])
    assert (np.diff(table["macs"]) > 0).all() and (np.diff(table["loss"]) < 0).all()


def test_no_candidate_that_was_evaluated_on_all_held_out_images_beats_a_chosen_one(
    searched: tuple[Workbench, list[Choice], str],
) -> None:
    bench, choices, _ = searched
    lines = (bench.folder / "search" / "evaluations.jsonl").read_text().splitlines()
    evaluated = [json.loads(line) for line in lines]
    assert {each["images"] for each in evaluated} == {250}
    for choice in choices:
        (limit,) = choice.budget.limits
        able = [each for each in evaluated if each[limit.metric] <= limit.high]
        assert choice.evidence["loss"] <= min(each["loss"] for each in able) + 1e-6
    table = pd.read_csv(bench.folder / "search" / "pareto.csv")
    for each in evaluated:
        assert table["loss"][table["macs"] <= each["macs"]].min() <= each["loss"] + 1e-6


def test_what_cannot_be_seen_is_said_and_kept(searched: tuple[Workbench, list[Choice], str]) -> None:
    bench, choices, printed = searched
    evidence = choices[0].evidence
    points, loss = 100 * evidence["unseen_below"]["accuracy"], evidence["unseen_below"]["loss"]
    assert 1 < points < 12  # 250 images of a supernet that knows a part of them
    line = (
        f"250 held-out images: differences below {points:.2g} points of accuracy or {loss:.2g} of loss cannot be seen"
    )
    assert printed.count(line) == 1
    for choice in choices:
        equals = choice.evidence["equals"]
        assert all(abs(each["loss"] - choice.evidence["loss"]) <= loss for each in equals)
        assert f"{choice.budget}: " in printed
        (limit,) = choice.budget.limits
        assert [each[limit.metric] for each in equals] == sorted(each[limit.metric] for each in equals)
        near = [each["key"] for each in finalists(bench) if 0 < each["loss"] - choice.evidence["loss"] <= loss]
        assert {each["key"] for each in equals} == {
            key for key in near if next(e for e in finalists(bench) if e["key"] == key)[limit.metric] <= limit.high
        }
    assert load_choices(bench) == choices


def test_the_score_decides_where_it_is_asked_for(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "out", tmp_path / "out")
    bench = opened(tmp_path, images="  images: 0\n  judge: score")
    for choice in search(bench):
        (limit,) = choice.budget.limits
        able = [each for each in finalists(bench) if each[limit.metric] <= limit.high]
        assert choice.score == max(each["score"] for each in able)
        assert choice.evidence["judged_by"] == "score"
    assert set(pd.read_csv(bench.folder / "search" / "pareto.csv")["judged_by"]) == {"score"}


def test_of_networks_that_measure_the_same_the_cheapest_is_chosen_and_all_are_equals(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "out", tmp_path / "out")
    each = np.arange(250.0) % 2

    def same(self: InheritedWeights, architecture: Architecture) -> Score:
        return Score(0.5, 0.5, 1.0, 250, {"accuracy": each, "loss": 2 * each})

    monkeypatch.setattr(InheritedWeights, "__call__", same)
    bench = opened(tmp_path)
    for choice in search(bench):
        (limit,) = choice.budget.limits
        able = [one[limit.metric] for one in finalists(bench) if one[limit.metric] <= limit.high]
        assert choice.costs[limit.metric] == min(able)
        assert len(choice.evidence["equals"]) == len(able) - 1
    assert f"{len(able) - 1} other finalists are as good as can be seen" in capsys.readouterr().out


def test_results_of_a_version_that_knew_no_judge_stay_and_load(
    searched: tuple[Workbench, list[Choice], str], tmp_path: Path
) -> None:
    shutil.copytree(searched[0].folder, tmp_path / "out")
    folder = tmp_path / "out" / "search"
    entries = read_json(folder / "choices.json")
    (folder / "choices.json").write_text(json.dumps([{k: v for k, v in e.items() if k != "evidence"} for e in entries]))
    asked = read_json(folder / "asked.json")
    assert "judge" not in asked["search"]
    (tmp_path / "out" / "split.json").touch()
    bench = opened(tmp_path)
    assert is_searched(bench)
    assert load_choices(bench) == [replace(choice, evidence={}) for choice in searched[1]]
    assert not is_searched(opened(tmp_path, images="  images: 0\n  judge: score"))


def test_a_folder_that_was_begun_with_another_share_of_held_out_images_keeps_it(trained: Path, tmp_path: Path) -> None:
    path, changes = tmp_path / "out" / "experiment.json", {"images": "  images: 50"}
    begun = opened(tmp_path, data="data: {source: digits, padding: 1, validation: 0.1}")
    train(begun, until=1)
    again = opened(tmp_path, **changes)
    assert len(again.images.validation) == 144
    assert json.loads(path.read_text())["data"]["validation"] == 0.1
    assert len(opened(trained).images.validation) == 250


def test_a_training_that_chooses_nothing_holds_out_a_tenth() -> None:
    recipe = Recipe(optimizer="adamw", learning_rate=1e-3, epochs=1, batch_size=64)
    open_, stated = (
        FitConfig(network="mobilenet_v2", data=DataConfig("digits", validation=share), recipe=recipe)
        for share in (None, 0.3)
    )
    assert (open_.data.validation, stated.data.validation) == (0.1, 0.3)
