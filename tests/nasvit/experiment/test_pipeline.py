"""A whole experiment, end to end: run, killed, run again, changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version

from nasvit.data import load_images
from nasvit.experiment import pipeline
from nasvit.experiment.clock import spent
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.stages import extract as extract_stage
from nasvit.experiment.stages import finetune as finetune_stage
from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.stages.finetune import finetune
from nasvit.experiment.stages.jobs import Job
from nasvit.experiment.stages.search import search
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.stages.train import load_supernet, train
from nasvit.experiment.stages.trials import InheritedTrials
from nasvit.experiment.workbench import Workbench
from nasvit.export import saved
from nasvit.export.card import Card
from nasvit.export.program import export_program
from nasvit.export.saved import Described, load_network
from nasvit.files.records import read_json, write_record
from nasvit.layers.ghost import GhostBlock
from nasvit.report import results
from nasvit.search.candidates import Candidate
from nasvit.search.evaluate import InheritedWeights, Journal
from nasvit.supernets.supernet import build_subnet
from nasvit.tasks.classification import ClassificationScore as Score
from nasvit.training.metrics import read_metrics
from predictors.limits import Budget
from search_spaces import Architecture
from tests.nasvit.data.test_sources import write_folder
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

SECOND = "300K<=macs<=600K and params<=60K"
"""The second budget of the finished experiment."""

GHOSTS = """\
name: ghosts
source: a test
image_channels: 1
resolution: 8
activation: relu
stem: {width: [4, 8], stride: 1}
stages:
  - {name: ghost1, block: ghost, width: [8, 12], depth: [1, 2], kernel_size: [3, 5], expand_ratio: [2, 3], stride: 2}
