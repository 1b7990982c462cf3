"""An experiment with any network: made elastic, trained from its weights, searched under shares of its cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nasvit.any_network import elasticize
from nasvit.any_network.gathered import GatheredParameter, gather
from nasvit.costs.counting import count
from nasvit.experiment import planning
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.stages.search import _study_name, search
from nasvit.experiment.stages.start import start_supernet
from nasvit.experiment.stages.train import load_supernet, train
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import load_saved
from nasvit.files.records import read_json
from nasvit.specs import ElasticSpec
from nasvit.training.optimizers import build_optimizer
from search_spaces import ElasticSpace, Recipe
from tests.nasvit.experiment.small_network import Joined, Residual
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

NETWORK = "network: tests.nasvit.experiment.small_network:residual"
BUDGETS = "  budgets: [macs<=60%, macs<=25% and params<=50%]"
NO_COMPARISON = "compare: {scratch: false}"


def bench_of(folder: Path, **replaced: str) -> Workbench:
    given = {"space": NETWORK, "budgets": BUDGETS, "compare": NO_COMPARISON} | replaced
    return open_workbench(write_experiment(folder, **given), folder / "out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("finished")
    with without_programs(), few_digits():
        return folder, run(bench_of(folder))


def test_every_budget_gets_a_network_of_the_users_own_class_within_its_share(
    finished: tuple[Path, list[dict[str, Any]]],
) -> None:
    folder, rows = finished
    whole = count(Residual(10), 1, 8, 8)
    assert len(rows) == 2
    for row, share in zip(rows, (0.6, 0.25), strict=True):
        network, card = load_saved(folder / "out" / "subnets" / row["name"] / "finetuned")
        assert type(network) is Residual
        assert isinstance(card.spec, ElasticSpec)
        cost = count(network, 1, 8, 8)
        assert cost.macs == row["macs"] <= share * whole.macs
        assert cost.params == row["params"]
    assert rows[1]["params"] <= 0.5 * whole.params


def test_what_was_saved_computes_what_the_supernet_computes(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = finished
    bench = bench_of(folder)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    subnet = load_supernet(bench).extract(bench.space.architecture(rows[0]["architecture"]), bench.calibration())
    saved, _ = load_saved(folder / "out" / "subnets" / rows[0]["name"] / "extracted")
    assert torch.equal(saved(images), subnet.eval()(images))


def test_run_again_it_only_reads(finished: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, rows = finished
    again = run(bench_of(folder))
    assert json.dumps(again) == json.dumps(rows)


def test_budgets_bound_what_is_trained(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, budgets="  budgets: [macs<=5%]")
    assert isinstance(bench.space, ElasticSpace)
    assert bench.space.size < bench.whole_space.size
    rng = np.random.default_rng(0)
    for _ in range(20):
        bench.whole_space.check(bench.space.sample(rng))
    kept = {part.gene: part.values for part in bench.space.parts}
    rows = bench.whole_candidates.constraint(bench.budgets[0].limits).sample(500, rng)
    for architecture in bench.whole_space.decode(rows):
        assert all(value in kept[f"width.{name}"] for name, value in architecture.width if f"width.{name}" in kept)


def importance(network: nn.Module) -> torch.Tensor:
    """The importance of the hidden channels of the first block, of the two weights that they belong to."""
    block = network.blocks[0]  # type: ignore[index]
    squares = [block.first.weight.square().sum((1, 2, 3)), block.second.weight.square().sum((0, 2, 3))]
    return torch.stack([each / each.mean() for each in squares]).mean(0).detach()


def test_a_supernet_starts_from_weights_sorted_by_importance_that_compute_the_same(tmp_path: Path) -> None:
    trained = Residual(10)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    bench = bench_of(tmp_path, note=f"weights: {tmp_path / 'weights.pth'}", budgets="  budgets: [macs<=100%]")
    model, report = start_supernet(bench)
    assert report is not None
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model.eval().at(bench.space.largest)(images), trained.eval()(images))
    assert not torch.allclose(importance(trained), importance(model.network))
    torch.testing.assert_close(importance(trained).sort(descending=True).values, importance(model.network))


def test_without_any_training_what_keeps_the_most_features_is_chosen_and_fine_tuned(tmp_path: Path) -> None:
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    evaluate = "  images: 100\n  evaluate: features"
    bench = bench_of(tmp_path, note=f"weights: {tmp_path / 'weights.pth'}", images=evaluate)
    with without_programs():
        rows = run(bench)
    choices = read_json(tmp_path / "out" / "search" / "choices.json")
    assert [each["evidence"]["looked_at"] for each in choices] == [7, 7]
    assert all(0 < each["evidence"]["agreement"] < 1 for each in choices)
    assert all(row["scores"]["finetuned"] > 0 for row in rows)
    assert not (tmp_path / "out" / "supernet.pt").exists()
    assert json.dumps(
        run(bench_of(tmp_path, note=f"weights: {tmp_path / 'weights.pth'}", images=evaluate))
    ) == json.dumps(rows)


def test_what_is_as_large_as_a_budget_allows_is_fine_tuned_from_the_networks_weights(tmp_path: Path) -> None:
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    weights = f"weights: {tmp_path / 'weights.pth'}"
    bench = bench_of(tmp_path, note=weights, images="  evaluate: largest")
    with without_programs():
        rows = run(bench)
    whole = count(Residual(10), 1, 8, 8).macs
    assert 0.4 * whole < rows[0]["macs"] <= 0.6 * whole
    assert all({*row["scores"]} == {"supernet", "extracted", "finetuned"} for row in rows)
    network, _ = load_saved(tmp_path / "out" / "subnets" / rows[0]["name"] / "extracted")
    subnet = load_supernet(bench).extract(bench.space.architecture(rows[0]["architecture"]), bench.calibration())
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), subnet.parameters(), strict=True))


@pytest.mark.parametrize("way", ["features", "largest"])
def test_what_was_taken_from_weights_is_compared_with_training_from_scratch_at_equal_time(
    way: str, tmp_path: Path
) -> None:
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    asked = {"note": f"weights: {tmp_path / 'weights.pth'}", "images": f"  evaluate: {way}"}
    with without_programs():
        rows = run(bench_of(tmp_path, compare="compare: {scratch: true}", **asked))
    assert all(row["scores"]["scratch_time"] > 0 for row in rows)
    assert all(row["epochs"]["scratch_time"] >= row["epochs"]["finetuned"] for row in rows)


def test_weights_that_are_not_there_are_found_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning.Timing, "paces", lambda self, way: pytest.fail("something was timed"))
    with pytest.raises(ValueError, match=r"weights: there is no file .*nothing.pth"):
        run(bench_of(tmp_path, note=f"weights: {tmp_path / 'nothing.pth'}\nhours: 0.01"))


def test_hours_are_for_looking_at_features_and_for_fine_tuning_where_a_network_has_weights(tmp_path: Path) -> None:
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    weights = f"weights: {tmp_path / 'weights.pth'}\nhours: 0.006"
    with without_programs(), few_digits():
        bench = bench_of(tmp_path, note=weights)
        rows = run(bench)
    kept = read_json(tmp_path / "out" / "plan.json")["plan"]
    assert (kept["way"], kept["train_epochs"], kept["replanned"]) == ("features", 0, True)
    choices = read_json(tmp_path / "out" / "search" / "choices.json")
    assert [each["evidence"]["looked_at"] for each in choices] == [kept["evaluations"] // 2] * 2
    assert bench.experiment.finetune.recipe.epochs == kept["final_epochs"] > 1
    assert all(row["scores"]["finetuned"] > 0 for row in rows)
    assert not (tmp_path / "out" / "supernet.pt").exists()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb", "rmsprop_tf"])
def test_what_a_subnet_gathers_is_what_the_optimizer_left(optimizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    elastic = elasticize(Joined(10), torch.zeros(1, 8, 8))
    steps = build_optimizer(elastic.named_parameters(), Recipe(optimizer, 0.01, 1, 8))
    subnet = elastic.at(elastic.space.smallest)
    images = torch.rand(4, 1, 8, 8)
    assert any(isinstance(each, GatheredParameter) for each in subnet.parameters())
    for _ in range(3):
        elastic.zero_grad()
        subnet(images).square().sum().backward()
        steps.step()
        subnet(images)
        for each in subnet.parameters():
            if isinstance(each, GatheredParameter):
                assert torch.equal(each, gather(each.source, each.index))


def test_loaded_weights_are_frozen_and_the_new_classifier_learns(tmp_path: Path) -> None:
    torch.save(Residual(7).state_dict(), tmp_path / "weights.pth")
    recipe = "  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 1, batch_size: 64, frozen_epochs: 1}"
    bench = bench_of(tmp_path, note=f"weights: {tmp_path / 'weights.pth'}", recipe=recipe)
    model, _ = start_supernet(bench)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    moved = {name for name, tensor in train(bench).named_parameters() if not torch.equal(tensor.detach(), before[name])}
    assert moved == {"network.head.weight", "network.head.bias"}


def test_weights_that_were_replaced_are_noticed(tmp_path: Path) -> None:
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    asked = {"note": f"weights: {tmp_path / 'weights.pth'}", "images": "  evaluate: features"}
    search(bench_of(tmp_path, **asked))
    torch.save(Residual(10).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="is not what the results in .* started from: its content changed since"):
        search(bench_of(tmp_path, **asked, budgets="  budgets: [macs<=50%]"))


def test_evaluations_of_one_network_are_none_of_another(tmp_path: Path) -> None:
    names = set()
    for number, weights in enumerate(["", "\nweights: one.pth", "\nweights: other.pth"]):
        names.add(_study_name(bench_of(tmp_path / str(number), space=NETWORK + weights)))
    names.add(_study_name(bench_of(tmp_path / "tied", space=NETWORK + "\nelastic: {divisor: 4}")))
    assert len(names) == 4


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"space": NETWORK.replace("residual", "pairs")}, "returns tuple for 2 images of 10 classes; it must return"),
        ({"space": NETWORK + "\nelastic: {fixed: [stam]}"}, "elastic.fixed: no part's name begins with 'stam'"),
        ({"space": NETWORK, "budgets": "  budgets: [macs<=150%]"}, "is more than the whole network"),
        ({"images": "  evaluate: features"}, "features are those of a network with weights; give weights too"),
        ({"space": NETWORK + "\nspace: micro8"}, "network: is made elastic, and there is a space too"),
        ({"space": "elastic: {depth: false}"}, "the key 'space' is missing"),
        ({"space": "space: micro8\nelastic: {depth: false}"}, "elastic: says what is decided in a network"),
        ({"space": "network: no.such.module:residual"}, "the module no.such.module cannot be imported"),
        ({"space": NETWORK + "x"}, "has no function residualx"),
        ({"space": NETWORK + "\nelastic: {width: [1.5]}"}, "1.5 is illegal; legal: numbers above 0 to 1"),
        ({"space": NETWORK + "\nelastic: {width: [1.0], depth: false}"}, "leaves nothing to decide"),
        ({"space": NETWORK, "budgets": "  budgets: [macs<=1%]"}, "no candidate meets"),
        ({"space": NETWORK, "budgets": "  budgets: [latency<=50%]"}, "needs latency, but only macs, params, memory"),
    ],
)
def test_mistakes_are_said_in_words_before_anything_is_trained(
    tmp_path: Path, replaced: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        run(bench_of(tmp_path, **replaced))
    assert not (tmp_path / "out" / "train").exists()
