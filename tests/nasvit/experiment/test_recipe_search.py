"""Recipes searched with architectures, alone, and the ways of evaluating."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.stages import trials
from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.stages.finetune import finetune
from nasvit.experiment.stages.search import check_budgets, search, work
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.stages.trials import training_folder
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import load_network
from nasvit.search.candidates import Candidate
from nasvit.supernets.supernet import Supernet, build_subnet
from nasvit.training.collapse import TrainingCollapsedError
from nasvit.training.metrics import read_metrics
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

RECIPES = """\
name: tiny_recipes
source: this test
fields:
  optimizer: [sgd, adamw]
  learning_rate: {values: [1e-3, 4e-3], when: {optimizer: adamw}, otherwise: [0.02, 0.1]}
  epochs: [1, 2]
  batch_size: 64
  mixup: [0, 0.2]
  ema_decay: [0, 0.9]
"""


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    with without_programs(), few_digits(900):  # of which enough are held out for one split to do
        yield


def write(folder: Path, search_section: str, **replaced: str) -> Path:
    """Write the tiny experiment with another search section and without comparisons."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipes.yaml").write_text(RECIPES)
    path = write_experiment(folder, compare="", **replaced)
    head, _, rest = path.read_text().partition("search:\n")
    finetune_line = rest[rest.index("finetune:") :]
    lines = "\n".join(
        f"  {line}" for line in search_section.replace("RECIPES", str(folder / "recipes.yaml")).split("\n")
    )
    path.write_text(f"{head}search:\n{lines}\n  calibration_batches: 1\n  calibration_batch_size: 64\n{finetune_line}")
    return path


JOINT = """\
budgets: [macs<=300K]
recipes: RECIPES
evaluate: finetune
evaluations: 12
finalists: 1
images: 100
train_images: 128"""


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("joint")
    path = write(folder, JOINT)
    path.write_text(path.read_text() + "finetune_on: train\n")
    bench = open_workbench(path, folder / "out")
    return bench, run(bench)


def lines(bench: Workbench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.folder / "search" / "evaluations.jsonl").read_text().splitlines()]


def test_architecture_and_recipe_are_found_together_and_used(joint: tuple[Workbench, list[dict[str, Any]]]) -> None:
    bench, rows = joint
    choice = load_choices(bench)[0]
    assert choice.costs["macs"] <= 300_000
    assert choice.recipe is not None
    assert subjects(bench)[0].training.recipe == choice.recipe
    card = json.loads((subjects(bench)[0].folder / "finetuned" / "card.json").read_text())
    assert card["origin"]["recipe"] == choice.recipe.to_json()
    assert set(rows[0]["scores"]) == {"supernet", "extracted", "finetuned"}


def test_every_evaluation_says_what_was_trained_and_how_it_went(joint: tuple[Workbench, Any]) -> None:
    records = lines(joint[0])
    assert len(records) == 12
    assert all(len(record["curve"]) == record["recipe"]["epochs"] for record in records)
    assert all(record["score"] == record["curve"][-1] for record in records)
    assert len({record["recipe"]["optimizer"] for record in records}) == 2
    assert len({record["score"] for record in records}) > 2
    report = json.loads((joint[0].folder / "search" / "predictor.json").read_text())
    assert report["distinct"] == 12


