from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import nasvit.experiment.fit as fit_module
import search_spaces
from nasvit.data import load_images
from nasvit.experiment.fit import Fitting, fit, main
from nasvit.experiment.fit_config import FitConfig, NetAugConfig
from nasvit.experiment.fit_images import FitImages
from nasvit.experiment.teachers import load_teacher
from nasvit.export.deployed import load_deployed, save_deployed
from nasvit.export.saved import PROGRAM
from nasvit.layers.reparameterized import Reparameterized, has_branches
from nasvit.registry import build_network, search_result
from nasvit.supernets.augmented_space import AugmentedSupernet
from nasvit.supernets.supernet import build
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.evaluation import evaluate
from nasvit.tasks.objective import Objective
from nasvit.training.netaug import NetAugTask, Phases
from tests.nasvit.filled import filled

TINY = """\
name: tiny
source: a test
image_channels: 1
resolution: 8
stem: {width: 8, stride: 1}
stages:
  - {name: first, block: mbconv, width: 8, depth: 1, kernel_size: 3, expand_ratio: 2, stride: 2}
head: {width: 16, expand_ratio: 2}
"""
FIT = """\
network: SPACE
data: {source: digits, padding: 1}
recipe: {optimizer: lamb, learning_rate: 0.02, epochs: 2, batch_size: 32, ema_decay: 0.8, warmup_epochs: 1}
images: 200
threads: 1
program: false
"""
NETAUG = "netaug: {augmentation: 2, diversity: 1, calibration_images: 64}\n"
WAYS = {"plain": "", "branches": "branches: {count: 2}\n", "netaug": NETAUG}


def config(folder: Path, more: str = "") -> FitConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "fit.yaml").write_text(FIT.replace("SPACE", str(folder / "tiny.yaml")) + more)
    return FitConfig.load(folder / "fit.yaml")


def some_images() -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("way", WAYS)
def test_a_trained_network_is_saved_as_what_it_costs_to_deploy(tmp_path: Path, way: str) -> None:
    asked = config(tmp_path, WAYS[way])
    results = fit(asked, tmp_path / "out")
    space = search_spaces.load(tmp_path / "tiny.yaml")
    plain = build(space, space.smallest, 10)
    network = load_deployed(tmp_path / "out" / "deployed")
    assert [p.shape for p in network.parameters() if p.dim() > 1] == [
        p.shape for p in plain.parameters() if p.dim() > 1
    ]
    assert results["test_images"] == len(load_images("digits", "test"))
    assert not any(isinstance(module, Reparameterized) for module in network.modules())
    assert results["params"] == sum(p.numel() for p in network.parameters())
    assert (results["training_params"] > results["params"]) == (way != "plain")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results


def test_a_fit_is_measured_on_the_test_images(tmp_path: Path) -> None:
    asked = config(tmp_path)
    learns = replace(asked.recipe, optimizer="adamw", learning_rate=0.02, epochs=6, ema_decay=0.0)
    asked = replace(asked, recipe=learns, images=600)
    results, images = fit(asked, tmp_path / "out"), FitImages(asked)
    network = load_deployed(tmp_path / "out" / "deployed")
    test = load_images("digits", "test")
    pixels = (test.pixels / 255 - torch.tensor(images.normalization.mean)) / torch.tensor(images.normalization.std)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(network(pixels), test.targets)
    assert results["deployed"]["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert results["deployed"]["accuracy"] > 0.3


def test_fusing_does_not_change_the_accuracy(tmp_path: Path) -> None:
    results = fit(config(tmp_path, WAYS["branches"]), tmp_path / "out")
    assert results["deployed"]["accuracy"] == results["before_fusing"]["accuracy"]
    assert results["deployed"]["loss"] == pytest.approx(results["before_fusing"]["loss"], rel=1e-5)


def test_a_deployed_netaug_network_is_the_base_of_the_wider_one(tmp_path: Path) -> None:
    asked = config(tmp_path, NETAUG)
    fitting = Fitting(asked, FitImages(asked))
    trained = fitting.trainer(tmp_path / "training").run()
    assert isinstance(trained, AugmentedSupernet)
    deployed = fitting.deployed(trained)
    for name, tensor in deployed.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, trained.at(trained.base).state_dict()[name])


@pytest.mark.parametrize("way", ["branches", "netaug"])
def test_a_training_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path, way: str) -> None:
    asked = config(tmp_path, WAYS[way])
    Fitting(asked, FitImages(asked)).trainer(tmp_path / "parts" / "training").run(until=7)
    whole, parts = fit(asked, tmp_path / "whole"), fit(asked, tmp_path / "parts")
    assert whole["deployed"] == parts["deployed"]


