"""``weights``: a training of one network, or of a supernet, starts from weights of other images and classes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import nasvit
import search_spaces
from nasvit.branches import Branches
from nasvit.experiment.config import Experiment
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.plan import way_of, with_epochs
from nasvit.experiment.stages.start import start_supernet
from nasvit.experiment.stages.train import train
from nasvit.experiment.starting import start_from
from nasvit.experiment.training import FitConfig, NetAugConfig, StartingWeights
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import Card
from nasvit.export.saved import load_saved, save_network
from nasvit.export.switchable import deploy, spec_of_widths
from nasvit.files.records import read_json
from nasvit.importing import attentive, sources
from nasvit.registry import create
from nasvit.specs import GhostNetSpec, SubnetSpec, TimmSpec
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet
from search_spaces.recipe import Recipe
from search_spaces.recipe_space import RecipeSpace
from tests.nasvit.experiment.test_fit import TINY, WAYS, config, fitting
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment
from tests.nasvit.filled import filled
from tests.nasvit.supernets.tiny import FAMILY

MICRO = search_spaces.load("micro8")
FEW = ("apple", "pear", "plum")
ONE_EPOCH: dict[str, Any] = {"epochs": 1, "warmup_epochs": 0}


def asked(folder: Path, **changed: Any) -> FitConfig:
    found = replace(config(folder), images=128, **changed)
    return replace(found, recipe=replace(found.recipe, **ONE_EPOCH))


def tiny(folder: Path, classes: int = 3) -> nn.Module:
    (folder / "tiny.yaml").write_text(TINY)
    return filled(create(str(folder / "tiny.yaml"), classes).network).eval()


def saved(folder: Path, classes: tuple[str, ...] = FEW, name: str = "micro8:smallest") -> tuple[str, dict[str, Tensor]]:
    """The folder of a network with random weights of some classes, and its tensors."""
    network, card = create(name, len(classes))
    save_network(filled(network).eval(), folder, replace(card, classes=classes))
    return str(folder), network.state_dict()


def body(network: nn.Module, given: dict[str, Tensor]) -> bool:
    """Whether a network has all tensors that were given but those of the classifier."""
    own = network.state_dict()
    assert own.keys() == given.keys()
    return all(torch.equal(own[name], each) for name, each in given.items() if "classifier" not in name)


def test_a_saved_network_of_other_classes_is_a_start_and_results_card_and_screen_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, given = saved(tmp_path / "first")
    wanted = asked(tmp_path, network="micro8:smallest", weights=StartingWeights(folder))
    assert body(fitting(wanted).way.model, given)
    results = fit(wanted, tmp_path / "out")
    printed = capsys.readouterr().out
    assert printed.count(f"starts from {folder}: ") == 1
    assert "made anew (other classes, such as 0): head.classifier.weight, head.classifier.bias" in printed
    told = results["started_from"]
    assert (told["source"], len(told["sha256"])) == (folder, 64)
    assert set(told["made_anew"]) == {"head.classifier.weight", "head.classifier.bias"}
    assert load_saved(tmp_path / "out" / "deployed").card.origin["started_from"] == told
    assert fit(wanted, tmp_path / "out") == results
    assert "starts from" not in capsys.readouterr().out
    (tmp_path / "out" / "results.json").unlink()  # as if it had been killed, and the weights were replaced since
    saved(tmp_path / "first", (*FEW, "one more"))
    with pytest.raises(ValueError, match="weights: .*first is not what the results in .* started from: its content"):
        fit(wanted, tmp_path / "out")


def test_a_network_that_is_named_by_its_weights_is_trained_on_other_classes(tmp_path: Path) -> None:
    folder, given = saved(tmp_path / "first")
    fitted = fitting(asked(tmp_path, network=folder))
    assert body(fitted.way.model, given)
    assert fitted.start.report is not None and "head.classifier.weight" in fitted.start.report.anew


def test_a_training_without_weights_reports_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = fit(asked(tmp_path), tmp_path / "out")
    assert "started_from" not in results and "starts from" not in capsys.readouterr().out
    assert "started_from" not in load_saved(tmp_path / "out" / "deployed").card.origin


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_the_file_of_a_state_dict_is_a_start(tmp_path: Path, ending: str) -> None:
    given = tiny(tmp_path).state_dict()
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in given.items()}}, path)
    else:
        save_file(given, path)
    assert body(fitting(asked(tmp_path, weights=StartingWeights(str(path)))).way.model, given)


def test_what_does_not_fit_is_refused_unless_the_file_asks_for_it(tmp_path: Path) -> None:
    given = tiny(tmp_path).state_dict()
    del given["stem.conv.weight"]
    torch.save(given, tmp_path / "weights.pth")
    text = f"weights: {{source: {tmp_path / 'weights.pth'}, partial: true}}\n"
    with pytest.raises(ValueError, match="weights: the weights do not fit .*\n  1 missing: stem.conv.weight"):
        fitting(replace(config(tmp_path, text), weights=StartingWeights(str(tmp_path / "weights.pth"))))
    report = fitting(config(tmp_path, text)).start.report
    assert report is not None and report.anew["stem.conv.weight"] == "the source has none"
    assert config(tmp_path, text).to_json()["weights"] == {"source": str(tmp_path / "weights.pth"), "partial": True}
    assert config(tmp_path, "weights: some/file.pth\n").to_json()["weights"] == "some/file.pth"


@pytest.mark.parametrize("which", ["", ":smallest"])
def test_a_subnet_of_a_released_supernet_is_a_start_on_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    path, other = released(tmp_path, monkeypatch)
    fitted = fitting(asked(tmp_path, network="micro8:smallest", weights=StartingWeights(f"{path}{which}")))
    assert body(fitted.way.model, other.extract(MICRO.smallest).state_dict())


def test_a_subnet_of_a_released_supernet_is_trained_on_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = released(tmp_path, monkeypatch)
    fitted = fitting(asked(tmp_path, network=f"{path}:largest"))
    assert body(fitted.way.model, other.extract(MICRO.largest).state_dict())
    assert isinstance(fitted.start.spec, SubnetSpec)


def released(folder: Path, monkeypatch: pytest.MonkeyPatch, classes: int = 37) -> tuple[Path, Supernet]:
    """A file as ``nasvit import`` writes it, of a release that is made up, and its supernet."""
    monkeypatch.setitem(sources.SOURCES, "made_up", attentive.release("made_up", "micro8", "a made up supernet"))
    supernet = filled(Supernet(MICRO, classes, stored_statistics=True))
    path = folder / "released.safetensors"
    about = {"nasvit": json.dumps({"source": "made_up", "classes": classes})}
    save_file({name: tensor.clone() for name, tensor in supernet.state_dict().items()}, path, about)
    return path, supernet


def pretrained(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Let timm's hub have weights of any network; those that it gave."""
    build, given = timm.create_model, list[nn.Module]()

    def create_model(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        network: nn.Module = build(name, **settings)
        if pretrained:
            given.append(filled(network))
        return network

    monkeypatch.setattr(timm, "create_model", create_model)
    return given


@pytest.mark.parametrize("weights", ["pretrained", "timm:test_resnet"])
def test_weights_of_timms_hub_are_a_start_for_gray_images_of_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    given = pretrained(monkeypatch)
    start = fitting(asked(tmp_path, network="timm:test_resnet", weights=StartingWeights(weights))).start
    assert start.network is not None and start.report is not None
    (hub,) = given
    own, theirs = start.network.state_dict(), hub.state_dict()
    torch.testing.assert_close(own["conv1.0.weight"], theirs["conv1.0.weight"].sum(1, keepdim=True))
    assert torch.equal(own["layer1.0.conv1.weight"], theirs["layer1.0.conv1.weight"])
    assert set(start.report.anew) == {"fc.weight", "fc.bias"} and set(start.report.reshaped) == {"conv1.0.weight"}


def test_a_transformer_is_built_for_the_images_and_its_positions_are_resized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = pretrained(monkeypatch)
    sized = replace(asked(tmp_path).data, image_size=32)
    wanted = asked(tmp_path, network="timm:vit_tiny_patch16_224", weights=StartingWeights("pretrained"), data=sized)
    results = fit(wanted, tmp_path / "out")
    assert results["started_from"]["reshaped"]["pos_embed"] == "positions resized"
    network, card = load_saved(tmp_path / "out" / "deployed")
    assert isinstance(card.spec, TimmSpec) and card.spec.built_for == 32
    assert network.state_dict()["pos_embed"].shape[1] == 5
    assert given[0].state_dict()["pos_embed"].shape[1] == 197
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_a_hub_that_cannot_be_reached_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, pretrained: bool = False, **__: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route to host\nand so on")
        return build("test_resnet", num_classes=10, in_chans=1)

    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", unreachable)
    words = r"weights: the weights of timm:test_resnet cannot be fetched \(OSError: no route to host\); where there is"
    with pytest.raises(ValueError, match=words):
        fitting(asked(tmp_path, network="timm:test_resnet", weights=StartingWeights("pretrained")))


def test_a_network_of_several_widths_is_no_start_and_says_so(tmp_path: Path) -> None:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 3, image_channels=1)
    network.reset_statistics()
    model = deploy(network)
    save_network(model, tmp_path / "widths", Card(spec_of_widths(model.shared, model.widths), FEW))
    with pytest.raises(
        ValueError, match=r"weights: .*widths runs at several widths \(0.5, 1\); name one, as in .*widths:1"
    ):
        fitting(asked(tmp_path, weights=StartingWeights(str(tmp_path / "widths"))))