def test_a_finalist_is_what_the_fine_tuning_stage_would_have_trained(
    joint: tuple[Workbench, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = joint[0]
    reused = load_network(subjects(bench)[0].folder / "finetuned").state_dict()
    again = Workbench(bench.experiment, bench.folder)
    (subjects(bench)[0].folder / "finetuned").rename(tmp_path / "kept")
    monkeypatch.setattr("nasvit.experiment.stages.finetune._finalist", lambda *_: None)
    finetune(again)
    trained = load_network(subjects(bench)[0].folder / "finetuned").state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in reused.items())


def test_what_the_search_trained_is_trained_again_on_all_images_if_these_are_asked_for(
    joint: tuple[Workbench, Any], tmp_path: Path
) -> None:
    shutil.copytree(joint[0].folder, tmp_path / "out")
    bench = Workbench(replace(joint[0].experiment, finetune_on="all"), tmp_path / "out")
    folder, training = (subjects(bench)[0].folder / name for name in ("finetuned", "finetuned-training"))
    before = load_network(folder).state_dict()
    finetune(bench)
    after = load_network(folder).state_dict()
    assert not all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    choice = load_choices(bench)[0]
    assert choice.recipe is not None
    assert len(read_metrics(training / "metrics.jsonl")) == choice.recipe.epochs * (len(bench.images.whole) // 64)


def test_a_worker_that_comes_when_all_is_evaluated_has_nothing_to_do(
    joint: tuple[Workbench, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("done already")

    monkeypatch.setattr(trials.TrainedTrials, "quick", refused)
    work(Workbench(joint[0].experiment, joint[0].folder))


def test_more_budgets_are_served_from_what_is_known(
    joint: tuple[Workbench, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("nothing new needs to be evaluated")

    bench = joint[0]
    path = write(bench.folder.parent / "more", JOINT.replace("[macs<=300K]", "[macs<=250K, 200K<=macs<=300K]"))
    monkeypatch.setattr(trials.TrainedTrials, "quick", refused)
    path.with_name("recipes.yaml").replace(bench.folder.parent / "recipes.yaml")
    path.write_text(path.read_text().replace(str(path.parent), str(bench.folder.parent)))
    choices = search(open_workbench(path, bench.folder))
    assert choices[0].costs["macs"] <= 250_000
    assert 200_000 <= choices[1].costs["macs"] <= 300_000


def test_a_recipe_alone_is_searched_from_scratch_without_a_supernet(tmp_path: Path) -> None:
    section = JOINT.replace("budgets: [macs<=300K]\n", "architecture: smallest\n").replace("finetune", "scratch")
    path = write(tmp_path, section)
    path.write_text(path.read_text() + "compare: {scratch: true}\n")
    bench = open_workbench(path, tmp_path / "out")
    rows = run(bench)
    assert not (bench.folder / "supernet.pt").exists()
    assert set(rows[0]["scores"]) == {"scratch"}
    assert {tuple(record["architecture"]["width"]) for record in lines(bench)} == {bench.space.smallest.width}
    assert rows[0]["name"] == "best"


def test_a_front_is_a_ladder_of_budgets(tmp_path: Path) -> None:
    section = "front: {cost: macs, points: 3}\nevaluations: 12"
    bench = open_workbench(write(tmp_path, section), tmp_path / "out")
    ends = bench.candidates.costs(bench.candidates.smallest_and_largest)["macs"]
    caps = [budget.limits[0].high for budget in bench.budgets]
    steps = [cap / before for cap, before in zip(caps, [ends[0], *caps])]
    assert caps[-1] == pytest.approx(ends[1], rel=0.01)
    assert max(steps) == pytest.approx(min(steps), rel=0.02)


def test_feasible_shares_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    section = "budgets: [macs<=10G, macs<=83.3K]\nevaluations: 12"
    told = check_budgets(open_workbench(write(tmp_path, section), tmp_path / "out"))
    assert told[0] == "macs<=10G: 100.00% of random subnets meet it"
    assert re.fullmatch(r"macs<=83\.3K: (0\.0\d%|less than 1 in 4096) of random subnets meet it", told[1])


def test_a_training_that_collapses_scores_as_guessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = JOINT.replace("budgets: [macs<=300K]\n", "architecture: smallest\n").replace("finetune", "scratch")
    bench = open_workbench(write(tmp_path, section), tmp_path / "out")

    def collapse(*_: object, **__: object) -> None:
        raise TrainingCollapsedError("lower the learning rate")

    monkeypatch.setattr("nasvit.training.trainer.Trainer.run", collapse)
    candidate = bench.candidates.decode(bench.candidates.genome.sample(1, np.random.default_rng(0)))[0]
    record = trials.make_trials(bench).quick(candidate, 1.0)
    assert record["score"] == 0.1
    assert record["collapsed"] == "lower the learning rate"


@pytest.mark.parametrize("evaluate", ["finetune", "scratch"])
def test_a_quick_measurement_trains_a_part_of_the_epochs_on_some_images_and_a_thorough_one_everything(
    evaluate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = JOINT.replace("evaluate: finetune", f"evaluate: {evaluate}")
    bench = open_workbench(write(tmp_path, section), tmp_path / "out")
    supernet = Supernet(bench.space, len(bench.classes), seed=5)
    torch.save(supernet.state_dict(), bench.folder / "supernet.pt")
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, epochs=4, batch_size=64)
    candidate = Candidate(bench.space.smallest, recipe)
    seen: list[tuple[Any, ...]] = []

    def watched(trainer: Trainer, *, until: int | None = None) -> None:
        started = trainer.learner.model.stages[0][0].depthwise.conv.weight.detach().clone()
        seen.append((trainer.recipe, trainer.steps, until, len(trainer.loader.images), started))
        raise TrainingCollapsedError("seen enough")

    monkeypatch.setattr("nasvit.training.trainer.Trainer.run", watched)
    measured = trials.make_trials(bench)
    quick, thorough = measured.quick(candidate, 0.5), measured.thorough(candidate)
    assert [(asked, steps, until, count) for asked, steps, until, count, _ in seen] == [
        (recipe, 4 * (128 // 64), 2 * (128 // 64), 128),
        (recipe, 4 * (len(bench.images.train) // 64), 4 * (len(bench.images.train) // 64), len(bench.images.train)),
    ]
    assert (quick["images"], thorough["images"]) == (100, len(bench.images.validation))
    fresh = build_subnet(bench.space, candidate.architecture, len(bench.classes), seed=bench.experiment.seed)
    start = {"finetune": supernet.at(candidate.architecture), "scratch": fresh}[evaluate]
    assert all(torch.equal(started, start.stages[0][0].depthwise.conv.weight) for *_, started in seen)


def test_trainings_are_stopped_early_where_the_file_allows_it(tmp_path: Path) -> None:
    section = JOINT.replace("budgets: [macs<=300K]\n", "architecture: smallest\n").replace("finetune", "scratch")
    section = section.replace("evaluations: 12", "evaluations: 16\nearly_stop: 0.0001").replace("RECIPES", "LONGER")
    path = write(tmp_path, section.replace("LONGER", str(tmp_path / "longer.yaml")))
    (tmp_path / "longer.yaml").write_text(RECIPES.replace("epochs: [1, 2]", "epochs: 3"))
    bench = open_workbench(path, tmp_path / "out")
    search(bench)
    assert {record["share"] for record in lines(bench)} == {1 / 3, 1.0}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            "budgets: [macs<=1M]\nrecipes: finetune_small",
            r"search\.evaluate: .*say nothing of recipes; legal here: finetune",
        ),
        ("architecture: smallest", r"search\.architecture: leaves nothing to search without recipes"),
        ("architecture: smallest\nrecipes: finetune_small\nevaluate: scratch\nbudgets: [macs<=1M]", "nothing to limit"),
        ("evaluations: 20", r"search\.budgets: are missing; give at least one such as macs<=5M, or a front"),
        ("budgets: [macs<=1M]\nearly_stop: 2", r"search\.early_stop: 2\.0 is illegal; legal: numbers from 0 to 1"),
        ("budgets: [macs<=1M]\nevaluations: 0", r"search\.evaluations: 0 is illegal"),
        ("front: {points: 0}", r"search\.front\.points: 0 is illegal"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"tiny\.yaml:\d+: .*{words}"):
        open_workbench(write(tmp_path, section), tmp_path / "out")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("budgets: [macs<=1M]\npredictor: oracle", "unknown predictor 'oracle'; legal: ensemble"),
        ("budgets: [macs<=1M]\nrecipes: nowhere\nevaluate: finetune", "no recipe space is called 'nowhere'"),
        ("architecture: nowhere.json\nrecipes: finetune_small\nevaluate: scratch", "there is no file 'nowhere.json'"),
        ("front: {cost: latency}", "front.cost: latency is not known; known: macs, params, memory"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_trained(tmp_path: Path, section: str, words: str) -> None:
    bench = open_workbench(write(tmp_path, section), tmp_path / "out")
    with pytest.raises(ValueError, match=words):
        run(bench)
    assert not (tmp_path / "out" / "train").exists()


def test_a_candidate_that_was_killed_goes_on_only_where_it_is_trained_in_the_same_way(tmp_path: Path) -> None:
    def folder(section: str = JOINT, **changes: str) -> Path:
        bench = open_workbench(write(tmp_path, section, **changes), tmp_path / "out")
        return training_folder(bench, Candidate(bench.space.smallest, None), "quick")

    assert folder() == folder()
    taught = "finetune: {teacher: some, optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64}"
    scratch, fewer = JOINT.replace("evaluate: finetune", "evaluate: scratch"), JOINT.replace("128", "64")
    assert len({folder(), folder(finetune=taught), folder(scratch), folder(fewer)}) == 4