def test_a_fitted_network_can_be_the_teacher_of_another(tmp_path: Path) -> None:
    fit(config(tmp_path), tmp_path / "teacher")
    folder = tmp_path / "teacher" / "deployed"
    assert torch.equal(load_teacher(str(folder), 10)(some_images()), load_deployed(folder)(some_images()))
    taught = fit(config(tmp_path, f"teacher: {{network: {folder}, distillation: {{alpha: 0.9}}}}\n"), tmp_path / "out")
    assert taught["config"]["teacher"]["distillation"] == {"alpha": 0.9, "temperature": 1.0}
    assert taught["deployed"]["loss"] != json.loads((tmp_path / "teacher/results.json").read_text())["deployed"]["loss"]


def test_a_finished_training_is_only_read_and_another_one_does_not_overwrite_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path)
    first = fit(asked, tmp_path / "out")
    monkeypatch.setattr(Fitting, "run", lambda *_: pytest.fail("trained again"))
    assert fit(asked, tmp_path / "out") == first
    with pytest.raises(ValueError, match="holds the training of another configuration"):
        fit(config(tmp_path, "seed: 1\n"), tmp_path / "out")


def test_every_seed_sees_the_same_images(tmp_path: Path) -> None:
    zero, one = (FitImages(config(tmp_path, more)).data.train for more in ("", "seed: 1\n"))
    assert torch.equal(zero.targets, one.targets) and len(zero) == 180


def test_every_seed_serves_the_images_in_another_order(tmp_path: Path) -> None:
    zero, again, one = (FitImages(config(tmp_path, more)).training().batch(0, 0)[1] for more in ("", "", "seed: 1\n"))
    assert torch.equal(zero, again) and not torch.equal(zero, one)


def test_a_fit_runs_on_as_many_threads_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    fit(replace(config(tmp_path), recipe=replace(config(tmp_path).recipe, epochs=1, warmup_epochs=0)), tmp_path / "out")
    assert asked[0] == 1