def test_a_whole_experiment_is_no_start_of_one_network_and_its_networks_are(tmp_path: Path) -> None:
    trained_supernet(tmp_path)
    with pytest.raises(ValueError, match="is the folder of an experiment; a network starts from one of its networks"):
        fitting(asked(tmp_path, weights=StartingWeights(str(tmp_path))))


def test_a_network_whose_branches_were_fused_is_a_start_on_other_classes(tmp_path: Path) -> None:
    fit(asked(tmp_path, branches=Branches(2)), tmp_path / "first")
    folder = tmp_path / "first" / "deployed"
    network, card = load_saved(folder)
    save_network(network, folder, replace(card, classes=tuple("abcdefghij")))
    start = fitting(asked(tmp_path, weights=StartingWeights(str(folder)))).start
    assert start.fused and start.network is not None and body(start.network, network.state_dict())


def test_branches_of_a_source_are_fused_for_a_network_without_any(tmp_path: Path) -> None:
    spec = GhostNetSpec(0.1, 1, small_images=True)
    branched = spec.branched(2, scale=True, identity=True)
    network = filled(branched.build(10)).eval()
    save_network(network, tmp_path / "branched", Card(branched, tuple("0123456789")))
    start = start_from(StartingWeights(str(tmp_path / "branched")), spec, tuple("0123456789"))
    assert start.fused and start.network is not None
    pixels = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(start.network.eval()(pixels), network(pixels), rtol=1e-3, atol=1e-3)


