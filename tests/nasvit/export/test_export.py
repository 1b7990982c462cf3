"""Networks on disk compute what they computed in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_model

import search_spaces
from nasvit.branches import fuse
from nasvit.export.card import CARD, Card
from nasvit.export.program import export_program
from nasvit.export.saved import WEIGHTS, load_network, load_saved, save_network
from nasvit.files.records import read_json
from nasvit.files.whole import sha256_of
from nasvit.layers.calibration import track_statistics
from nasvit.registry import create
from nasvit.specs import SubnetSpec
from nasvit.supernets.supernet import Supernet, build_subnet
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
    assert read == replace(card, spec=read.spec, weights=sha256_of(tmp_path / WEIGHTS))
    assert read.spec.to_json() == card.spec.to_json()
    assert isinstance(read.spec, SubnetSpec) and read.spec.architecture == architecture


def test_weights_that_are_damaged_or_of_another_network_are_refused(tmp_path: Path) -> None:
    space, architecture, network = extracted("micro8", "smallest", resize=False)
    save_network(network, tmp_path, card_of(space, architecture, resize=False))
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[-100] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=r"network\.safetensors is damaged, or of another network"):
        load_saved(tmp_path)


@pytest.mark.parametrize("name", ["nasvit_release", "alphanet"])
def test_a_network_of_a_large_space_comes_back(tmp_path: Path, name: str) -> None:
    space = search_spaces.load(name)
    network = filled(build_subnet(space, space.smallest, 3)).eval()
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


def old_subnet(folder: Path) -> torch.nn.Module:
    """A folder as version 0.1 wrote the stages' subnets: space and architecture in files beside a card."""
    space, architecture, network = extracted("micro8", "smallest")
    folder.mkdir()
    plain = SubnetSpec(space, architecture).to_json()["space"]
    (folder / "space.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    architecture.save(folder / "architecture.json")
    save_model(network, str(folder / "network.safetensors"))
    card = {"classes": ["a", "b", "c"], "weights": "inherited", "image": {"channels": 1, "side": 8}, "resize": True}
    card["normalization"] = {"mean": [0.5], "deviation": [0.25]}
    (folder / CARD).write_text(json.dumps(card))
    return network


def old_fitted(folder: Path) -> torch.nn.Module:
    """A folder as version 0.1 wrote what ``fit`` deployed: a name, and whether branches were fused."""
    network = fuse(filled(create("mbv2-0.2@32", 3).network).eval())
    folder.mkdir()
    save_model(network, str(folder / "network.safetensors"))
    card = {"classes": ["a", "b", "c"], "image_channels": 3, "network": "mbv2-0.2@32", "fused": False}
    (folder / CARD).write_text(json.dumps(card))
    return network


@pytest.mark.parametrize(("write", "kind"), [(old_subnet, "subnet"), (old_fitted, "planned")])
def test_folders_of_before_there_was_a_format_still_load(
    tmp_path: Path, write: Callable[[Path], torch.nn.Module], kind: str
) -> None:
    network = write(tmp_path / "old")
    loaded, card = load_saved(tmp_path / "old")
    x = torch.rand(2, *card.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x), network(x))
    assert (card.spec.kind, card.classes) == (kind, ("a", "b", "c"))
    save_network(loaded, tmp_path / "new", card)
    assert torch.equal(load_network(tmp_path / "new")(x), network(x))
    assert json.loads((tmp_path / "new" / CARD).read_text())["format"] == 1


def test_a_card_of_a_later_version_is_refused_in_words(tmp_path: Path) -> None:
    space, architecture, network = extracted("micro8", "smallest")
    save_network(network, tmp_path, card_of(space, architecture))
    content = read_json(tmp_path / CARD)
    (tmp_path / CARD).write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(ValueError, match="is of format 2, and this version of nasvit reads formats up to 1; update"):
        load_network(tmp_path)
    (tmp_path / CARD).write_text(json.dumps(content | {"kind": "perceptron"}))
    with pytest.raises(ValueError, match="a network of kind 'perceptron' is not known here; known: subnet, planned"):
        load_network(tmp_path)


@pytest.mark.parametrize("live", [True, False])
def test_what_is_live_or_has_no_statistics_is_not_exported_either(tmp_path: Path, live: bool) -> None:
    space = search_spaces.load("micro8")
    supernet = Supernet(space, 3, stored_statistics=live)
    network = supernet.at(space.smallest) if live else supernet.extract(space.smallest)
    words = r"save supernet\.extract\(architecture\) instead" if live else r"call nasvit\.calibrate"
    with pytest.raises(ValueError, match=words):
        export_program(network, tmp_path / "program.pt2", shape=(1, 8, 8))
    assert not (tmp_path / "program.pt2").exists()


@pytest.mark.parametrize("name", ["micro8:smallest", "micro32:smallest"])
def test_the_older_exporter_of_onnx_files_and_traces_take_a_subnet(name: str, tmp_path: Path) -> None:
    network, card = create(name, 3)
    track_statistics(network)
    images = torch.rand(2, *card.shape)
    traced = torch.jit.trace(network.eval(), (images,))
    torch.testing.assert_close(traced(images), network(images), rtol=0, atol=0)
    pytest.importorskip("onnx")
    torch.onnx.export(network, (images,), str(tmp_path / "x.onnx"), dynamo=False, verbose=False)
    assert (tmp_path / "x.onnx").stat().st_size > 10_000