def test_more_images_than_there_are_is_refused_in_words(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with pytest.raises(ValueError, match="images 99999: digits has 1438 training images"):
        FitImages(replace(asked, images=99999)).data  # noqa: B018


REFUSED: dict[str, Any] = {
    "both ways at once": (
        NETAUG + "branches: {count: 2}\n",
        "netaug: a network trains with branches or inside wider ones",
    ),
    "an unknown key": ("teachr: x\n", r"fit.yaml:7: teachr: unknown key; did you mean 'teacher'\?"),
    "an illegal share": (
        "teacher: {network: x, distillation: {alpha: 2}}\n",
        r"fit.yaml:7: teacher.distillation: alpha 2.0: the teacher's share lies between 0 and 1",
    ),
}


@pytest.mark.parametrize(("more", "words"), REFUSED.values(), ids=REFUSED)
def test_an_illegal_configuration_is_refused_in_words(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(tmp_path, more)


def test_the_command_prints_costs_accuracy_and_where_the_network_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config(tmp_path)
    path = tmp_path / "fit.yaml"
    path.write_text(path.read_text().replace("program: false", "program: true").replace("epochs: 2", "epochs: 1"))
    main(path, tmp_path / "out")
    printed = capsys.readouterr().out
    assert re.search(r"MACs, [\d,]+ parameters\ntest accuracy [\d.]+%, mean over classes [\d.]+%\n", printed)
    assert str(tmp_path / "out" / "deployed") in printed
    assert torch.export.load(tmp_path / "out" / "deployed" / PROGRAM).module()(torch.rand(3, 1, 8, 8)).shape == (3, 10)


def test_what_the_file_says_of_netaug_reaches_the_training(tmp_path: Path) -> None:
    more = "netaug: {width: [1, 2], expand: [1, 3], weight: 0.3, phases: {widths: 0.25, sort: false}}\nseed: 4\n"
    asked = config(tmp_path, more + "decay_after_warmup: true\n")
    trainer = Fitting(asked, FitImages(asked)).trainer(tmp_path / "training")
    task = trainer.task
    assert isinstance(task, NetAugTask)
    assert (task.weight, task.phases) == (0.3, Phases(0.25, sort=False))
    assert trainer.before_step == task.before_step and trainer.seed == 4
    assert trainer.learning_rate.decay_after_warmup and trainer.learning_rate.warmup_steps == len(trainer.loader)
    space = task.model.space  # type: ignore[union-attr]
    assert (space.stages[0].width, space.stages[0].expand_ratio) == ((8, 16), (2, 6))
    other = Fitting(config(tmp_path, more.replace("seed: 4", "seed: 5")), FitImages(asked)).trainer(tmp_path / "other")
    assert not torch.equal(next(task.model.parameters()), next(other.task.model.parameters()))


def test_the_student_learns_from_smoothed_labels_and_the_teacher_as_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "load_teacher", lambda name, classes: (name, classes))
    asked = config(tmp_path, "teacher: {network: some, distillation: {alpha: 0.9, temperature: 2}}\n")
    asked = replace(asked, recipe=replace(asked.recipe, label_smoothing=0.2))
    objective = Fitting(asked, FitImages(asked))._objective()
    assert objective == Objective(0.2, ("some", 10), Distillation(0.9, 2.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_training_learns_from_the_teacher(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = torch.nn.Identity()
    monkeypatch.setattr(fit_module, "load_teacher", lambda name, classes: teacher)
    asked = config(tmp_path, WAYS[way] + "teacher: {network: some}\n")
    task = Fitting(asked, FitImages(asked)).trainer(tmp_path / "training").task
    assert task.objective.teacher is teacher  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["", "branches: {count: 2}\n", NETAUG])
def test_the_saved_network_computes_what_was_measured(tmp_path: Path, way: str) -> None:
    asked = config(tmp_path, way)
    fitting = Fitting(asked, FitImages(asked))
    trained = filled(fitting.trainer(tmp_path / "training").trained)
    deployed = fitting.deployed(trained)
    fitting._save(deployed, tmp_path / "deployed", fused=has_branches(trained))
    assert torch.equal(load_deployed(tmp_path / "deployed")(some_images()), deployed(some_images()))


def test_calibration_sees_training_images_and_validation_the_held_out_ones(tmp_path: Path) -> None:
    asked = config(tmp_path, NETAUG)
    images = FitImages(asked)
    train, held_out = (images.plain(each) for each in (images.data.train, images.data.validation))
    seen = torch.cat([batch for batch, _ in train.evaluation_batches()]).flatten(1)
    taken = torch.cat(images.calibration(64)).flatten(1)
    assert len(taken) == 64 and bool((taken[:, None] == seen[None]).all(2).any(1).all())
    fitting = Fitting(asked, images)
    trained = filled(fitting.trainer(tmp_path / "training").trained)
    expected = evaluate(fitting.deployed(trained), held_out.evaluation_batches()).accuracy
    assert fitting._validate(trained) == {"accuracy": round(expected, 4)}


def test_the_program_takes_pixels_and_normalizes_them_as_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(config(tmp_path), program=True)
    fitting, given = Fitting(asked, FitImages(asked)), {}
    monkeypatch.setattr(fit_module, "export_program", lambda *_, **settings: given.update(settings))
    fitting._save(build_network(asked.network, 10), tmp_path / "deployed", fused=False)
    normalization = fitting.images.normalization
    assert given == {"shape": (1, 8, 8), "mean": normalization.mean, "deviation": normalization.std}


def test_a_deployed_search_result_needs_neither_its_files_nor_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    network = filled(build_network("tiny.yaml", 10)).eval()
    card = {"classes": list("0123456789"), "image_channels": 1}
    structure = search_result("tiny.yaml")
    save_deployed(network, tmp_path / "deployed", name="tiny.yaml", structure=structure, fused=False, card=card)
    (tmp_path / "tiny.yaml").unlink()
    assert torch.equal(load_deployed(tmp_path / "deployed")(some_images()), network(some_images()))


def test_a_timm_teacher_is_frozen_and_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, **_: object) -> torch.nn.Module:
        model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(4, 10))
        model.num_classes = 10
        return model

    monkeypatch.setattr(timm, "create_model", made)
    teacher = load_teacher("timm:some", 10)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_training_that_could_not_start_does_not_own_its_folder(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with pytest.raises(ValueError, match="more than the 180 training images"):
        fit(replace(asked, recipe=replace(asked.recipe, batch_size=512)), tmp_path / "out")
    assert fit(replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0)), tmp_path / "out")


@pytest.mark.parametrize("wanted", [64, 700, 1200])
def test_statistics_are_taken_from_as_many_images_as_asked_for(tmp_path: Path, wanted: int) -> None:
    images = FitImages(replace(config(tmp_path), images=0))
    assert sum(len(batch) for batch in images.calibration(wanted)) == wanted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"augmentation": 2.0, "width": (1.0, 3.0)}, "augmentation: width and expand follow from it"),
        ({"weight": -1.0}, "weight: -1.0; legal are numbers from 0 up"),
        ({"calibration_images": 0}, "calibration_images: 0; legal are numbers from 1 up"),
    ],
)
def test_an_illegal_netaug_is_refused_in_words(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NetAugConfig(**changed)  # type: ignore[arg-type]


def test_less_than_no_images_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images: -5; legal are 0"):
        replace(config(tmp_path), images=-5)
