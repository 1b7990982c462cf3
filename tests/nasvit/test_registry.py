"""Every name of a network, in one grammar."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import search_spaces
from nasvit.costs.counting import count
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.importing import import_checkpoint
from nasvit.layers.calibration import calibrate
from nasvit.models.tiny import TARGETS, target
from nasvit.names import FAMILIES
from nasvit.registry import augmentable, create, find_architecture, spec_of
from nasvit.specs import KINDS, Spec, SubnetSpec, spec_from_json
from search_spaces import published
from tests.nasvit.filled import filled, images

MICRO8 = search_spaces.load("micro8")
NAMES = [
    *FAMILIES,
    *TARGETS,
    "ghostnet_v3",
    "mobilenet_v2-0.5@32",
    "mbv3-0.2@32",
    "micro8:smallest",
    "micro8:largest",
    "timm:mobilenetv3_small_050",
    "torchvision:resnet18",
    "timm.models:resnet18",
    *published.names(),
]


def from_card(spec: Spec) -> Spec:
    """The spec after it went through a card."""
    return spec_from_json(spec.kind, json.loads(json.dumps(spec.to_json())), "card.json")


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_network_whose_spec_builds_it_again(name: str) -> None:
    spec = spec_of(name)
    with torch.device("meta"):
        network, again = create(name, 10).network, from_card(spec).build(10)
    assert [(key, tensor.shape) for key, tensor in network.state_dict().items()] == [
        (key, tensor.shape) for key, tensor in again.state_dict().items()
    ]
    assert from_card(spec).to_json() == spec.to_json()
    assert (spec.channels, spec.side) == (from_card(spec).channels, from_card(spec).side)


def test_every_kind_of_network_has_a_name_here() -> None:
    folders = {
        "switchable",
        "elastic",
        "slimmable",
        "dense",
        "dense_widths",
    }  # these have no names, only folders that they are saved in
    assert {spec_of(name).kind for name in NAMES} == set(KINDS) - folders


@pytest.mark.parametrize("name", [name for name in published.names() if published.load(name).counted is not None])
def test_a_published_name_costs_what_was_counted(name: str) -> None:
    counted = published.load(name).counted
    assert counted is not None
    with torch.device("meta"):
        network, card = create(name)
    cost = count(network, *card.shape)
    assert (cost.macs, cost.params) == (counted.macs, counted.params)


def test_a_width_and_a_form_for_small_images_are_parts_of_the_name() -> None:
    widths = [count(create(f"mobilenet_v2-{width}@32", 10).network, 3, 32, 32) for width in (0.25, 0.5)]
    assert widths[0].params < widths[1].params
    assert count(create("mobilenet_v2-0.25", 10).network, 3, 32, 32).macs < widths[0].macs
    assert augmentable(spec_of("mbv2-0.2@32")) == target("mbv2-0.2").for_small_images()


def test_a_subnet_is_named_by_its_end_its_file_or_a_saved_folder(tmp_path: Path) -> None:
    MICRO8.smallest.save(tmp_path / "found.json")
    found = spec_of(f"micro8:{tmp_path / 'found.json'}")
    assert found == spec_of("micro8:smallest") == SubnetSpec(MICRO8, MICRO8.smallest)
    assert augmentable(found) == (MICRO8, MICRO8.smallest)
    network = calibrate(create("micro8:smallest", 3).network, [images(MICRO8)])
    save_network(network, tmp_path / "saved", Card(found, tuple("abc")))
    assert find_architecture(MICRO8, str(tmp_path / "saved")) == MICRO8.smallest
    assert (
        find_architecture(search_spaces.load("alphanet"), "alphanet_a0") == published.load("alphanet_a0").architecture
    )


def test_a_saved_folder_brings_its_weights_and_its_card(tmp_path: Path) -> None:
    network = calibrate(filled(create("micro8:smallest", 3).network), [images(MICRO8)])
    card = Card(spec_of("micro8:smallest"), tuple("abc"), 8, (0.5,), (0.2,), origin={"weights": "a test"})
    save_network(network, tmp_path, card)
    found = create(str(tmp_path), pretrained=True)
    assert torch.equal(found.network(images(MICRO8)), network(images(MICRO8)))
    assert (found.card.classes, found.card.shape, found.card.mean) == (("a", "b", "c"), (1, 8, 8), (0.5,))
    with pytest.raises(ValueError, match="scores 3 classes and 10 are needed"):
        create(str(tmp_path), 10)


def release(source: str, classes: int) -> dict[str, torch.Tensor]:
    """Tensors as a release names them, with values that tell them apart."""
    from nasvit.importing import released_layout

    shapes = released_layout(source, classes)
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=draw) + 0.1 if shape else torch.tensor(1) for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("source", "which", "kind"),
    [
        ("fbnetv3_a0", "", "fbnetv3"),
        ("tiny_mcunet", "", "planned"),
        ("netaug_mcunet", "", "planned"),
        ("ghostnetv3_050", "", "ghostnet_v3"),
        ("s_mobilenet_v1", ":0.25", "planned"),
        ("s_mobilenet_v1", ":smallest", "planned"),
        ("s_mobilenet_v1", "", "switchable"),
        ("alphanet", ":smallest", "subnet"),
    ],
)
def test_what_import_wrote_is_a_name(tmp_path: Path, source: str, which: str, kind: str) -> None:
    torch.save(release(source, 5), tmp_path / "released.pt")
    import_checkpoint(source, tmp_path / "released.pt", tmp_path / "ours.safetensors")
    network, card = create(f"{tmp_path / 'ours.safetensors'}{which}", 5, pretrained=True)
    assert card.spec.kind == kind
    with torch.no_grad():
        assert network(torch.zeros(1, *card.shape)).shape == (1, 5)
    save_network(network, tmp_path / "saved", card)
    again = create(str(tmp_path / "saved")).network
    assert torch.equal(again(torch.ones(1, *card.shape)), network(torch.ones(1, *card.shape)))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("netaug_mcunet", "holds one plain network .* without 'nowhere'"),
        ("s_mobilenet_v1", "'nowhere'; legal: smallest"),
    ],
)
def test_a_part_that_an_imported_file_has_not_is_refused_in_words(tmp_path: Path, source: str, words: str) -> None:
    torch.save(release(source, 5), tmp_path / "released.pt")
    import_checkpoint(source, tmp_path / "released.pt", tmp_path / "ours.safetensors")
    with pytest.raises(ValueError, match=words):
        create(f"{tmp_path / 'ours.safetensors'}:nowhere")


def test_a_damaged_file_of_weights_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "ours.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"ours\.safetensors is no whole safetensors file"):
        create(str(tmp_path / "ours.safetensors"))


def test_a_folder_does_not_hide_a_network_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resnet18").mkdir()
    monkeypatch.chdir(tmp_path)
    assert create("resnet18", 10).card.spec == spec_of("resnet18")


def test_a_timm_checkpoint_brings_its_classes_and_its_normalization(tmp_path: Path) -> None:
    model = timm.create_model("mobilenetv3_small_050", num_classes=7).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    network, card = create(f"timm:mobilenetv3_small_050:{tmp_path / 'weights.pth'}", 7, pretrained=True)
    assert torch.equal(network(torch.ones(1, 3, 64, 64)), model(torch.ones(1, 3, 64, 64)))
    assert card.shape == (3, 224, 224) and card.mean == pytest.approx((0.485, 0.456, 0.406))


def test_a_timm_checkpoint_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'mark'}",)

    torch.save({"state_dict": {"w": torch.ones(1)}, "more": Hostile()}, tmp_path / "weights.pth")
    for pretrained in (False, True):
        with pytest.raises(ValueError, match=r"asks to call posix\.system"):
            create(f"timm:mobilenetv3_small_050:{tmp_path / 'weights.pth'}", pretrained=pretrained)
    assert not (tmp_path / "mark").exists()


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("mobilnet", {}, r"network 'mobilnet' is unknown .*legal: tinymbv2, .*SPACE:smallest\|largest"),
    "a space alone": ("micro8", {}, r"the space holds \d+ architectures; write micro8:smallest"),
    "no file": ("micro8:nowhere.json", {}, "there is no file 'nowhere.json'; legal: smallest, largest"),
    "no weights": ("mcunet", {"pretrained": True}, "'mcunet' names a network without weights; legal here: a folder"),
    "no model of timm": ("timm:mobilenetv3_tiny", {}, "timm has no model 'mobilenetv3_tiny'; it has mobilenet"),
    "no checkpoint": ("timm:resnet18:nowhere.pth", {}, "there is no file nowhere.pth"),
    "no import": ("nowhere.safetensors:smallest", {}, "there is no file nowhere.safetensors"),
    "a folder without": (".", {}, "is a folder without a saved network: card.json is missing"),
}


@pytest.mark.parametrize(("name", "settings", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_name_is_refused_in_words(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        create(name, 10, **settings)


@pytest.mark.parametrize("name", ["mobilenet_v2-0.5", "ghostnet_v3-0.5"])
def test_what_netaug_cannot_augment_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match="this network cannot be augmented; legal are"):
        augmentable(spec_of(name))
