"""Experiments composed from images and budgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasvit.experiment.compose import FROM_SCRATCH, FROM_WEIGHTS, RECIPE, Seen, compose, composed_file, look_at
from nasvit.experiment.config import Experiment
from nasvit.experiment.plan import from_scratch
from nasvit.experiment.training import StartingWeights
from predictors.limits import Budget


def photos(folder: Path, sides: list[tuple[int, int]], mode: str = "RGB") -> str:
    """Write photos of the given sizes, of two classes in turn, for training and for testing."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for number, (width, height) in enumerate(sides):
            place = folder / part / ("cats", "dogs")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(place / f"{number}.png")
    return str(folder)


def test_images_are_looked_at_before_anything_is_decided(tmp_path: Path) -> None:
    assert look_at("digits") == Seen(images=1438, channels=1, side=8, equal=True)
    assert look_at(photos(tmp_path, [(300, 200), (250, 400), (210, 500)])) == Seen(3, 3, 210, equal=False)


def test_the_space_is_the_one_for_the_images_and_the_budgets(tmp_path: Path) -> None:
    source = photos(tmp_path, [(300, 200), (250, 400), (210, 500)])
    photo = compose(source, ["macs<=20M"], None)
    assert (photo.space, photo.data.image_size, photo.data.crop) == ("micro128", 128, "resized")
    assert compose(source, ["macs<=15M"], None).data.image_size == 112  # with 128 pixels the smallest has 15.4M
    assert compose(source, ["macs<=600M"], None).space == "alphanet"
    assert compose(source, ["macs<=20M", "macs<=3M"], None).space == "micro32"  # both budgets can be met there
    digits = compose("digits", ["macs<=400K"], 2.0)
    assert (digits.space, digits.data.crop, digits.data.padding, digits.hours) == ("micro8", "pad", 1, 2.0)


def test_a_few_hundred_images_come_in_small_batches(tmp_path: Path) -> None:
    composed = compose(photos(tmp_path, [(200, 200)] * 3), ["macs<=20M"], None)
    assert composed.train.recipe.batch_size == composed.finetune.recipe.batch_size == 32


def test_what_no_space_can_do_is_refused_in_words(tmp_path: Path) -> None:
    source = photos(tmp_path, [(200, 200)] * 3)
    with pytest.raises(ValueError, match=r"no subnet of micro128 meets macs<=100K.*no subnet of micro32 meets"):
        compose(source, ["macs<=100K"], None)
    with pytest.raises(ValueError, match="how large may the network be"):
        compose(source, [], None)
    with pytest.raises(ValueError, match="no such folder"):
        compose(str(tmp_path / "nothing"), ["macs<=20M"], None)


def test_the_file_that_is_written_is_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = composed_file("digits", ["macs<=400K", "params<=30K"], (("hours", "0.5"),))
    assert path == Path("runs/digits.yaml")
    assert Experiment.load(path) == compose("digits", ["macs<=400K", "params<=30K"], 0.5)
    assert Experiment.load(composed_file("digits", ["macs<=300K"])).search.budgets == (Budget("macs<=300K"),)


def test_fields_that_go_before_the_file_are_in_it(tmp_path: Path) -> None:
    overrides = (("data.image_size", "16"), ("finetune.epochs", "3"), ("train.random_subnets", "1"), ("seed", "5"))
    path = composed_file("digits", ["macs<=400K"], overrides, tmp_path / "mine")
    found, without = Experiment.load(path), compose("digits", ["macs<=400K"], None)
    assert (found.data.image_size, found.finetune.recipe.epochs, found.train.random_subnets, found.seed) == (
        16,
        3,
        1,
        5,
    )
    assert found.finetune.recipe == replace(without.finetune.recipe, epochs=3)
    assert found.train.recipe == without.train.recipe
    assert Experiment.load(path, overrides) == found


def test_fields_are_taken_out_checked_first_and_may_differ_where_nothing_follows_from_them(tmp_path: Path) -> None:
    budgets, out = ["macs<=400K"], tmp_path / "mine"
    path = composed_file("digits", budgets, (("finetune.label_smoothing", "null"),), out)
    assert Experiment.load(path) == Experiment.load(path, (("finetune.label_smoothing", "null"),))
    assert Experiment.load(path).finetune.recipe.label_smoothing == 0 != RECIPE.label_smoothing
    before = path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="finetune.epoch: unknown key"):
        composed_file("digits", budgets, (("finetune.epoch", "3"),), out)
    assert path.read_text(encoding="utf-8") == before
    (out / "search").mkdir(parents=True)
    composed_file("digits", budgets, (("finetune.label_smoothing", "null"), ("data.workers", "2")), out)
    with pytest.raises(ValueError, match="begun with other seed, and is kept; give another folder: --output .*-2"):
        composed_file("digits", budgets, (("finetune.label_smoothing", "null"), ("seed", "3")), out)