head: {width: 16, expand_ratio: 2}
"""


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    """Exporting a program takes longer than all else; one test does it. And few images train as many do, in less time."""
    with without_programs(), few_digits(1000):
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, list[dict[str, Any]]]:
    """A finished experiment; tests copy its folder before they change anything."""
    folder = tmp_path_factory.mktemp("pipeline")
    bench = open_workbench(write_experiment(folder), folder / "out")
    return bench, run(bench)


@pytest.fixture
def copied(done: tuple[Workbench, Any], tmp_path: Path) -> Path:
    shutil.copytree(done[0].folder, tmp_path / "out")
    return tmp_path


def test_every_budget_gets_a_subnet_that_keeps_it(done: tuple[Workbench, list[dict[str, Any]]]) -> None:
    _, rows = done
    assert [row["name"] for row in rows] == [
        "macs-300K",
        "300K-macs-600K_params-60K",
        "macs-300K-random-0",
        "300K-macs-600K_params-60K-random-0",
    ]
    assert rows[0]["macs"] <= 300_000
    assert 300_000 <= rows[1]["macs"] <= 600_000
    assert rows[1]["params"] <= 60_000
    assert 250_000 < rows[2]["macs"] <= 300_000 and rows[3]["params"] <= 60_000 and rows[3]["macs"] > 500_000
    for row in rows:
        assert set(row["scores"]) == {"supernet", "extracted", "finetuned", "scratch"}
        assert row["scores"]["supernet"] == row["scores"]["extracted"]


def test_results_carry_what_made_them(done: tuple[Workbench, list[dict[str, Any]]]) -> None:
    bench, rows = done
    results = json.loads((bench.folder / "results.json").read_text())
    assert results["rows"] == rows
    assert results["seed"] == 0
    assert results["config"]["space"] == "micro8"
    assert (
        Version(results["versions"]["torch"]).release == Version(torch.__version__).release
    )  # builds add +cpu, +cu130
    assert results["data"] == "digits"


def test_results_are_measured_on_the_test_images_normalized_as_the_training_images_are(
    done: tuple[Workbench, list[dict[str, Any]]],
) -> None:
    bench, rows = done
    test = load_images("digits", "test", channels=1)
    deviation, mean = torch.std_mean(bench.images.train.pixels.double() / 255, correction=0)
    images = ((test.pixels / 255 - mean) / deviation).float()
    for subject, row in zip(subjects(bench), rows, strict=True):
        for how in ("extracted", "finetuned", "scratch"):
            with torch.no_grad():
                right = load_network(subject.folder / how)(images).argmax(1) == test.targets
            assert row["scores"][how] == pytest.approx(float(right.double().mean()), abs=1.5 / len(test))
    card = json.loads((subjects(bench)[0].folder / "finetuned" / "card.json").read_text())
    assert card["normalization"] == {
        "mean": pytest.approx([float(mean)], abs=1e-6),
        "deviation": pytest.approx([float(deviation)], abs=1e-6),
    }
    assert json.loads((bench.folder / "results.json").read_text())["test_images"] == len(test)


def test_a_saved_program_takes_pixels_and_computes_what_the_saved_network_computes(
    done: tuple[Workbench, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, _ = done
    subject = subjects(bench)[0]
    network = load_network(subject.folder / "finetuned")
    monkeypatch.setattr(saved, "export_program", export_program)
    extract_stage.save(bench, subject, network, tmp_path, {})
    loaded, program = load_network(tmp_path), torch.export.load(tmp_path / "program.pt2").module()
    pixels = torch.rand(3, 1, 8, 8)
    scores = loaded(
        (pixels - torch.tensor(bench.images.normalization.mean)) / torch.tensor(bench.images.normalization.std)
    )
    torch.testing.assert_close(program(pixels), scores, rtol=1e-4, atol=1e-5)


def test_the_example_of_use_names_the_size_of_images_that_are_not_in_memory_too(
    done: tuple[Workbench, list[dict[str, Any]]], copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = open_workbench(write_experiment(copied), copied / "out")
    folder = write_folder(copied / "photos", count=10, sizes=((20, 20), (20, 24)))
    data = replace(bench.experiment.data, source=str(folder), image_size=8, crop_pct=0.5)
    bench.__dict__["images"] = Images(data, seed=0, channels=1)
    results.show(bench, done[1])
    assert "torch.rand(1, 1, 8, 8)" in capsys.readouterr().out


def test_networks_that_are_no_better_than_naming_the_commonest_class_are_told(
    done: tuple[Workbench, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    bench, rows = done
    counts = np.bincount(bench.images.test.targets.numpy())
    share = float(counts.max() / counts.sum())
    good = [row | {"scores": row["scores"] | {"finetuned": share + 0.01}} for row in rows]
    results.show(bench, good)
    assert "no better than" not in capsys.readouterr().out
    results.show(bench, [good[0] | {"scores": good[0]["scores"] | {"finetuned": share}}, *good[1:]])
    printed = capsys.readouterr().out
    assert (
        f"macs<=300K: no better than always saying {counts.argmax()}, which is right for {100 * share:.2f} %" in printed
    )
    assert f"nasvit predict {bench.folder / 'subnets' / 'macs-300K' / 'finetuned'} PHOTO" in printed


def test_a_finished_experiment_that_is_run_again_does_no_work_twice(
    done: tuple[Workbench, list[dict[str, Any]]], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("done already")

    for name in ("train", "search"):
        monkeypatch.setattr(pipeline, name, refused)
    monkeypatch.setattr("nasvit.experiment.stages.finetune._train", refused)
    assert run(open_workbench(write_experiment(copied), copied / "out")) == done[1]


def test_the_time_of_every_stage_and_training_is_recorded_and_a_finished_experiment_takes_no_more(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = open_workbench(write_experiment(copied), copied / "out")
    times, recorded = spent(bench.folder), (bench.folder / "times.json").read_text()
    assert list(times) == ["train", "search", "extract", "finetune", "compare", "evaluate"]
    assert all(each.wall > 0 for each in times.values())
    rows = run(bench)
    assert (bench.folder / "times.json").read_text() == recorded
    in_results = json.loads((bench.folder / "results.json").read_text())["times"]
    assert in_results["stages"] == read_json(bench.folder / "times.json")
    trained = [f"{row['name']}/{how}" for row in rows for how in ("finetuned", "scratch")]
    assert sorted(in_results["trainings"]) == sorted(trained)
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("stage ")] == [
        "stage 3 of 5: extraction",
        "stage 4 of 5: final training",
        "stage 5 of 5: evaluation",
    ]


@pytest.mark.parametrize(("images", "evaluations"), [("all", 0), ("train", 1)])
def test_final_trainings_see_the_held_out_images_if_asked_and_are_validated_only_if_not(
    copied: Path, images: str, evaluations: int
) -> None:
    line = f"compare: {{scratch: true, equal: epochs}}\nfinetune_on: {images}"
    tuning = "finetune: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 64}"
    bench = open_workbench(write_experiment(copied, compare=line, finetune=tuning), copied / "out")
    finetune(bench)
    seen = bench.images.whole if images == "all" else bench.images.train
    assert len(bench.images.whole) == len(bench.images.train) + len(bench.images.validation)
    for subject in subjects(bench):
        for how in ("finetuned", "scratch"):
            records = read_metrics(subject.folder / f"{how}-training" / "metrics.jsonl")
            assert records[-1]["step"] == len(seen) // 64
            assert len([record for record in records if "epoch" in record]) == evaluations


def test_a_killed_search_goes_on_to_the_same_choices(
    done: tuple[Workbench, Any], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied / "out" / "search"
    wanted = (folder / "choices.json").read_text()
    lines = (folder / "evaluations.jsonl").read_text()
    shutil.rmtree(folder)
    calls = 0
    measure = InheritedWeights.__call__

    def killed(self: InheritedWeights, architecture: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return measure(self, architecture)

    monkeypatch.setattr(InheritedWeights, "__call__", killed)
    bench = open_workbench(write_experiment(copied), copied / "out")
    with pytest.raises(KeyboardInterrupt):
        search(bench)
    search(bench)
    assert (folder / "choices.json").read_text() == wanted
    assert (folder / "evaluations.jsonl").read_text() == lines


def test_candidates_are_measured_on_some_validation_images_and_finalists_on_all(done: tuple[Workbench, Any]) -> None:
    bench = done[0]
    (finalists,) = (bench.folder / "search").glob("finalists-*.jsonl")
    quick, thorough = (
        {json.loads(line)["images"] for line in path.read_text().splitlines()}
        for path in (bench.folder / "search" / "evaluations.jsonl", finalists)
    )
    assert (quick, thorough) == ({100}, {len(bench.images.validation)})


def test_candidates_are_measured_as_integers_where_that_is_asked_for(done: tuple[Workbench, Any]) -> None:
    plain, search_of = done[0], done[0].experiment.search
    rounding = Workbench(replace(plain.experiment, search=replace(search_of, quantize="int8")), plain.folder)
    candidate = Candidate(plain.space.smallest)
    floats, integers = (InheritedTrials(bench).quick(candidate, 1.0) for bench in (plain, rounding))
    assert floats["macs"] == integers["macs"]
    assert 0 < abs(floats["loss"] - integers["loss"]) < 0.1 * floats["loss"]
    with pytest.raises(ValueError, match="quantize.*evaluate is scratch; finetune.quantize is for those that are"):
        replace(search_of, quantize="int8", evaluate="scratch")


def test_finalists_are_the_candidates_of_which_most_is_expected(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = open_workbench(write_experiment(copied, budgets=f"  budgets: [{SECOND}]"), copied / "out")
    shutil.rmtree(bench.folder / "search")

    def wide(self: InheritedWeights, architecture: Architecture) -> Score:
        return Score(sum(architecture.width) / 1000, 0.5, 1 - sum(architecture.width) / 1000, 100)

    monkeypatch.setattr(InheritedWeights, "__call__", wide)
    (choice,) = search(bench)
    pool = bench.candidates.constraint(Budget(SECOND).limits).sample(200, np.random.default_rng(1))
    expected = sorted(sum(candidate.architecture.width) / 1000 for candidate in bench.candidates.decode(pool))
    assert choice.score >= expected[-20]


def test_a_folder_whose_images_were_split_otherwise_is_refused(copied: Path) -> None:
    record = copied / "out" / "split.json"
    write_record(record, read_json(record) | {"seed": 17})
    with pytest.raises(ValueError, match="the held-out split is not the one this run began with; seed: was 17, is 0"):
        open_workbench(write_experiment(copied), copied / "out").images  # noqa: B018


def test_the_best_finalist_is_chosen(copied: Path) -> None:
    changes = {"budgets": f"  budgets: [{SECOND}]", "finalists": "  finalists: 8"}
    for finalists in (copied / "out" / "search").glob("finalists-*.jsonl"):
        finalists.unlink()
    (choice,) = search(open_workbench(write_experiment(copied, **changes), copied / "out"))
    (finalists,) = (copied / "out" / "search").glob("finalists-*.jsonl")
    measured = {record["key"]: record["score"] for record in map(json.loads, finalists.read_text().splitlines())}
    assert len(set(measured.values())) > 1
    assert choice.score == max(measured.values()) == measured[Candidate(choice.architecture, None).key]


def test_the_journal_measures_no_candidate_twice_and_survives_a_cut_line(
    done: tuple[Workbench, Any], tmp_path: Path
) -> None:
    space, measured = done[0].space, []

    def measure(candidate: Candidate) -> dict[str, Any]:
        measured.append(candidate)
        return {"score": 0.1 + 0.2}

    candidates = [Candidate(each) for each in space.decode(space.genome.sample(5, np.random.default_rng(0)))]
    path = tmp_path / "journal.jsonl"
    first = [Journal(path, measure).record(candidate)["score"] for candidate in candidates]
    with path.open("a") as file:
        file.write('{"key": "cut o')  # what a kill in the middle of a line leaves
    again = [Journal(path, measure).record(candidate)["score"] for candidate in reversed(candidates)]
    assert first == again == [0.1 + 0.2] * 5
    assert len(measured) == 5


def test_a_killed_training_of_the_supernet_goes_on_to_the_same_weights(
    done: tuple[Workbench, Any], tmp_path: Path
) -> None:
    path = write_experiment(tmp_path)
    train(open_workbench(path, tmp_path / "out"), until=5)
    assert not (tmp_path / "out" / "supernet.pt").exists()
    train(open_workbench(path, tmp_path / "out"))
    wanted = load_supernet(done[0]).state_dict()
    resumed = load_supernet(open_workbench(path, tmp_path / "out")).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in resumed.items())


def test_a_network_that_was_half_saved_is_trained_and_saved_again(
    done: tuple[Workbench, list[dict[str, Any]]], copied: Path
) -> None:
    subject = copied / "out" / "subnets" / "macs-300K"
    (subject / "finetuned" / "card.json").unlink()
    (subject / "finetuned" / "network.safetensors").unlink()
    assert run(open_workbench(write_experiment(copied), copied / "out")) == done[1]


def test_another_budget_is_searched_for_and_its_networks_are_trained_anew(
    done: tuple[Workbench, list[dict[str, Any]]], copied: Path
) -> None:
    old = (copied / "out" / "subnets" / "macs-300K" / "finetuned" / "card.json").read_text()
    path = write_experiment(
        copied,
        budgets="  budgets: [macs<=300K]",
        finetune="finetune: {optimizer: adamw, learning_rate: 2e-3, epochs: 1, batch_size: 64}",
        compare="compare: {random: 0}",
    )
    rows = run(open_workbench(path, copied / "out"))
    assert [row["name"] for row in rows] == ["macs-300K"]
    new = json.loads((copied / "out" / "subnets" / "macs-300K" / "finetuned" / "card.json").read_text())
    assert json.loads(new["origin"]["recipe"])["learning_rate"] == 2e-3
    assert json.loads(json.loads(old)["origin"]["recipe"])["learning_rate"] == 1e-3
    assert new["spec"]["architecture"] == rows[0]["architecture"]


def test_a_subnet_that_two_budgets_have_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def training(bench: Workbench, job: Job, *rest: Any) -> Described:
        trained.append(job.how)
        return train_one(bench, job, *rest)

    train_one = finetune_stage._train
    monkeypatch.setattr(finetune_stage, "_train", training)
    budgets = ["macs<=300K", "macs<=300K and params<=10M"]
    path = write_experiment(tmp_path, budgets=f"  budgets: {json.dumps(budgets)}", compare="compare: {scratch: false}")
    rows = run(open_workbench(path, tmp_path / "out"))
    assert trained == ["finetuned"]
    folders = [tmp_path / "out" / "subnets" / row["name"] / "finetuned" for row in rows]
    states = [load_network(folder).state_dict() for folder in folders]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert [Card.read(folder).origin["budget"] for folder in folders] == budgets
    assert rows[0]["scores"] == rows[1]["scores"]


def test_fine_tuning_starts_from_the_supernets_weights_and_training_from_scratch_does_not(copied: Path) -> None:
    changes = {
        "finetune": "finetune: {optimizer: sgd, learning_rate: 1e-9, epochs: 1, batch_size: 64}",
        "compare": "compare: {scratch: true, equal: epochs, learning_rate: 1e-8}",
    }
    bench = open_workbench(write_experiment(copied, **changes), copied / "out")
    finetune(bench)
    for subject in subjects(bench):
        extracted, tuned, scratch = (
            dict(load_network(subject.folder / how).named_parameters()) for how in ("extracted", "finetuned", "scratch")
        )
        initial = build_subnet(bench.space, subject.architecture, len(bench.classes), seed=bench.experiment.seed)
        for name, tensor in initial.named_parameters():
            torch.testing.assert_close(tuned[name], extracted[name], msg=name)
            torch.testing.assert_close(scratch[name], tensor, msg=name)
        recipes = (
            json.loads((subject.folder / how / "card.json").read_text())["origin"]["recipe"]
            for how in ("finetuned", "scratch")
        )
        assert [json.loads(recipe)["learning_rate"] for recipe in recipes] == [1e-9, 1e-8]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"random_subnets": "  random_subnets: 2"}, "another train"),
        ({"space": "space: micro8\nseed: 1"}, "another seed"),
    ],
)
def test_a_folder_that_another_experiment_began_is_refused(copied: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=rf"holds results of an experiment with {words}; give another output folder"):
        open_workbench(write_experiment(copied, **change), copied / "out")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("macs<=10K", r"no candidate meets macs<=10K; the closest feasible value is macs \d"),
        ("macs<=300K and params<=1K", r"no candidate meets macs<=300K and params<=1K; the closest .* params \d"),
        ("5M<=macs<=6M", r"no candidate meets 5M<=macs<=6M; the closest feasible value is macs \d"),
        ("latency<=2ms", r"needs latency, but only macs, params, memory, int8 size is known"),
    ],
)
def test_a_budget_that_no_subnet_meets_is_refused_before_anything_is_trained(
    tmp_path: Path, budget: str, words: str
) -> None:
    bench = open_workbench(write_experiment(tmp_path, budgets=f"  budgets: ['{budget}']"), tmp_path / "out")
    with pytest.raises(ValueError, match=words):
        run(bench)
    assert not (tmp_path / "out" / "train").exists()


def test_a_teacher_that_cannot_be_had_is_refused_before_anything_is_trained_and_the_folder_is_free(
    tmp_path: Path,
) -> None:
    mistakes = [
        {"evaluate_every": "  teacher: nowhere"},
        {"finetune": "finetune: {teacher: nowhere, optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 64}"},
    ]
    for mistake in mistakes:
        with pytest.raises(ValueError, match="teacher: 'nowhere' names a network without weights"):
            run(open_workbench(write_experiment(tmp_path, **mistake), tmp_path / "out"))
        assert not (tmp_path / "out" / "train").exists()
    right = {"space": "space: micro8\nseed: 1"}  # another split of the images too
    train(open_workbench(write_experiment(tmp_path, **right), tmp_path / "out"), until=1)
    with pytest.raises(ValueError, match="another seed"):
        open_workbench(write_experiment(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluations": "  evaluation: 14"}, r"tiny\.yaml:11: search\.evaluation.*legal.*evaluations"),
        ({"budgets": "  budgets: [flops<=3M]"}, r"tiny\.yaml:10: search\.budgets\[0\].*flops"),
        ({"space": ""}, r"tiny\.yaml.*space"),
        ({"finalists": "  finalists: two"}, r"tiny\.yaml:12: search\.finalists"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_workbench(write_experiment(tmp_path, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["search", "extract", "finetune", "evaluate"])
def test_a_stage_whose_stage_before_is_missing_says_so(tmp_path: Path, stage: str) -> None:
    bench = open_workbench(write_experiment(tmp_path), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="run the (train|search) stage first"):
        pipeline.STAGES[stage](bench)


def test_a_subnet_that_changes_when_it_is_extracted_is_noticed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate = extract_stage.calibrate
    monkeypatch.setattr(
        extract_stage, "calibrate", lambda network, batches: calibrate(network, batches, unbiased=False)
    )
    shutil.rmtree(copied / "out" / "subnets" / "macs-300K" / "extracted")
    with pytest.raises(RuntimeError, match="subnet macs-300K changed when it was extracted"):
        extract_stage.extract(open_workbench(write_experiment(copied), copied / "out"))


def test_choices_come_back_from_their_file(done: tuple[Workbench, Any]) -> None:
    choices = load_choices(done[0])
    assert [choice.budget.text for choice in choices] == ["macs<=300K", "300K<=macs<=600K and params<=60K"]
    assert all(
        done[0].space.encode([choice.architecture]).shape == (1, len(done[0].space.genome)) for choice in choices
    )


def test_a_space_of_ghost_blocks_goes_all_the_way(tmp_path: Path) -> None:
    (tmp_path / "ghosts.yaml").write_text(GHOSTS)
    changes = {"space": f"space: {tmp_path / 'ghosts.yaml'}", "budgets": "  budgets: [macs<=60K]", "compare": ""}
    bench = open_workbench(write_experiment(tmp_path, **changes), tmp_path / "out")
    (row,) = run(bench)
    assert row["macs"] <= 60_000
    assert row["scores"]["supernet"] == row["scores"]["extracted"]
    network = load_network(subjects(bench)[0].folder / "finetuned")
    assert any(isinstance(module, GhostBlock) for module in network.modules())


HELP = {
    "a teacher": "teacher: TEACHER",
    "branches": "branches: {count: 2}",
    "wider networks": "netaug: {augmentation: 2, diversity: 1, calibration_images: 64}",
}


@pytest.mark.parametrize("help_", HELP.values(), ids=HELP)
def test_what_a_search_found_is_fine_tuned_from_the_supernets_weights_with_help(
    done: tuple[Workbench, Any], copied: Path, help_: str
) -> None:
    teacher = done[0].folder / "subnets" / "macs-300K-random-0" / "finetuned"
    recipe = "optimizer: adamw, learning_rate: 1e-9, epochs: 1, batch_size: 64"
    path = write_experiment(
        copied,
        finetune=f"finetune: {{{recipe}, {help_.replace('TEACHER', str(teacher))}}}",
        compare="compare: {random: 0}",
    )
    rows = run(open_workbench(path, copied / "out"))
    extracted, tuned = (
        dict(load_network(copied / "out" / "subnets" / "macs-300K" / how).named_parameters())
        for how in ("extracted", "finetuned")
    )
    name = "head.classifier.weight"
    # So small a learning rate leaves what was started from: the supernet's weights, in the plain network's structure.
    torch.testing.assert_close(tuned[name], extracted[name], rtol=1e-4, atol=1e-6)
    assert len(rows) == 2 and all("finetuned" in row["scores"] for row in rows)
    card = json.loads((copied / "out" / "subnets" / "macs-300K" / "finetuned" / "card.json").read_text())
    assert help_.partition(":")[0] in card["origin"]["training"]
    assert card["fused"] == ("branches" in help_)


def test_a_folder_is_not_claimed_by_an_experiment_whose_images_are_not_there(tmp_path: Path) -> None:
    wrong = write_experiment(tmp_path, data="data: {source: nodigits, validation: 0.6, padding: 1}")
    with pytest.raises(ValueError, match="data source 'nodigits': no such folder"):
        run(open_workbench(wrong, tmp_path / "out"))
    assert open_workbench(write_experiment(tmp_path), tmp_path / "out").images.classes == tuple("0123456789")


def test_test_images_that_cannot_be_used_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_folder(tmp_path / "photos" / part, count=10, sizes=((8, 8),))
    (tmp_path / "photos" / "val" / "red").rename(tmp_path / "photos" / "val" / "rot")
    data = f"data: {{source: {tmp_path / 'photos'}, validation: 0.4, padding: 1}}"
    with pytest.raises(ValueError, match="has no image of red"):
        run(open_workbench(write_experiment(tmp_path, data=data), tmp_path / "out"))
    assert not (tmp_path / "out" / "train").exists()


def test_bad_images_that_were_found_claim_no_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", count=10, sizes=((8, 8),))
    (folder / "red" / "0.png").write_text("nothing")
    lines = {
        "data": f"data: {{source: {folder}, validation: 0.4, padding: 1, crop_pct: 0.5, image_size: 8, on_bad_image: skip}}",
        "evaluate_every": "  teacher: nowhere",
    }
    with pytest.warns(UserWarning, match="1 bad image"), pytest.raises(ValueError, match="more than the 14"):
        run(open_workbench(write_experiment(tmp_path, **lines), tmp_path / "out"))
    assert (tmp_path / "out" / "bad_images.json").exists()
    assert open_workbench(write_experiment(tmp_path), tmp_path / "out").images.classes == tuple("0123456789")