def test_any_network_of_ones_own_is_loaded_by_the_name_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(filled(timm.create_model("test_resnet", num_classes=3)).state_dict(), tmp_path / "weights.pth")
    network = timm.create_model("test_resnet", num_classes=10)
    report = nasvit.load_weights(network, str(tmp_path / "weights.pth"), tuple("0123456789"))
    assert set(report.anew) == {"fc.weight", "fc.bias"}
    (hub, given) = pretrained(monkeypatch), network.state_dict()["conv1.0.weight"].clone()
    nasvit.load_weights(network, "pretrained", tuple("0123456789"), "timm:test_resnet")
    assert torch.equal(network.state_dict()["conv1.0.weight"], hub[0].state_dict()["conv1.0.weight"])
    assert not torch.equal(network.state_dict()["conv1.0.weight"], given)


@pytest.mark.parametrize("way", ["", "branches: {count: 2}\n"])
def test_frozen_epochs_leave_what_was_loaded_as_it_is(tmp_path: Path, way: str) -> None:
    folder, _ = saved(tmp_path / "first", name=str(tiny_file(tmp_path)))
    wanted = replace(config(tmp_path, way), weights=StartingWeights(folder), images=128)
    wanted = replace(wanted, recipe=replace(wanted.recipe, frozen_epochs=1, loaded_rate=0.5))
    trainer = fitting(wanted).trainer(tmp_path / "training")
    before = {name: each.detach().clone() for name, each in trainer.learner.model.named_parameters()}
    trainer.run(until=trainer.steps_per_epoch)
    moved = {n for n, each in trainer.learner.model.named_parameters() if not torch.equal(each, before[n])}
    assert moved == {"head.classifier.weight", "head.classifier.bias"}


