"""Other ways to draw random weights, and where they are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasvit.compute import ALONE
from nasvit.data.config import DataConfig
from nasvit.experiment.config import Experiment
from nasvit.experiment.fit import fitting_of
from nasvit.experiment.made_up import Counted, MadeUpImages
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.training import FitConfig
from nasvit.training.initialization import draw_weights
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import write_experiment

BOUND = (64 * 9) ** -0.5  # one over the root of the fan-in
WAYS: dict[str, tuple[float, Callable[[Tensor], bool]]] = {
    "fan_out_normal": ((2 / (256 * 9)) ** 0.5, lambda weight: bool(weight.abs().max() > 0.1)),
    "fan_in_uniform": (BOUND / 3**0.5, lambda weight: bool(weight.abs().max() <= BOUND)),
    "truncated_normal": (0.0192, lambda weight: bool(weight.abs().max() <= 0.04)),
}


@pytest.mark.parametrize("how", WAYS)
def test_weights_are_drawn_as_it_is_said_and_nothing_else_is(how: str) -> None:
    network = nn.Sequential(nn.Conv2d(64, 256, 3), nn.BatchNorm2d(256), nn.Conv2d(256, 256, 3, groups=256))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    draw_weights(network, how, seed=1)
    deviation, is_within = WAYS[how]
    weight = network[0].weight.detach()
    assert float(weight.std()) == pytest.approx(deviation, rel=0.03) and is_within(weight)
    if how == "fan_out_normal":  # a depthwise filter has one output
        assert float(network[2].weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.1)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"0.weight", "2.weight"}
    draw_weights(network, "default", seed=2)
    assert torch.equal(network[0].weight, weight)


def test_a_training_from_random_weights_starts_from_those_of_its_recipe() -> None:
    data = DataConfig("none", image_size=32)
    images = MadeUpImages(Counted("", 100, 10, 10, ("a", "b"), 3, (32, 32)), data, seed=0, compute=ALONE, head=None)
    recipe = Recipe("sgd", 0.1, epochs=1, batch_size=10, initialization="truncated_normal")
    fitting = fitting_of(FitConfig(network="mobilenet_v2-0.35", data=data, recipe=recipe), images)
    weights = [module.weight for module in fitting.way.model.modules() if isinstance(module, nn.Conv2d)]
    assert len(weights) > 50 and all(bool(weight.abs().max() <= 0.04) for weight in weights)


def test_it_is_refused_where_weights_are_inherited_or_not_plain(tmp_path: Path) -> None:
    legal = "fan_out_normal"
    path = write_experiment(tmp_path)
    for field in ("finetune.initialization", "train.recipe.initialization"):
        with pytest.raises(ValueError, match="supernet"):
            Experiment.load(path, ((field, legal),))
    assert Experiment.load(path, (("finetune.initialization", legal), ("search.evaluate", "largest"))).search
    (tmp_path / "recipes.yaml").write_text(
        "name: a test\nsource: this test\nfields: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64, "
        "initialization: [default, fan_out_normal]}\n",
        encoding="utf-8",
    )
    searched = ("search.recipes", str(tmp_path / "recipes.yaml"))
    scratch = open_workbench(path, tmp_path / "out", (searched, ("search.evaluate", "scratch")))
    assert "recipe.initialization" in {gene.name for gene in scratch.candidates.genome.genes}
    with pytest.raises(ValueError, match="candidates inherit theirs"):
        assert open_workbench(path, tmp_path / "out", (searched, ("search.evaluate", "finetune"))).whole_candidates
    wider = (("finetune.netaug.weight", "1"), ("search.evaluate", "scratch"))
    with pytest.raises(ValueError, match="netaug"):
        assert open_workbench(path, tmp_path / "out", (searched, *wider)).whole_candidates
    base = {"network": "mobilenet_v2", "data": DataConfig("digits")}
    recipe = Recipe("sgd", 0.1, epochs=1, batch_size=10, initialization=legal)
    with pytest.raises(ValueError, match="several widths"):
        FitConfig(**base, recipe=recipe, widths=(0.5, 1.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights are not random"):
        FitConfig(**base, recipe=recipe, weights="some.pth")  # type: ignore[arg-type]
