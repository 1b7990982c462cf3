"""What the train section of an experiment says is what the supernet is trained by."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from nasvit.experiment.config import TrainConfig
from nasvit.experiment.fitting import load_teacher
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages.train import train
from nasvit.experiment.training import TeacherConfig
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.layers.calibration import calibrate, track_statistics
from nasvit.specs import SubnetSpec
from nasvit.supernets.supernet import build_subnet
from nasvit.tasks.classification import evaluate
from nasvit.tasks.distillation import teacher_probabilities
from nasvit.training.learner import CONFLICT_IN
from nasvit.training.metrics import read_metrics
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import write_experiment

RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=64, clip_norm=1.0)
CHANGES: dict[str, Any] = {
    "recipe": replace(RECIPE, learning_rate=0.2),
    "within_budgets": False,
    "random_subnets": 2,
    "members": "one",
    "largest_first": 0.5,
    "distill": "kl",
    "conflict": "none",
    "project_from": 1,
    "conflict_per": "layer",
    "precision": "bfloat16",
    "accumulate": 2,
    "teacher": "a folder",
    "evaluate_every": 1,
}
TAUGHT = 7


def bench_of(folder: Path, **changed: Any) -> Workbench:
    bench = open_workbench(write_experiment(folder), folder / "out")
    section = replace(bench.experiment.train, recipe=RECIPE, evaluate_every=0, random_subnets=1)
    bench.experiment = replace(bench.experiment, train=replace(section, **changed))
    return bench


def weights(*, until: int = 2, **changed: Any) -> dict[str, Tensor]:
    with TemporaryDirectory() as folder:
        supernet = train(bench_of(Path(folder), **changed), until=until)
        return {name: tensor.detach().clone() for name, tensor in supernet.named_parameters()}


@cache
def base() -> dict[str, Tensor]:
    return weights()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a network that says of every image that it shows the same class."""
    return save_teacher(tmp_path_factory.mktemp("teacher"), bench_of(tmp_path_factory.mktemp("experiment")), TAUGHT)


def save_teacher(folder: Path, bench: Workbench, taught: int) -> str:
    """Save a network that says of every image that it shows one class."""
    space = bench.space
    network = build_subnet(space, space.smallest, len(bench.classes))
    track_statistics(network)
    torch.nn.init.zeros_(network.head.classifier.weight)
    network.head.classifier.bias.data.copy_(20.0 * (torch.arange(len(bench.classes)) == taught))
    save_network(network, folder, Card(SubnetSpec(space, space.smallest), bench.classes))
    return str(folder)


ELSEWHERE = {"compile", "recompute", "batch_norm", "resolution_first", "deterministic"}
"""Fields that do not change the weights of one process, or of a space with one resolution: see test_execution.py,
test_recompute.py, test_processes.py and test_start.py."""


def test_every_field_is_looked_at() -> None:
    assert set(CHANGES) | ELSEWHERE == {field.name for field in fields(TrainConfig)}


@pytest.mark.parametrize("field", [field for field in CHANGES if field not in ("evaluate_every", "project_from")])
def test_a_changed_field_trains_other_weights(field: str, teacher: str) -> None:
    changed = weights(**{field: TeacherConfig(teacher) if field == "teacher" else CHANGES[field]})
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in base().items())


def test_measuring_the_conflict_logs_it_and_trains_as_adding_does(tmp_path: Path) -> None:
    recipe = replace(RECIPE, clip_norm=0.0)
    bench = bench_of(tmp_path, conflict="measure", recipe=recipe)
    measured, added = train(bench, until=2), weights(conflict="none", recipe=recipe)
    for name, tensor in measured.named_parameters():
        torch.testing.assert_close(tensor.detach(), added[name], rtol=1e-4, atol=1e-6, msg=name)
    for record in read_metrics(bench.folder / "train" / "metrics.jsonl"):
        assert {"conflict_share", f"{CONFLICT_IN}stem", f"{CONFLICT_IN}stages.0", f"{CONFLICT_IN}head"} <= set(record)


@pytest.mark.parametrize("conflict", ["none", "measure", "project"])
def test_every_conflict_policy_clips_values(conflict: str) -> None:
    plain, clipped = (weights(conflict=conflict, recipe=replace(RECIPE, clip_value=most)) for most in (0.0, 1e-3))
    assert any(not torch.equal(tensor, clipped[name]) for name, tensor in plain.items())


TWO_STEPS = replace(RECIPE, epochs=3, batch_size=256)
"""An epoch has two steps."""


