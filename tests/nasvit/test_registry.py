from __future__ import annotations

from pathlib import Path

import pytest
import torch

import search_spaces
from nasvit.costs.counting import count
from nasvit.layers.reparameterized import Reparameterized
from nasvit.models.tiny import TARGETS, target
from nasvit.registry import FAMILIES, Branches, build_network, network_target

MICRO8 = search_spaces.load("micro8")


@pytest.mark.parametrize("name", [*FAMILIES, *TARGETS, "ghostnet_v3"])
def test_every_name_is_a_network(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name, 10)
    assert count(network, 3, 64, 64).macs > 0


def test_a_width_and_a_form_for_small_images_are_parts_of_the_name() -> None:
    widths = [count(build_network(f"mobilenet_v2-{width}@32", 10), 3, 32, 32) for width in (0.25, 0.5)]
    assert widths[0].params < widths[1].params
    assert count(build_network("mobilenet_v2-0.25", 10), 3, 32, 32).macs < widths[0].macs
    assert network_target("mbv2-0.2@32") == target("mbv2-0.2").for_small_images()


def test_a_search_result_is_a_network(tmp_path: Path) -> None:
    MICRO8.smallest.save(tmp_path / "found.json")
    assert network_target(f"micro8:{tmp_path / 'found.json'}") == (MICRO8, MICRO8.smallest)


@pytest.mark.parametrize("name", ["mobilenet_v2-0.25", "ghostnet_v3-0.5"])
def test_branches_are_what_was_asked_for(name: str) -> None:
    network = build_network(name, 10, branches=Branches(2, scale=False))
    layers = [module for module in network.modules() if isinstance(module, Reparameterized)]
    assert layers and all(len(layer.branches) == 2 and layer.scale is None for layer in layers)
    assert any(layer.identity is not None for layer in layers)


def test_an_unknown_network_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"network 'mobilnet' is unknown .*legal: tinymbv2, .*SPACE:ARCHITECTURE.json"):
        build_network("mobilnet", 10)


def test_a_space_with_a_choice_needs_an_architecture() -> None:
    with pytest.raises(ValueError, match=r"the space holds \d+ architectures; write micro8:ARCHITECTURE.json"):
        build_network("micro8", 10)


@pytest.mark.parametrize("name", ["mobilenet_v2-0.5", "ghostnet_v3-0.5"])
def test_what_netaug_cannot_augment_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match=f"network '{name}' cannot be augmented"):
        network_target(name)
