from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import search_spaces
from nasvit.data import load_images
from nasvit.deployed import load_deployed
from nasvit.export import PROGRAM
from nasvit.fit import Fitting, fit, main
from nasvit.fit_config import FitConfig
from nasvit.fit_images import FitImages
from nasvit.layers.reparameterized import Reparameterized
from nasvit.netaug import AugmentedSupernet
from nasvit.supernet import build
from nasvit.teachers import load_teacher

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


def test_more_images_than_there_are_is_refused_in_words(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with pytest.raises(ValueError, match="images 99999: digits has 1438 training images"):
        FitImages(FitConfig(**{**asked.__dict__, "images": 99999})).data  # noqa: B018


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
