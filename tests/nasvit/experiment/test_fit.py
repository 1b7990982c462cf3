"""``nasvit fit``: one training of one network, whatever it starts from and whatever helps it."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import search_spaces
from nasvit.branches import Branches
from nasvit.data import BadImageError, Loader, load_images
from nasvit.data.config import DataConfig
from nasvit.experiment import fit as fit_module
from nasvit.experiment import fitting as fitting_module
from nasvit.experiment.fit import fit, fitting_of, images_of, main
from nasvit.experiment.fitting import Fitting, load_teacher, objective
from nasvit.experiment.training import FitConfig, NetAugConfig, TeacherConfig
from nasvit.experiment.yaml_file import decisive
from nasvit.export import saved
from nasvit.export.card import Card
from nasvit.export.program import PROGRAM
from nasvit.export.saved import load_network, load_saved, save_network
from nasvit.files.records import read_json
from nasvit.layers.fake_quantize import InputRange
from nasvit.layers.reparameterized import Reparameterized
from nasvit.registry import create
from nasvit.supernets.augmented_space import AugmentedSupernet
from nasvit.supernets.supernet import build_subnet
from nasvit.tasks.classification import evaluate
from nasvit.tasks.distillation import Distillation, teacher_probabilities
from nasvit.tasks.teacher import Teacher, Teachers
from nasvit.training.metrics import read_metrics
from nasvit.training.sampling import NetAug, Phases
from search_spaces.saved import to_json_value
from search_spaces.schedule import Cosine
from search_spaces.values import FieldError
from tests.nasvit.data.test_sources import write_folder
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
INT8 = "quantize: int8\n"
WAYS = {"plain": "", "branches": "branches: {count: 2}\n", "netaug": NETAUG, "int8": INT8}


def config(folder: Path, more: str = "") -> FitConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "fit.yaml").write_text(FIT.replace("SPACE", str(folder / "tiny.yaml")) + more)
    return FitConfig.load(folder / "fit.yaml")


def fitting(asked: FitConfig) -> Fitting:
    return fitting_of(asked, images_of(asked))


def some_images() -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("way", WAYS)
def test_a_trained_network_is_saved_as_what_it_costs_to_deploy(tmp_path: Path, way: str) -> None:
    asked = config(tmp_path, WAYS[way])
    results = fit(asked, tmp_path / "out")
    space = search_spaces.load(tmp_path / "tiny.yaml")
    plain = build_subnet(space, space.smallest, 10)
    network = load_network(tmp_path / "out" / "deployed")
    assert [p.shape for p in network.parameters() if p.dim() > 1] == [
        p.shape for p in plain.parameters() if p.dim() > 1
    ]
    assert results["test_images"] == len(load_images("digits", "test"))
    assert not any(isinstance(module, Reparameterized) for module in network.modules())
    assert results["params"] == sum(p.numel() for p in network.parameters())
    assert (results["training_params"] > results["params"]) == (way in ("branches", "netaug"))
    assert not any(isinstance(module, InputRange) for module in network.modules())
    assert read_json(tmp_path / "out" / "results.json") == results


def test_a_fit_is_measured_on_the_test_images(tmp_path: Path) -> None:
    asked = config(tmp_path)
    learns = replace(asked.recipe, optimizer="adamw", learning_rate=0.02, epochs=6, ema_decay=0.0)
    asked = replace(asked, recipe=learns, images=600)
    results, images = fit(asked, tmp_path / "out"), images_of(asked)
    network = load_network(tmp_path / "out" / "deployed")
    test = load_images("digits", "test")
    pixels = (test.pixels / 255 - torch.tensor(images.normalization.mean)) / torch.tensor(images.normalization.std)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(network(pixels), test.targets)
    assert results["deployed"]["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert results["deployed"]["accuracy"] > 0.3
    evaluated = [each for each in read_metrics(tmp_path / "out" / "training" / "metrics.jsonl") if "epoch" in each]
    assert len(evaluated) == 6 and all(0 <= each["training_score"] <= 1 for each in evaluated)


def test_fusing_does_not_change_the_accuracy(tmp_path: Path) -> None:
    results = fit(config(tmp_path, WAYS["branches"]), tmp_path / "out")
    assert results["deployed"]["accuracy"] == results["before_fusing"]["accuracy"]
    assert results["deployed"]["loss"] == pytest.approx(results["before_fusing"]["loss"], rel=1e-5)


def test_a_deployed_netaug_network_is_the_base_of_the_wider_one(tmp_path: Path) -> None:
    asked = config(tmp_path, NETAUG)
    fitted = fitting(asked)
    trained = fitted.trainer(tmp_path / "training").run()
    assert isinstance(trained, AugmentedSupernet)
    deployed = fitted.deployed(trained)
    shared = dict(trained.at(trained.base).named_parameters())
    for name, tensor in deployed.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, shared[name])


@pytest.mark.parametrize("way", ["branches", "netaug", "int8"])
def test_a_training_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path, way: str) -> None:
    asked = config(tmp_path, WAYS[way])
    fitting(asked).trainer(tmp_path / "parts" / "training").run(until=7)
    whole, parts = fit(asked, tmp_path / "whole"), fit(asked, tmp_path / "parts")
    assert whole["deployed"] == parts["deployed"]


def test_a_training_of_before_there_was_rounding_is_the_same_and_one_that_rounds_is_not(tmp_path: Path) -> None:
    now, rounding = (config(tmp_path, more).to_json() for more in ("", INT8))
    before = {name: value for name, value in now.items() if name not in ("quantize", "class_weights")}
    assert decisive(before) == decisive(now) != decisive(rounding)


def test_a_training_goes_on_with_less_memory_than_it_began_with(tmp_path: Path) -> None:
    kept, again = (config(tmp_path, more).to_json() for more in ("", "recompute: true"))
    assert kept != again and decisive(kept) == decisive(again)


def test_a_teacher_whose_maps_are_not_compared_stands_in_records_as_before_there_were_such() -> None:
    plain, maps = TeacherConfig(("a", "b"), Distillation(0.9), 0.2), TeacherConfig("a", maps=2.0)
    assert to_json_value(plain) == {
        "network": ["a", "b"],
        "distillation": {"alpha": 0.9, "temperature": 1.0},
        "temperature": 0.2,
    }
    assert to_json_value(maps)["maps"] == 2.0
    assert [TeacherConfig.from_json(each.to_json()) for each in (plain, maps)] == [plain, maps]
    with pytest.raises(FieldError, match="maps: -1.0 is illegal; legal: numbers from 0 to 1000"):
        TeacherConfig("a", maps=-1.0)


def test_a_training_that_rounds_is_another_one_and_is_validated_rounded(tmp_path: Path) -> None:
    plain, rounding = (fitting(config(tmp_path, more)) for more in ("", INT8))
    for each in (plain, rounding):
        each.trainer(tmp_path / each.training.to_json().get("quantize", "plain")).run()
    trained = rounding.way.model
    assert any(isinstance(module, InputRange) and module.high > 0 for module in trained.modules())
    deployed = rounding.deployed(trained)
    assert not torch.equal(trained.eval()(some_images()), deployed(some_images()))
    assert not torch.equal(plain.deployed(plain.way.model)(some_images()), deployed(some_images()))


def test_a_fitted_network_can_be_the_teacher_of_another(tmp_path: Path) -> None:
    fit(config(tmp_path), tmp_path / "teacher")
    folder = tmp_path / "teacher" / "deployed"
    teacher = load_teacher(TeacherConfig(str(folder)), images_of(config(tmp_path)))
    assert torch.equal(teacher(some_images()), load_network(folder)(some_images()))
    taught = fit(config(tmp_path, f"teacher: {{network: {folder}, distillation: {{alpha: 0.9}}}}\n"), tmp_path / "out")
    assert taught["config"]["teacher"]["distillation"] == {"alpha": 0.9, "temperature": 1.0}
    assert taught["deployed"]["loss"] != json.loads((tmp_path / "teacher/results.json").read_text())["deployed"]["loss"]


def test_two_fitted_networks_teach_with_a_temperature(tmp_path: Path) -> None:
    for seed in (0, 1):
        fit(replace(config(tmp_path), seed=seed), tmp_path / f"teacher{seed}")
    folders = [str(tmp_path / f"teacher{seed}" / "deployed") for seed in (0, 1)]
    asked = config(tmp_path, f"teacher: {{network: [{', '.join(folders)}], temperature: 0.2}}\n")
    teacher = objective(asked.training, images_of(asked)).teacher
    assert isinstance(teacher, Teachers)
    wanted = teacher_probabilities([load_network(Path(folder))(some_images()) for folder in folders], temperature=0.2)
    torch.testing.assert_close(teacher(some_images()).softmax(1), wanted)
    taught = fit(asked, tmp_path / "out")
    assert (taught["config"]["teacher"]["network"], taught["config"]["teacher"]["temperature"]) == (folders, 0.2)


def test_a_finished_training_is_only_read_and_another_one_does_not_overwrite_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path)
    first = fit(asked, tmp_path / "out")
    monkeypatch.setattr(fit_module, "_run", lambda *_: pytest.fail("trained again"))
    assert fit(asked, tmp_path / "out") == first
    with pytest.raises(ValueError, match="holds the training of another configuration"):
        fit(config(tmp_path, "seed: 1\n"), tmp_path / "out")


def test_every_seed_sees_the_same_images(tmp_path: Path) -> None:
    zero, one = (images_of(config(tmp_path, more)).train for more in ("", "seed: 1\n"))
    assert torch.equal(zero.targets, one.targets) and len(zero) == 180


def test_every_seed_serves_the_images_in_another_order(tmp_path: Path) -> None:
    zero, again, one = (
        images_of(config(tmp_path, more)).training(config(tmp_path).recipe).batch(0, 0)[1]
        for more in ("", "", "seed: 1\n")
    )
    assert torch.equal(zero, again) and not torch.equal(zero, one)


def test_a_fit_runs_on_as_many_threads_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    fit(replace(config(tmp_path), recipe=replace(config(tmp_path).recipe, epochs=1, warmup_epochs=0)), tmp_path / "out")
    assert asked[0] == 1


def test_more_images_than_there_are_is_refused_in_words(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with pytest.raises(ValueError, match="images 99999: digits has 1438 training images"):
        images_of(replace(asked, images=99999)).data  # noqa: B018


def test_test_images_that_cannot_be_used_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_folder(tmp_path / "photos" / part, count=10, sizes=((8, 8),))
    (tmp_path / "photos" / "val" / "red" / "0.png").write_text("nothing")
    asked = config(tmp_path)
    with pytest.raises(BadImageError, match="1 bad image"):
        fit(replace(asked, images=0, data=DataConfig(str(tmp_path / "photos"), validation=0.4)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


REFUSED: dict[str, Any] = {
    "both ways at once": (
        NETAUG + "branches: {count: 2}\n",
        "netaug: a network trains with branches or inside wider ones",
    ),
    "rounding with branches": (INT8 + "branches: {count: 2}\n", "quantize: is for the plain network, without branches"),
    "rounding at several widths": (INT8 + "widths: [0.5, 1.0]\n", "quantize: is for a network of one width"),
    "an unknown rounding": ("quantize: int4\n", "fit.yaml:7: quantize: .*int8"),
    "an unknown key": ("teachr: x\n", r"fit.yaml:7: teachr: unknown key; did you mean 'teacher'\?"),
    "an illegal share": (
        "teacher: {network: x, distillation: {alpha: 2}}\n",
        r"fit.yaml:7: teacher.distillation.alpha: 2.0 is illegal; legal: numbers from 0 to 1",
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
    asked = config(tmp_path, more)
    asked = replace(asked, recipe=replace(asked.recipe, schedule=Cosine(after_warmup=True)))
    fitted = fitting(asked)
    trainer, sampling, model = fitted.trainer(tmp_path / "training"), fitted.way.sampling, fitted.way.model
    assert isinstance(sampling, NetAug) and isinstance(model, AugmentedSupernet)
    assert (sampling.weight, sampling.phases) == (0.3, Phases(0.25, sort=False))
    assert trainer.learner.model is model and trainer.seed == 4
    assert trainer.learning_rate.decay_after_warmup and trainer.learning_rate.warmup_steps == len(trainer.loader)
    assert (model.space.stages[0].width, model.space.stages[0].expand_ratio) == ((8, 16), (2, 6))
    other = fitting(config(tmp_path, more.replace("seed: 4", "seed: 5"))).way.model
    assert not torch.equal(next(model.parameters()), next(other.parameters()))


def test_the_student_learns_from_smoothed_labels_and_the_teacher_as_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting_module, "load_teacher", lambda asked, images: (asked.network, len(images.classes)))
    asked = config(tmp_path, "teacher: {network: some, distillation: {alpha: 0.9, temperature: 2}}\n")
    asked = replace(asked, recipe=replace(asked.recipe, label_smoothing=0.2))
    found = objective(asked.training, images_of(asked))
    assert (found.label_smoothing, found.teacher, found.distillation) == (0.2, ("some", 10), Distillation(0.9, 2.0))
    named = objective(config(tmp_path, "teacher: some\n").training, images_of(asked))
    assert (named.teacher, named.distillation) == (("some", 10), Distillation())


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_training_learns_from_the_teacher(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = torch.nn.Identity()
    monkeypatch.setattr(fitting_module, "load_teacher", lambda asked, images: teacher)
    asked = config(tmp_path, WAYS[way] + "teacher: {network: some}\n")
    learner = fitting(asked).trainer(tmp_path / "training").learner
    assert learner.objective.teacher is teacher  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["", "branches: {count: 2}\n", NETAUG])
def test_the_saved_network_computes_what_was_measured(tmp_path: Path, way: str) -> None:
    fitted = fitting(config(tmp_path, way))
    trained = filled(fitted.trainer(tmp_path / "training").trained)
    deployed = fitted.deployed(trained)
    save_network(deployed, tmp_path / "deployed", fitted.card(trained, {}))
    assert torch.equal(load_network(tmp_path / "deployed")(some_images()), deployed(some_images()))


def test_calibration_sees_training_images_and_validation_the_held_out_ones(tmp_path: Path) -> None:
    asked = config(tmp_path, NETAUG)
    images = images_of(asked)
    train, held_out = (images.evaluation_loader(each) for each in (images.train, images.validation))
    seen = torch.cat([batch for batch, _ in train.evaluation_batches()]).flatten(1)
    taken = torch.cat([*images.calibration_of(64)]).flatten(1)
    assert len(taken) == 64 and bool((taken[:, None] == seen[None]).all(2).any(1).all())
    fitted = fitting_of(asked, images)
    trained = filled(fitted.trainer(tmp_path / "training").trained)
    expected = evaluate(fitted.deployed(trained), held_out.evaluation_batches())
    values = fitted._validate(trained, images.validation, images.learned)
    learned = images.learned.pixels.flatten(1)
    assert len(learned.unique(dim=0)) == len(learned)
    assert len(learned) == len(images.validation) < len(images.train)
    assert bool((learned[:, None] == images.train.pixels.flatten(1)[None]).all(2).any(1).all())
    expected_of_learned = evaluate(
        fitted.deployed(trained), images.evaluation_loader(images.learned).evaluation_batches()
    )
    assert values["training_score"] == round(expected_of_learned.accuracy, 4)
    assert values["score"] == values["accuracy"] == round(expected.accuracy, 4)
    assert values["class_accuracy"] == round(expected.class_accuracy, 4)


def test_the_program_takes_pixels_and_normalizes_them_as_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, given = fitting(config(tmp_path)), dict[str, Any]()
    monkeypatch.setattr(saved, "export_program", lambda _, path, **settings: path.touch() or given.update(settings))
    trained = filled(fitted.trainer(tmp_path / "training").trained)
    save_network(fitted.deployed(trained), tmp_path / "deployed", fitted.card(trained, {}), program=True)
    normalization = fitted.images.normalization
    assert given == {"shape": (1, 8, 8), "mean": normalization.mean, "deviation": normalization.std}


def test_a_deployed_network_needs_neither_its_files_nor_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    network, card = create("tiny.yaml", 10)
    network = filled(network).eval()
    save_network(network, tmp_path / "deployed", card)
    (tmp_path / "tiny.yaml").unlink()
    assert torch.equal(load_network(tmp_path / "deployed")(some_images()), network(some_images()))


def test_a_training_that_could_not_start_does_not_own_its_folder(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with pytest.raises(ValueError, match="more than the 180 training images"):
        fit(replace(asked, recipe=replace(asked.recipe, batch_size=512)), tmp_path / "out")
    assert fit(replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0)), tmp_path / "out")


@pytest.mark.parametrize("wanted", [64, 700, 1200])
def test_statistics_are_taken_from_as_many_images_as_asked_for(tmp_path: Path, wanted: int) -> None:
    images = images_of(replace(config(tmp_path), images=0))
    assert sum(len(batch) for batch in images.calibration_of(wanted)) == wanted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"augmentation": 2.0, "width": (1.0, 3.0)}, "augmentation: width and expand follow from it"),
        ({"weight": -1.0}, "weight: -1.0 is illegal; legal: numbers from 0"),
        ({"calibration_images": 0}, "calibration_images: 0 is illegal; legal: whole numbers from 1"),
    ],
)
def test_an_illegal_netaug_is_refused_in_words(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NetAugConfig(**changed)  # type: ignore[arg-type]


def test_less_than_no_images_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images: -5 is illegal; legal: whole numbers from 0"):
        replace(config(tmp_path), images=-5)


def test_a_saved_network_is_trained_on_from_its_weights(tmp_path: Path) -> None:
    first = fit(config(tmp_path), tmp_path / "first")
    folder = tmp_path / "first" / "deployed"
    for way in WAYS.values():
        asked = replace(config(tmp_path, way), network=str(folder))
        fitted = fitting(asked)
        if fitted.start.network is not None:
            fitted.start.network.eval()
        before = fitted.deployed(fitted.trainer(tmp_path / "none").learner.model)
        images = images_of(asked)
        score = fitted.score(before, images.test).value
        assert score > first["deployed"]["accuracy"] - 0.25, way  # random weights would guess


def test_weights_may_be_named_apart_from_the_network(tmp_path: Path) -> None:
    fit(config(tmp_path), tmp_path / "first")
    folder = tmp_path / "first" / "deployed"
    fitted = fitting(replace(config(tmp_path), weights=str(folder)))
    assert torch.equal(fitted.way.model.eval()(some_images()), load_network(folder)(some_images()))
    with pytest.raises(ValueError, match="weights: the weights do not fit micro8:smallest"):
        fitting(replace(config(tmp_path), network="micro8:smallest", weights=str(folder)))
    with pytest.raises(ValueError, match="weights: 'mcunet' names a network without weights"):
        fitting(replace(config(tmp_path), weights="mcunet"))


@pytest.mark.parametrize("name", ["micro8:smallest", "timm:test_resnet", "mobilenet_v1-0.25@32"])
def test_every_kind_of_name_can_be_trained_and_read_back(tmp_path: Path, name: str) -> None:
    asked = replace(config(tmp_path), network=name, images=128)
    asked = replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0))
    results = fit(asked, tmp_path / "out")
    network, card = load_saved(tmp_path / "out" / "deployed")
    assert results["params"] == sum(parameter.numel() for parameter in network.parameters())
    images = images_of(asked)
    assert evaluate(network, images.evaluation_loader(images.test).evaluation_batches()).accuracy == pytest.approx(
        results["deployed"]["accuracy"], abs=1e-6
    )
    assert card.classes == tuple("0123456789") and card.origin["network"] == name


def test_one_network_is_trained_at_several_widths_and_deployed_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(config(tmp_path), network="mobilenet_v1@32", widths=(0.25, 0.125), images=128)
    asked = replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0, ema_decay=0.0))
    results = fit(asked, tmp_path / "out")
    assert [row["width"] for row in results["widths"]] == [0.25, 0.125]
    assert results["widths"][0]["macs"] > results["widths"][1]["macs"]
    model = load_network(tmp_path / "out" / "deployed")
    assert model(some_images(), width=0.125).shape == (4, 10)
    images = images_of(asked)
    for row in results["widths"]:
        batches = images.evaluation_loader(images.test).evaluation_batches()
        score = images.task.evaluate(model.export(row["width"]), batches)
        assert (results["metric"], row["score"]) == ("accuracy", pytest.approx(score.value, abs=1e-4))
    assert fit(asked, tmp_path / "out") == results


def test_autoslim_finds_widths_under_its_budgets_and_trains_them(tmp_path: Path) -> None:
    more = "widths: [0.125, 0.25]\nslimmable: {norm: universal, random: 1, autoslim: [macs<=3M]}\n"
    asked = replace(config(tmp_path, more), network="mobilenet_v1@32", images=128)
    asked = replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0, ema_decay=0.0))
    (row,) = fit(asked, tmp_path / "out")["widths"]
    assert row["macs"] <= 3_000_000
    assert len(row["width"]) > 10


def test_a_teacher_is_given_images_as_it_was_trained_with_them(tmp_path: Path) -> None:
    student = images_of(config(tmp_path))
    network = filled(create("micro8:smallest", 10).network).eval()
    card = Card(create("micro8:smallest", 10).card.spec, student.classes, 16, (0.3,), (0.7,))
    save_network(network, tmp_path / "teacher", card)
    teacher = load_teacher(TeacherConfig(str(tmp_path / "teacher")), student)
    seen: list[torch.Tensor] = []
    teacher.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = torch.rand(2, 1, 8, 8)
    mean, deviation = student.normalization.mean[0], student.normalization.std[0]
    teacher((pixels - mean) / deviation)
    assert seen[0].shape == (2, 1, 16, 16)
    wanted = torch.nn.functional.interpolate((pixels - 0.3) / 0.7, (16, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(seen[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_teacher_teaches_classes_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, names = images_of(config(tmp_path)), tuple("ABCDEFGHIJ")
    monkeypatch.setattr(type(student), "classes", names)
    network = filled(create("micro8:smallest", 12).network).eval()
    spec, other_order = create("micro8:smallest", 12).card.spec, ("X", *reversed(names), "Y")
    save_network(network, tmp_path / "teacher", Card(spec, other_order, mean=(0.3,), deviation=(0.7,)))
    teacher = load_teacher(TeacherConfig(str(tmp_path / "teacher")), student)
    assert isinstance(teacher, Teacher)
    teacher.converts = False
    assert torch.equal(teacher(some_images()), network(some_images())[:, 1:11].flip(1))


WRONG_TEACHERS = {
    "other classes": (
        tuple("abcdefghij"),
        lambda each: None,
        r"does not know 10 of the 10 classes \(A, B, C, \.\.\.\)",
    ),
    "fewer classes": (tuple("012"), lambda each: None, "scores 3 classes and 10 are needed"),
    "NaN": (tuple("ABCDEFGHIJ"), lambda each: each.fill_(torch.nan), "returns NaN or infinite scores"),
}


@pytest.mark.parametrize(("classes", "spoil", "words"), WRONG_TEACHERS.values(), ids=WRONG_TEACHERS)
def test_a_teacher_that_does_not_fit_is_refused(
    classes: tuple[str, ...], spoil: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = images_of(config(tmp_path))
    monkeypatch.setattr(type(student), "classes", tuple("ABCDEFGHIJ"))
    network, card = create("micro8:smallest", len(classes))
    with torch.no_grad():
        spoil(next(filled(network).parameters()))
    save_network(network.eval(), tmp_path / "teacher", replace(card, classes=classes))
    asked = replace(config(tmp_path), teacher=TeacherConfig(str(tmp_path / "teacher")))
    with pytest.raises(ValueError, match=f"teacher: .*{words}"):
        objective(asked.training, student)


def test_it_is_said_that_the_normalization_of_a_teacher_is_not_known(tmp_path: Path) -> None:
    network, card = create("micro8:smallest", 10)
    save_network(filled(network).eval(), tmp_path / "teacher", card)
    with pytest.warns(UserWarning, match="teacher does not say how its images were normalized"):
        load_teacher(TeacherConfig(str(tmp_path / "teacher")), images_of(config(tmp_path)))


def test_a_teacher_of_the_same_images_sees_the_students_images_untouched() -> None:
    seen: list[torch.Tensor] = []
    network = torch.nn.Identity()
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 3, 8, 8)
    teacher = Teacher(network, (0.1, 0.2, 0.3), (1, 2, 3), own_mean=(0.1, 0.2, 0.3), own_deviation=(1, 2, 3), side=8)
    teacher.train()(x)
    assert seen[0] is x and not teacher.training
    with pytest.raises(ValueError, match="the teacher takes images of 1 channels, the student's have 3"):
        Teacher(network, (0.1, 0.2, 0.3), (1, 2, 3), own_mean=(0.1,), own_deviation=(1,))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"widths": (0.25, 0.5), "branches": Branches()}, "widths: a network of several widths trains without"),
        ({"network": "micro8:smallest", "widths": (0.5,)}, "network: micro8:smallest has no widths"),
        ({"teacher": TeacherConfig("mcunet")}, "teacher: 'mcunet' names a network without weights"),
        (
            {"teacher": TeacherConfig("nowhere")},
            "teacher: .*'nowhere' is unknown|teacher: 'nowhere' names a network without",
        ),
        ({"network": "nowhere"}, "network: network 'nowhere' is unknown"),
        (
            {"network": "timm:test_vit"},
            "network: timm:test_vit: it does not take images of [0-9]+x[0-9]+ pixels: Input",
        ),
        ({"network": "nowhere", "widths": (0.25, 0.5)}, "network: network 'nowhere' is unknown"),
        ({"network": "resnet18-0.5@32", "widths": (0.25, 0.5)}, "network: .* is a family at another width than 1"),
    ],
)
def test_names_that_do_not_fit_are_refused_in_words(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(replace(config(tmp_path), **changed), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_several_widths_start_from_random_weights_and_say_so(tmp_path: Path) -> None:
    fit(replace(config(tmp_path), network="tinymbv2@32"), tmp_path / "first")
    folder = str(tmp_path / "first" / "deployed")
    with pytest.raises(ValueError, match="weights: a network of several widths starts from random weights"):
        replace(config(tmp_path), network="tinymbv2@32", widths=(0.5, 1.0), weights=folder)
    with pytest.raises(ValueError, match="network: .* has weights, and several widths start from random ones"):
        fit(replace(config(tmp_path), network=folder, widths=(0.5, 1.0)), tmp_path / "out")


def test_what_only_evaluates_or_was_fused_for_good_is_refused_before_a_folder_is_claimed(tmp_path: Path) -> None:
    asked = config(tmp_path)
    recipe = replace(asked.recipe, epochs=1, warmup_epochs=0)
    asked = replace(asked, recipe=recipe, images=128)
    fit(replace(asked, network="mobilenet_v1@32", widths=(0.25, 0.5)), tmp_path / "widths")
    fit(replace(asked, branches=Branches(2)), tmp_path / "fused")
    names = {name: str(tmp_path / name / "deployed") for name in ("widths", "fused")}
    with pytest.raises(ValueError, match="network: .* runs at several widths and only evaluates"):
        fit(replace(asked, network=names["widths"]), tmp_path / "out")
    with pytest.raises(ValueError, match="netaug: the network to start from was fused"):
        fit(replace(config(tmp_path, NETAUG), network=names["fused"]), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_seed_decides_which_images_statistics_are_taken_from(tmp_path: Path) -> None:
    images = images_of(replace(config(tmp_path), seed=3))
    loader = Loader(images.train, batch_size=64, normalization=images.normalization, seed=3)
    assert torch.equal(images.calibration_of(64)[0], loader.calibration_batches(1)[0])


def test_the_program_takes_images_that_are_no_squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, label, number in itertools.product(("train", "test"), "ab", range(8)):
        folder = tmp_path / "wide" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 8), (10 * number, 20 * number, 90 - 10 * number)).save(folder / f"{number}.png")
    asked = replace(config(tmp_path), network="tinymbv2@32", images=0, program=True)
    recipe = replace(asked.recipe, batch_size=4, epochs=1, warmup_epochs=0)
    asked = replace(asked, data=DataConfig(str(tmp_path / "wide"), validation=0.25), recipe=recipe)
    given = dict[str, Any]()
    monkeypatch.setattr(saved, "export_program", lambda _, path, **settings: path.touch() or given.update(settings))
    fit(asked, tmp_path / "out")
    assert given["shape"] == (3, 8, 16)


def test_a_teacher_of_other_channels_is_refused_before_a_folder_is_claimed(tmp_path: Path) -> None:
    network, card = create("tinymbv2@32", 10)
    save_network(filled(network), tmp_path / "teacher", card)
    with pytest.raises(ValueError, match="takes images of 3 channels, the student's have 1"):
        fit(replace(config(tmp_path), teacher=TeacherConfig(str(tmp_path / "teacher"))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_count_although_the_card_says_that_they_were_random(tmp_path: Path) -> None:
    network, card = create("micro8:smallest", 10)
    network = filled(network).eval()  # as a loop of the user's own would train it
    save_network(network, tmp_path / "own", card)
    fitted = fitting(replace(config(tmp_path), network=str(tmp_path / "own")))
    assert torch.equal(fitted.way.model.eval()(some_images()), network(some_images()))


def test_a_network_in_half_precision_teaches_and_is_trained_on_in_float32(tmp_path: Path) -> None:
    network, card = create("micro8:smallest", 10)
    save_network(filled(network).bfloat16(), tmp_path / "half", card)
    asked = replace(config(tmp_path), teacher=TeacherConfig(str(tmp_path / "half")), network=str(tmp_path / "half"))
    asked = replace(asked, recipe=replace(asked.recipe, epochs=1, warmup_epochs=0))
    fit(asked, tmp_path / "out")
    assert next(load_network(tmp_path / "out" / "deployed").parameters()).dtype == torch.float32
