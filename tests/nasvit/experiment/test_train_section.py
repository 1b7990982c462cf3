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
from nasvit.training.metrics import read_metrics
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import write_experiment

RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=64, clip_norm=1.0)
CHANGES: dict[str, Any] = {
    "recipe": replace(RECIPE, learning_rate=0.2),
    "random_subnets": 2,
    "distill": "kl",
    "conflict": "none",
    "conflict_per": "layer",
    "precision": "bfloat16",
    "teacher": "a folder",
    "evaluate_every": 1,
}
TAUGHT = 7


def bench_of(folder: Path, **changed: Any) -> Workbench:
    bench = open_workbench(write_experiment(folder), folder / "out")
    section = replace(bench.experiment.train, recipe=RECIPE, evaluate_every=0, random_subnets=1)
    bench.experiment = replace(bench.experiment, train=replace(section, **changed))
    return bench


def weights(**changed: Any) -> dict[str, Tensor]:
    with TemporaryDirectory() as folder:
        supernet = train(bench_of(Path(folder), **changed), until=2)
        return {name: tensor.detach().clone() for name, tensor in supernet.named_parameters()}


@cache
def base() -> dict[str, Tensor]:
    return weights()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a network that says of every image that it shows the same class."""
    folder, bench = tmp_path_factory.mktemp("teacher"), bench_of(tmp_path_factory.mktemp("experiment"))
    space = bench.space
    network = build_subnet(space, space.smallest, len(bench.classes))
    track_statistics(network)
    torch.nn.init.zeros_(network.head.classifier.weight)
    network.head.classifier.bias.data.copy_(20.0 * (torch.arange(len(bench.classes)) == TAUGHT))
    save_network(network, folder, Card(SubnetSpec(space, space.smallest), bench.classes))
    return str(folder)


def test_every_field_is_looked_at() -> None:
    assert set(CHANGES) == {field.name for field in fields(TrainConfig)}


@pytest.mark.parametrize("field", [field for field in CHANGES if field != "evaluate_every"])
def test_a_changed_field_trains_other_weights(field: str, teacher: str) -> None:
    changed = weights(**{field: TeacherConfig(teacher) if field == "teacher" else CHANGES[field]})
    assert any(not torch.equal(tensor, changed[name]) for name, tensor in base().items())


def test_measuring_the_conflict_logs_it_and_trains_as_adding_does(tmp_path: Path) -> None:
    recipe = replace(RECIPE, clip_norm=0.0)
    bench = bench_of(tmp_path, conflict="measure", recipe=recipe)
    measured, added = train(bench, until=2), weights(conflict="none", recipe=recipe)
    for name, tensor in measured.named_parameters():
        torch.testing.assert_close(tensor.detach(), added[name], rtol=1e-4, atol=1e-6, msg=name)
    assert all("conflict_share" in record for record in read_metrics(bench.folder / "train" / "metrics.jsonl"))


@pytest.mark.parametrize("every", [0, 1])
def test_the_supernet_is_evaluated_as_often_as_asked(every: int, tmp_path: Path) -> None:
    bench = bench_of(tmp_path, evaluate_every=every)
    train(bench)
    records = [record for record in read_metrics(bench.folder / "train" / "metrics.jsonl") if "epoch" in record]
    assert len(records) == every


def test_an_evaluation_looks_at_each_end_of_the_space_and_some_subnets_between(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, evaluate_every=1, recipe=replace(RECIPE, optimizer="adamw", learning_rate=4e-3))
    supernet = train(bench)
    (record,) = (record for record in read_metrics(bench.folder / "train" / "metrics.jsonl") if "epoch" in record)
    found = {name: value for name, value in record.items() if name.startswith("accuracy_")}
    assert set(found) == {"accuracy_smallest", "accuracy_largest", "accuracy_random_0", "accuracy_random_1"}
    for name, architecture in (("smallest", bench.space.smallest), ("largest", bench.space.largest)):
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