def test_projection_begins_with_the_epoch_that_the_file_says_and_a_resumed_training_does_the_same(
    tmp_path: Path,
) -> None:
    measured = [weights(until=steps, recipe=TWO_STEPS, conflict="measure") for steps in (2, 3)]
    later = [weights(until=steps, recipe=TWO_STEPS, project_from=1) for steps in (2, 3)]
    assert all(torch.equal(tensor, measured[0][name]) for name, tensor in later[0].items())
    assert any(not torch.equal(tensor, measured[1][name]) for name, tensor in later[1].items())
    bench = bench_of(tmp_path, recipe=TWO_STEPS, project_from=1)
    for steps in (1, 2, 3):  # each time with a new policy, as after a kill
        supernet = train(bench, until=steps)
    assert all(torch.equal(tensor, later[1][name]) for name, tensor in supernet.named_parameters())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "project_from: 2",
            r"tiny\.yaml:\d+: train\.project_from: 2 is illegal; legal: 0 .* to 1, the last of 2 epochs",
        ),
        ("project_from: -1", r"train\.project_from: -1 is illegal"),
        ("project_from: 1\n  conflict: measure", r"train\.project_from: says when .* begins, but conflict is measure"),
        ("teacher: {network: ''}", r"train\.teacher\.network: names no network; legal: a name, or a list of names"),
        (
            "largest_first: 1",
            r"tiny\.yaml:\d+: train\.largest_first: 1\.0 is illegal; legal: numbers from 0 to below 1",
        ),
        ("resolution_first: -0.1", r"train\.resolution_first: -0\.1 is illegal; legal: numbers from 0"),
        (
            "teacher: {network: some, temperature: 0}",
            r"train\.teacher\.temperature: 0\.0 is illegal; legal: numbers from 0.001",
        ),
    ],
)
def test_an_impossible_train_section_is_refused_in_words(section: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_workbench(write_experiment(tmp_path, evaluate_every=f"  {section}"))


def test_fewer_than_no_random_subnets_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.random_subnets: -1 is illegal; legal: whole numbers from 0"):
        open_workbench(write_experiment(tmp_path, random_subnets="  random_subnets: -1"))


def train_section(folder: Path, teacher: str) -> TrainConfig:
    return open_workbench(write_experiment(folder, evaluate_every=f"  teacher: {teacher}")).experiment.train


def test_a_file_names_one_teacher_or_several_with_a_temperature(tmp_path: Path) -> None:
    for one in ("A", "{network: A}", "{network: [A]}"):
        assert train_section(tmp_path, one).teacher == TeacherConfig("A"), one
    several = train_section(tmp_path, "{network: [A, B], temperature: 0.2}").teacher
    assert several == TeacherConfig(("A", "B"), temperature=0.2)
    assert several.networks == ("A", "B")


def test_two_teachers_teach_the_mean_of_their_sharpened_probabilities(tmp_path: Path, teacher: str) -> None:
    bench = bench_of(tmp_path / "first")
    other = save_teacher(tmp_path / "other", bench, TAUGHT - 1)
    asked = TeacherConfig((teacher, other), temperature=10.0)
    images = bench.calibration()[0]
    each = [load_teacher(TeacherConfig(name), bench.images)(images) for name in asked.networks]
    taught = load_teacher(asked, bench.images)(images)
    torch.testing.assert_close(taught.softmax(1), teacher_probabilities(each, temperature=10.0))
    trained = [
        weights(teacher=TeacherConfig(network, temperature=temperature))
        for network, temperature in ((teacher, 1.0), (teacher, 10.0), ((teacher, other), 1.0), ((teacher, other), 10.0))
    ]
    name = next(iter(trained[0]))
    assert all(not torch.equal(a[name], b[name]) for number, a in enumerate(trained) for b in trained[:number])


@pytest.mark.parametrize("every", [0, 1])
def test_the_supernet_is_evaluated_as_often_as_asked(every: int, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, evaluate_every=every)
    train(bench)
    records = [record for record in read_metrics(bench.folder / "train" / "metrics.jsonl") if "epoch" in record]
    assert len(records) == every


@pytest.mark.parametrize("within", [True, False])
def test_an_evaluation_looks_at_each_end_of_the_family_and_some_subnets_between(within: bool, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer="adamw", learning_rate=4e-3)
    bench = bench_of(tmp_path, evaluate_every=1, recipe=recipe, within_budgets=within)
    supernet = train(bench)
    (record,) = (record for record in read_metrics(bench.folder / "train" / "metrics.jsonl") if "epoch" in record)
    found = {name: value for name, value in record.items() if name.startswith("accuracy_")}
    assert set(found) == {"accuracy_smallest", "accuracy_largest", "accuracy_random_0", "accuracy_random_1"}
    assert (bench.family is None) != within
    ends = bench.family or bench.space
    for name, architecture in (("smallest", ends.smallest), ("largest", ends.largest)):
        network = calibrate(supernet.at(architecture), bench.calibration())
        score = evaluate(network, bench.images.evaluation_loader(bench.images.validation).evaluation_batches())
        assert found[f"accuracy_{name}"] == pytest.approx(score.accuracy, abs=1e-4)
    assert len(set(found.values())) > 1


def test_a_supernet_with_a_teacher_learns_what_the_teacher_says(tmp_path: Path, teacher: str) -> None:
    bench = bench_of(tmp_path, teacher=TeacherConfig(teacher), recipe=replace(RECIPE, epochs=3))
    supernet = train(bench)
    with torch.no_grad():
        scores = supernet.at(bench.space.largest)(bench.calibration()[0])
    assert (scores.argmax(1) == TAUGHT).all()
    first = read_metrics(bench.folder / "train" / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(2.3, abs=0.5)


def test_label_smoothing_does_not_blur_what_a_teacher_says(teacher: str) -> None:
    plain = weights(teacher=TeacherConfig(teacher))
    smoothed = weights(teacher=TeacherConfig(teacher), recipe=replace(RECIPE, label_smoothing=0.3))
    assert all(torch.equal(tensor, smoothed[name]) for name, tensor in plain.items())