@pytest.mark.parametrize("way", WAYS)
def test_the_classifier_alone_has_the_whole_learning_rate_in_every_way_of_training(tmp_path: Path, way: str) -> None:
    folder, _ = saved(tmp_path / "first", name=str(tiny_file(tmp_path)))
    wanted = replace(config(tmp_path, WAYS[way]), weights=StartingWeights(folder), images=128)
    wanted = replace(wanted, recipe=replace(wanted.recipe, loaded_rate=0.5))
    trainer = fitting(wanted).trainer(tmp_path / "training")
    factor = {
        id(each): group.get("factor", 1.0) for group in trainer.optimizer.param_groups for each in group["params"]
    }
    found = {name: factor[id(each)] for name, each in trainer.learner.model.named_parameters()}
    assert found == {name: 1.0 if "classifier" in name else 0.5 for name in found} and len(set(found.values())) == 2


def tiny_file(folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(TINY)
    return folder / "tiny.yaml"


def bench_of(folder: Path, weights: Path | str | None, name: str = "out", **settings: Any) -> Workbench:
    path = write_experiment(folder, **settings)
    if weights is not None:
        path.write_text(path.read_text() + f"weights: {weights}\n")
    return open_workbench(path, folder / name)


def trained_supernet(folder: Path, classes: int = 3) -> tuple[Path, Supernet]:
    other = filled(Supernet(MICRO, classes, seed=4))
    torch.save(other.state_dict(), folder / "supernet.pt")
    return folder / "supernet.pt", other


def same_subnets(bench: Workbench, supernet: Supernet, other: Supernet) -> bool:
    """Whether the largest subnet has the same weights in both but for those of the classifier."""
    theirs = dict(other.at(bench.space.largest).named_parameters())
    own = supernet.at(bench.space.largest).named_parameters()
    return all(torch.equal(each, theirs[name]) for name, each in own if "classifier" not in name)


def test_a_supernet_within_budgets_starts_from_the_file_of_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = trained_supernet(tmp_path)
    bench = bench_of(tmp_path, path, budgets="  budgets: [macs<=150K]")
    supernet = train(bench, until=0)
    assert bench.space.size < MICRO.size and same_subnets(bench, supernet, other)
    printed = capsys.readouterr().out
    assert printed.count(f"starts from {path}") == 1 and "made anew (10 classes instead of 3)" in printed
    told = read_json(bench.folder / "started_from.json")
    assert told["source"] == str(path) and bench.started_from == {"started_from": told}
    train(bench, until=1)
    assert "starts from" not in capsys.readouterr().out


def test_a_supernet_starts_from_a_released_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = released(tmp_path, monkeypatch)
    bench = bench_of(tmp_path, path)
    supernet, report = start_supernet(bench)
    assert same_subnets(bench, supernet, other)
    assert report is not None and set(report.anew) == {"head.classifier.weight", "head.classifier.bias"}


def test_a_whole_experiment_starts_from_an_earlier_one_and_says_so_everywhere(tmp_path: Path) -> None:
    line = "  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 1, batch_size: 64, EXTRA}"
    few = {"evaluations": "  evaluations: 8", "compare": "", "budgets": "  budgets: [macs<=300K]"}
    with without_programs(), few_digits():
        first = bench_of(tmp_path / "first", None, recipe=line.replace("EXTRA", "clip_norm: 1.0"), **few)
        run(first)
        recipe = line.replace("EXTRA", "frozen_epochs: 0, loaded_rate: 0.1")
        second = bench_of(tmp_path / "second", first.folder, recipe=recipe, **few)
        supernet, report = start_supernet(second)
        kept = torch.load(first.folder / "supernet.pt", weights_only=True)
        assert all(torch.equal(each, kept[name]) for name, each in supernet.state_dict().items())
        assert report is not None and not report.anew
        rows = run(second)
    results = read_json(second.folder / "results.json")
    assert results["started_from"]["source"] == str(first.folder)
    card = load_saved(second.folder / "subnets" / rows[0]["name"] / "finetuned").card
    assert card.origin["started_from"] == results["started_from"]
    assert "started_from" not in json.loads((first.folder / "results.json").read_text())


@pytest.mark.parametrize("old", [False, True])
def test_the_classes_of_an_earlier_experiment_are_known(tmp_path: Path, old: bool) -> None:
    first = bench_of(tmp_path / "first", None)
    train(first)
    names = first.folder / "classes.json"
    assert read_json(names) == list("0123456789")
    if old:
        names.unlink()  # as earlier versions left it
    else:
        names.write_text(json.dumps(list("abcdefghij")))
    saved(first.folder / "subnets" / "one" / "extracted", tuple("abcdefghij"))
    _, report = start_supernet(bench_of(tmp_path / "second", first.folder))
    assert report is not None and report.anew["head.classifier.weight"] == "other classes, such as 0"


@pytest.mark.parametrize("kind", ["network", "released network", "checkpoint", "nothing"])
def test_what_is_no_supernet_is_refused_with_what_is_legal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, words = str(tmp_path / "nowhere"), "holds no supernet; a supernet starts from the folder of an experiment"
    if kind == "network":
        path, words = saved(tmp_path / "saved")[0], "holds one network alone; a supernet starts from"
    elif kind == "released network":
        path, words = str(released(tmp_path, monkeypatch)[0]), "holds one network alone; a supernet starts from"
        monkeypatch.setattr("nasvit.experiment.stages.start.load_imported", lambda path: nn.Identity())
    elif kind == "checkpoint":
        path, words = str(tmp_path / "some.pth"), "some.pth holds no supernet of nasvit: .* by nasvit import"
        torch.save({"first_conv.weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=f"weights: .*{words}"):
        start_supernet(bench_of(tmp_path, path))


def test_another_start_is_another_experiment(tmp_path: Path) -> None:
    path, _ = trained_supernet(tmp_path)
    train(bench_of(tmp_path, path), until=1)
    with pytest.raises(ValueError, match="holds results of an experiment with another weights"):
        bench_of(tmp_path, None)


def experiment(**changed: Any) -> Experiment:
    return replace(Experiment.load(Path("experiments/quickstart.yaml")), **changed)


REFUSED: dict[str, tuple[Any, str]] = {
    "no supernet": (
        lambda: experiment(weights=StartingWeights("x"), search=replace(experiment().search, evaluate="scratch")),
        "weights: start a supernet, and search.evaluate: scratch trains none",
    ),
    "partial": (
        lambda: experiment(weights=StartingWeights("x", partial=True)),
        "weights.partial: a supernet starts from one that holds all of its subnets",
    ),
    "nothing loaded": (
        lambda: experiment(train=replace(experiment().train, recipe=recipe(experiment().train.recipe))),
        "train.recipe.loaded_rate: says how loaded weights of a supernet train, and none with such is trained",
    ),
    "fine-tuning": (
        lambda: experiment(finetune=experiment().finetune.by(recipe(experiment().finetune.recipe))),
        "finetune.loaded_rate: says how loaded weights train beside others",
    ),
    "no source": (lambda: StartingWeights(""), "source: names nothing; legal: a folder"),
    "frozen for longer than it lasts": (
        lambda: replace(experiment().train.recipe, frozen_epochs=10_000),
        "frozen_epochs: 10000 is more than epochs",
    ),
    "searched": (
        lambda: RecipeSpace(
            "x",
            "a test",
            {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2, "batch_size": 8} | {"loaded_rate": (0.1, 1.0)},
        ),
        "fields.loaded_rate: says how loaded weights train; candidates of a search",
    ),
}


def recipe(of: Recipe) -> Recipe:
    return replace(of, loaded_rate=0.1)


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_an_illegal_start_is_refused_in_words(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_wider_networks_cannot_freeze_what_they_share(tmp_path: Path) -> None:
    frozen = replace(config(tmp_path).recipe, frozen_epochs=1)
    with pytest.raises(ValueError, match="recipe.frozen_epochs: wider networks"):
        replace(config(tmp_path), recipe=frozen, netaug=NetAugConfig())


def test_a_recipe_of_loaded_weights_needs_some(tmp_path: Path) -> None:
    slow = replace(asked(tmp_path).recipe, loaded_rate=0.1)
    with pytest.raises(ValueError, match="this network starts from random ones; leave them out, or give weights"):
        fit(replace(asked(tmp_path), recipe=slow), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_hours_are_divided_for_a_supernet_where_there_are_weights_for_it() -> None:
    for weights, wanted in ((None, "prior"), (StartingWeights("somewhere"), "supernet")):
        way, _ = way_of(replace(experiment(), weights=weights, hours=1.0), has_prior=True)
        assert way == wanted


def test_a_planned_recipe_is_frozen_for_the_same_share_of_its_epochs() -> None:
    asked_for = replace(experiment().train.recipe, epochs=10, warmup_epochs=1, frozen_epochs=2)
    assert [with_epochs(asked_for, epochs).frozen_epochs for epochs in (50, 10, 4)] == [10, 2, 0]
