"""``nasvit fit`` with ``netaug`` around a network that is none of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasvit.any_network.augmented import AugmentedModel
from nasvit.any_network.choices import uniform
from nasvit.experiment.fit import fit, fitting_of, images_of
from nasvit.experiment.fitting import Fitting
from nasvit.experiment.training import FitConfig, SlimmableConfig, StartingWeights
from nasvit.export.card import Card
from nasvit.export.saved import load_network, save_network
from nasvit.names import code_spec
from nasvit.registry import create
from nasvit.specs import ElasticSpec, elastic_plan
from predictors.limits import Budget
from tests.nasvit.any_network.oracle import shaken
from tests.nasvit.experiment.small_network import Residual

FIT = """\
network: tests.nasvit.experiment.small_network:residual
data: {source: digits, padding: 1}
recipe: {optimizer: adamw, learning_rate: 0.02, epochs: 2, batch_size: 32, ema_decay: 0.8}
netaug: {width: [1, 2], expand: [1, 2], calibration_images: 64}
images: 200
threads: 1
program: false
"""


def config(folder: Path, **changed: Any) -> FitConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.yaml").write_text(FIT)
    return replace(FitConfig.load(folder / "fit.yaml"), **changed)


def fitting(asked: FitConfig) -> Fitting:
    return fitting_of(asked, images_of(asked))


def test_what_is_deployed_is_the_network_inside_the_wider_one(tmp_path: Path) -> None:
    asked = config(tmp_path)
    fitted = fitting(asked)
    trained = fitted.trainer(tmp_path / "training").run()
    assert isinstance(trained, AugmentedModel)
    deployed = fitted.deployed(trained)
    assert type(deployed) is Residual
    shared = dict(trained.at(trained.base).named_parameters())
    for name, parameter in deployed.named_parameters():
        assert torch.equal(parameter, shared[name])
    results = fit(asked, tmp_path / "out")
    network = load_network(tmp_path / "out" / "deployed")
    assert type(network) is Residual
    assert results["params"] == sum(each.numel() for each in network.parameters()) < results["training_params"]
    images = images_of(asked)
    score = images.task.evaluate(network, images.evaluation_loader(images.test).evaluation_batches())
    assert results["deployed"]["accuracy"] == pytest.approx(score.value, abs=1e-6)


def test_a_training_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path) -> None:
    asked = config(tmp_path)
    fitting(asked).trainer(tmp_path / "parts" / "training").run(until=7)  # after channels were sorted
    whole, parts = fit(asked, tmp_path / "whole"), fit(asked, tmp_path / "parts")
    assert whole["deployed"] == parts["deployed"]


def test_loaded_weights_are_those_of_the_network_inside(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = Residual(10)
    shaken(trained)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    asked = config(tmp_path, weights=StartingWeights(str(tmp_path / "weights.pth")))
    asked = replace(asked, recipe=replace(asked.recipe, loaded_rate=0.5))
    fitted = fitting(asked)
    model, images = fitted.way.model, torch.rand(2, 1, 8, 8)
    assert isinstance(model, AugmentedModel)
    assert torch.equal(model.eval().at(model.base)(images), trained.eval()(images))
    learner = fitted.trainer(tmp_path / "training").learner
    assert len(learner.loaded) == len(list(trained.parameters()))


def test_a_pruned_network_and_one_that_autoslim_found_train_on_inside_wider_ones(tmp_path: Path) -> None:
    """Each starts from its own weights, and costs afterwards what it did before."""
    base = code_spec("tests.nasvit.experiment.small_network:residual", 1)
    plan, images = elastic_plan(base, 10, 8), torch.rand(2, 1, 8, 8)
    pruned = ElasticSpec(base, uniform(plan, 0.5, 8), 8, resize=False)
    card = Card(pruned, tuple("0123456789"), 8, (0.3,), (0.4,))
    save_network(pruned.build(10, seed=1), tmp_path / "pruned", card)
    slimmable = SlimmableConfig(norm="universal", random=1, autoslim=(Budget("macs<=60%"),), calibration_images=64)
    slimmed = config(tmp_path, netaug=None, widths=(0.5, 1.0), slimmable=slimmable)
    (row,) = fit(replace(slimmed, recipe=replace(slimmed.recipe, epochs=1)), tmp_path / "slimmed")["widths"]
    for name in (f"{tmp_path}/pruned", f"{tmp_path}/slimmed/deployed:1"):
        asked = config(tmp_path, network=name)
        before, model = create(name).network, fitting(asked).way.model
        assert isinstance(model, AugmentedModel)
        torch.testing.assert_close(model.eval().at(model.base)(images), before(images))
        results = fit(asked, tmp_path / "out" / Path(name).name)
        after = load_network(tmp_path / "out" / Path(name).name / "deployed")
        assert [each.shape for each in after.parameters()] == [each.shape for each in before.parameters()]
        assert results["params"] < results["training_params"]
    assert results["macs"] == row["macs"]
    with pytest.raises(ValueError, match="slimmed/deployed has no width 2; it has 1"):
        fit(config(tmp_path, network=f"{tmp_path}/slimmed/deployed:2"), tmp_path / "none")
    with pytest.raises(ValueError, match="name one of them, .*/slimmed/deployed:WIDTH"):
        fit(config(tmp_path, network=f"{tmp_path}/slimmed/deployed"), tmp_path / "none")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("tests.nasvit.experiment.small_network:no_choice", "netaug: nothing in Sequential can be wider: 1: returned"),
        ("tests.nasvit.experiment.small_network:cut_off", "netaug: the network cannot be wider: the code of "),
    ],
)
def test_what_cannot_be_wider_is_refused_before_a_folder_is_claimed(tmp_path: Path, network: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(config(tmp_path, network=network), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()
