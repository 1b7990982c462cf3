"""Networks on disk compute what they computed in memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import search_spaces
from nasvit.export.card import CARD, Card
from nasvit.export.program import export_program
from nasvit.export.saved import load_network, load_saved, save_network
from nasvit.specs import SubnetSpec
from nasvit.supernets.supernet import Supernet, build
from search_spaces import Architecture, Space
from tests.nasvit.filled import filled, images

CASES = [("micro8", "smallest"), ("micro8", "largest"), ("micro32", "largest")]


def extracted(name: str, end: str, **settings: Any) -> tuple[Space, Architecture, torch.nn.Module]:
    space = search_spaces.load(name)
    architecture = getattr(space, end)
    network = filled(Supernet(space, 3)).extract(architecture, [images(space)], **settings)
    return space, architecture, network


def card_of(space: Space, architecture: Architecture, *, resize: bool = True) -> Card:
    spec = SubnetSpec(space, architecture, resize)
    return Card(spec, ("a", "b", "c"), 8, (0.5,), (0.25,), origin={"note": "a test"})


@pytest.mark.parametrize(("name", "end"), CASES)
@pytest.mark.parametrize("resize", [True, False])
def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path, name: str, end: str, resize: bool) -> None:
    space, architecture, network = extracted(name, end, resize=resize)
    card = card_of(space, architecture, resize=resize)
    save_network(network, tmp_path, card)
    loaded, read = load_saved(tmp_path)
    x = images(space, 2, seed=3)
    assert torch.equal(loaded(x), network(x))
    assert (loaded.resize is None) is not resize
    assert read == replace(card, spec=read.spec)
    assert read.spec.to_json() == card.spec.to_json()
    assert isinstance(read.spec, SubnetSpec) and read.spec.architecture == architecture


@pytest.mark.parametrize("name", ["nasvit_release", "alphanet"])
def test_a_network_of_a_large_space_comes_back(tmp_path: Path, name: str) -> None:
    space = search_spaces.load(name)
    network = filled(build(space, space.smallest, 3)).eval()
    save_network(network, tmp_path, card_of(space, space.smallest))
    for (key, saved), (other, tensor) in zip(
        load_network(tmp_path).state_dict().items(), network.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(saved, tensor)


def test_a_live_subnet_is_not_saved(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    subnet = Supernet(space, 3, stored_statistics=True).at(space.smallest)
    with pytest.raises(ValueError, match=r"save supernet\.extract\(architecture\) instead"):
        save_network(subnet, tmp_path, card_of(space, space.smallest))


def test_a_network_without_statistics_is_not_saved(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    network = Supernet(space, 3).extract(space.smallest)
    with pytest.raises(ValueError, match=r"call nasvit\.calibrate"):
        save_network(network, tmp_path, card_of(space, space.smallest))


def test_a_folder_without_a_network_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no saved network: network\.safetensors, .* missing"):
        load_network(tmp_path)


def test_the_card_is_written_last_so_that_a_kill_leaves_no_half_network(tmp_path: Path, monkeypatch: Any) -> None:
    space, architecture, network = extracted("micro8", "smallest")
    save_network(network, tmp_path, card_of(space, architecture))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nasvit.export.saved.save_model", killed)
    with pytest.raises(KeyboardInterrupt):
        save_network(network, tmp_path, card_of(space, architecture))
    assert not (tmp_path / CARD).exists()


@pytest.mark.parametrize(("name", "end"), [("micro32", "smallest")])
def test_a_program_computes_the_same_with_pytorch_alone_at_any_batch_size(tmp_path: Path, name: str, end: str) -> None:
    space, _, network = extracted(name, end)
    pixels = images(space, 5, seed=2).abs()
    channels = space.image_channels
    mean, deviation = [0.1 * (c + 1) for c in range(channels)], [0.5] * channels
    export_program(network, tmp_path / "program.pt2", shape=pixels.shape[1:], mean=mean, deviation=deviation)
    normal = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    torch.save({"x": pixels, "scores": network(normal).detach()}, tmp_path / "expected.pt")
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        f"expected = torch.load({str(tmp_path / 'expected.pt')!r})\n"
        f"network = torch.export.load({str(tmp_path / 'program.pt2')!r}).module()\n"
        "for count in (1, 5):\n"
        "    torch.testing.assert_close(network(expected['x'][:count]), expected['scores'][:count])\n"
        "assert not any(name.split('.')[0] in ('nasvit', 'timm', 'search_spaces') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
