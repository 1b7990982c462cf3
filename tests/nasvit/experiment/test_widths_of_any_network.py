"""``nasvit fit`` with several widths of a network that is none of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nasvit.experiment.fit import fit, images_of, widths_fitting_of
from nasvit.experiment.training import FitConfig, SlimmableConfig, StartingWeights
from nasvit.export.saved import load_network, load_saved
from nasvit.export.switchable import SwitchableModel
from nasvit.specs import SlimmableSpec
from predictors.limits import Budget
from tests.nasvit.any_network.oracle import shaken
from tests.nasvit.experiment.small_network import Residual
from tests.nasvit.experiment.test_elastic_network import importance
from tests.nasvit.started import run

FIT = """\
network: tests.nasvit.experiment.small_network:residual
data: {source: digits, padding: 1}
recipe: {optimizer: adamw, learning_rate: 0.02, epochs: 1, batch_size: 32}
widths: [0.5, 1.0]
images: 200
threads: 1
program: false
"""
UNIVERSAL = SlimmableConfig(norm="universal", random=1, calibration_images=64)


def config(folder: Path, **changed: Any) -> FitConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.yaml").write_text(FIT)
    return replace(FitConfig.load(folder / "fit.yaml"), **changed)


@pytest.mark.parametrize("slimmable", [SlimmableConfig(), UNIVERSAL], ids=lambda each: each.norm)
def test_a_network_is_trained_at_several_widths_and_deployed_as_one(tmp_path: Path, slimmable: SlimmableConfig) -> None:
    asked = config(tmp_path, slimmable=slimmable)
    results = fit(asked, tmp_path / "out")
    assert [row["width"] for row in results["widths"]] == [0.5, 1.0]
    assert results["widths"][0]["macs"] < results["widths"][1]["macs"]
    model, card = load_saved(tmp_path / "out" / "deployed")
    assert isinstance(model, SwitchableModel) and isinstance(card.spec, SlimmableSpec)
    images = images_of(asked)
    for row in results["widths"]:
        network = model.export(row["width"])
        assert type(network) is Residual
        assert row["params"] == sum(parameter.numel() for parameter in network.parameters())
        score = images.task.evaluate(network, images.evaluation_loader(images.test).evaluation_batches())
        assert row["score"] == pytest.approx(score.value, abs=1e-4)
    assert fit(asked, tmp_path / "out") == results


def test_a_training_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path) -> None:
    asked = config(tmp_path)
    widths_fitting_of(asked, images_of(asked)).trainer(tmp_path / "parts" / "training").run(until=4)
    whole, parts = fit(asked, tmp_path / "whole"), fit(asked, tmp_path / "parts")
    assert whole["widths"] == parts["widths"]


def test_autoslim_chooses_channels_under_its_budgets_and_trains_them(tmp_path: Path) -> None:
    budgets = (Budget("macs<=60%"), Budget("macs<=150K"))
    results = fit(config(tmp_path, slimmable=replace(UNIVERSAL, autoslim=budgets)), tmp_path / "out")
    whole = fit(config(tmp_path, widths=(1.0,)), tmp_path / "whole")["widths"][0]
    costs = [row["macs"] for row in results["widths"]]
    assert costs[0] < 0.6 * whole["macs"] and costs[1] < 150_000
    assert {*results["widths"][0]["width"]["width"]} == {"stem", *(f"blocks.{number}.first" for number in range(3))}
    model = load_network(tmp_path / "out" / "deployed")
    assert model(torch.rand(2, 1, 8, 8), width=model.widths[1]).shape == (2, 10)


def weights(folder: Path) -> tuple[Residual, str]:
    torch.manual_seed(0)
    trained = Residual(10)
    shaken(trained)
    torch.save(trained.state_dict(), folder / "weights.pth")
    return trained.eval(), str(folder / "weights.pth")


def test_widths_start_from_weights_whose_best_channels_come_first(tmp_path: Path) -> None:
    trained, path = weights(tmp_path)
    asked = config(tmp_path, weights=path)
    fitting = widths_fitting_of(asked, images_of(asked))
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(fitting.network.eval().at(1.0)(images), trained(images), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(importance(trained), importance(fitting.network.network))
    torch.testing.assert_close(importance(trained).sort(descending=True).values, importance(fitting.network.network))
    results = fit(asked, tmp_path / "out")
    assert results["started_from"]["source"].endswith("weights.pth")


def test_loaded_weights_train_slower_where_the_recipe_says_so(tmp_path: Path) -> None:
    trained, path = weights(tmp_path)
    asked = config(tmp_path, weights=path)
    asked = replace(asked, recipe=replace(asked.recipe, frozen_epochs=1))
    with pytest.raises(ValueError, match="everything was loaded and nothing made anew"):
        fit(asked, tmp_path / "out")
    head = {name: each for name, each in trained.state_dict().items() if not name.startswith("head.")}
    torch.save(head, path)
    asked = replace(asked, weights=StartingWeights(path, partial=True))
    fitting = widths_fitting_of(asked, images_of(asked))
    before = {name: each.clone() for name, each in fitting.network.state_dict().items()}
    fitting.trainer(tmp_path / "training").run()
    after = fitting.network.state_dict()
    assert torch.equal(after["network.stem.weight"], before["network.stem.weight"])
    assert torch.equal(after["norms.blocks/0/norm.switches.0.weight"], before["norms.blocks/0/norm.switches.0.weight"])
    assert not torch.equal(after["network.head.weight"], before["network.head.weight"])


def test_a_saved_network_is_a_start_too(tmp_path: Path) -> None:
    fit(config(tmp_path, widths=()), tmp_path / "first")
    folder = tmp_path / "first" / "deployed"
    fitting = widths_fitting_of(config(tmp_path, network=str(folder)), images_of(config(tmp_path)))
    images = torch.rand(4, 1, 8, 8)
    expected = load_network(folder)(images)
    torch.testing.assert_close(fitting.network.eval().at(1.0)(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"widths": (0.5, 1.5)}, r"widths: \[0.5, 1.5\]; legal of .*: shares above 0 and up to 1"),
        ({"slimmable": SlimmableConfig(norm="shared")}, "slimmable.norm: shared is a baseline of families"),
        (
            {"network": "micro8:smallest"},
            "network: micro8:smallest has no widths; legal with widths are families, .*timm",
        ),
        ({"network": "tests.nasvit.experiment.small_network:no_choice"}, "network: nothing in .* can be narrower"),
    ],
)
def test_what_has_no_such_widths_is_refused_before_a_folder_is_claimed(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit(config(tmp_path, **changed), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


MORE = {  # AutoSlim ends with a training of switchable widths
    "autoslim": "slimmable: {norm: universal, random: 1, autoslim: ['macs<=60%'], calibration_images: 64}\n",
    "netaug": "netaug: {width: [1, 2], expand: [1, 2], calibration_images: 64}\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", MORE)
def test_two_processes_train_what_one_trains(tmp_path: Path, way: str) -> None:
    text = (FIT.replace("widths: [0.5, 1.0]\n", "") if way == "netaug" else FIT) + MORE[way]
    text = text.replace("adamw, learning_rate: 0.02", "sgd, learning_rate: 0.02").replace("images: 200", "images: 320")
    (tmp_path / "fit.yaml").write_text(text)
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        done = run("nasvit", "fit", str(tmp_path / "fit.yaml"), "--output", str(folder), processes=count)
        assert done.status == 0, done.said
        found.append(load_file(folder / "deployed" / "network.safetensors"))
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