def test_what_the_user_changed_or_began_is_not_replaced(tmp_path: Path) -> None:
    path = composed_file("digits", ["macs<=400K"], output=tmp_path / "mine")
    assert composed_file("digits", ["macs<=300K"], output=tmp_path / "mine") == path  # nothing was begun
    path.write_text(path.read_text(encoding="utf-8") + "seed: 7\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is a file of yours"):
        composed_file("digits", ["macs<=300K"], output=tmp_path / "mine")
    composed_file("digits", ["macs<=400K"], output=tmp_path / "begun")
    (tmp_path / "begun" / "subnets").mkdir(parents=True)
    composed_file("digits", ["macs<=400K"], output=tmp_path / "begun")
    with pytest.raises(ValueError, match="begun for macs<=.*, and is kept; give"):
        composed_file("digits", ["macs<=300K"], output=tmp_path / "begun")


def test_budgets_that_only_a_measured_device_or_no_space_can_meet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name that one with --space"):
        compose("digits", ["latency<=5ms"], None)
    with pytest.raises(ValueError, match="no subnet of micro8 meets 500M<=macs"):
        compose("digits", ["macs>=500M"], None)
    with pytest.raises(ValueError, match="--hours: 'long' is no number"):
        composed_file("digits", ["macs<=400K"], (("hours", "long"),), tmp_path / "mine")


def test_a_file_of_the_users_own_is_not_replaced(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("space: micro8\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine.yaml is a file of yours"):
        composed_file("digits", ["macs<=400K"], output=tmp_path / "mine")
    with pytest.raises(ValueError, match="--budget: .*mine.yaml says its own"):
        composed_file(str(own), ["macs<=400K"])
    assert own.read_text(encoding="utf-8") == "space: micro8\n"


def test_a_network_is_made_smaller_for_the_images_without_a_supernet(tmp_path: Path) -> None:
    source = photos(tmp_path, [(300, 200), (250, 400), (210, 500)])
    composed = compose(source, ["macs<=50%"], 1.0, network="timm:resnet18", weights="w.pth")
    assert (composed.space, composed.network, composed.data.image_size) == (None, "timm:resnet18", 192)
    assert composed.search.evaluate == "auto"  # the plan says that it is by features
    assert compose(source, ["macs<=50%"], None, network="timm:resnet18", weights="w.pth").search.evaluate == "features"
    assert composed.finetune.recipe.learning_rate == FROM_WEIGHTS
    bare = compose(source, ["macs<=50%"], None, network="timm:resnet18")
    assert (bare.weights, bare.search.evaluate, bare.finetune.recipe.learning_rate) == (None, "largest", FROM_SCRATCH)
    assert compose("digits", ["macs<=50%"], None, network="timm:resnet18").data.image_size == 32


def test_the_file_of_a_network_is_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = (("network", "timm:resnet18"), ("weights", "w.pth"), ("hours", "0.5"))
    written = Experiment.load(composed_file("digits", ["macs<=50%"], asked))
    assert written == compose("digits", ["macs<=50%"], 0.5, network="timm:resnet18", weights="w.pth")


def test_what_goes_before_the_file_stands_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = composed_file("digits", ["macs<=400K"], (("weights", "w.pt"),))
    assert Experiment.load(path).weights == StartingWeights("w.pt")
    asked = (("network", "timm:resnet18"), ("weights.source", "w.pt"))
    path = composed_file("digits", ["macs<=50%"], asked, tmp_path / "other")
    assert Experiment.load(path).search.evaluate == "features"
    assert Experiment.load(path, asked).weights == StartingWeights("w.pt")


def test_networks_from_random_weights_are_trained_at_the_rate_of_the_file(tmp_path: Path) -> None:
    composed = compose("digits", ["macs<=50%"], 1.0, network="timm:resnet18")
    assert from_scratch(composed).learning_rate == FROM_SCRATCH == composed.finetune.recipe.learning_rate


def test_a_share_needs_something_that_it_is_of() -> None:
    with pytest.raises(ValueError, match="name that one with --network"):
        compose("digits", ["macs<=50%"], None)


def test_the_file_for_networks_that_people_have_holds_the_composed_recipe() -> None:
    experiment = Experiment.load(Path("experiments/smaller.yaml"))
    composed = replace(RECIPE, learning_rate=FROM_WEIGHTS, batch_size=experiment.finetune.recipe.batch_size)
    assert experiment.finetune.recipe == composed
    assert experiment.search.evaluate == "features"
