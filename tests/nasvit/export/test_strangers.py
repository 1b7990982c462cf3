"""Folders that anybody may have written: nothing in them is executed, and they get no more memory than they hold."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasvit import cli, trust
from nasvit.export.bundles import BUNDLES, Told, bundle
from nasvit.export.card import way_out
from nasvit.export.saved import load_network, load_saved, save_network
from nasvit.export.shipping import load_file
from nasvit.files.records import read_json, write_json
from nasvit.heads.fcos import FCOS
from nasvit.layers.calibration import track_statistics
from nasvit.registry import create, spec_of
from nasvit.report import shipping
from nasvit.specs import CodeSpec, DenseSpec, ElasticSpec, Spec
from search_spaces import ElasticArchitecture
from tests.nasvit.filled import filled

CODE = "stranger:make"
PROGRAM = """
from pathlib import Path
from torch import nn
Path("mark").touch()
def make(num_classes): return nn.Sequential(nn.Conv2d(3, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture(autouse=True)
def nobody_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nobody have named anything yet, in a folder with code of a stranger, and in the cache of another user."""
    monkeypatch.setattr(trust, "_NAMED", set())
    monkeypatch.setattr(trust, "_everything", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stranger.py").write_text(PROGRAM)
    yield
    sys.modules.pop("stranger", None)


def saved(folder: Path, **changes: Any) -> Path:
    """Return a folder with a small network, whose card says other things."""
    network, card = create("mobilenet_v2-0.1@32", 3)
    track_statistics(network)
    save_network(filled(network).eval(), folder, replace(card, classes=tuple("abc")))
    content = read_json(folder / "card.json")
    del content["weights"]  # which a stranger would tell rightly
    (folder / "card.json").write_text(json.dumps(content | changes))
    return folder


def card_of(spec: Spec) -> dict[str, Any]:
    return {"kind": spec.kind, "spec": spec.to_json()}


OF_CODE: dict[str, dict[str, Any]] = {
    "code": card_of(CodeSpec(CODE)),
    "a subnet": card_of(ElasticSpec(CodeSpec(CODE), ElasticArchitecture(32), 32)),
    "a detector": card_of(DenseSpec(CodeSpec(CODE), FCOS(), (32, 32))),
}


@pytest.mark.parametrize("changes", OF_CODE.values(), ids=OF_CODE)
def test_code_that_a_card_names_is_not_started(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", **changes)
    for load_it in (load_saved, load_network, lambda path: create(str(path)), lambda path: spec_of(str(path)).build(3)):
        with pytest.raises(ValueError, match=f"{CODE}, a function of its author's code .* nasvit --trust"):
            load_it(folder)
    assert not Path("mark").exists() and "stranger" not in sys.modules
    with pytest.raises(ValueError, match="fails|does not hold|no map"):  # called, and it is another network
        load_saved(folder, trust=True)
    assert Path("mark").exists()


def test_code_that_an_old_card_names_is_not_started(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net")
    (folder / "card.json").write_text(json.dumps({"network": CODE, "image_channels": 3, "classes": ["a", "b", "c"]}))
    with pytest.raises(ValueError, match=f"{CODE}, a function of its author's code"):
        load_saved(folder)
    assert not Path("mark").exists()


def test_code_that_the_user_names_is_started_and_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, card = create(CODE, 3)
    save_network(network, tmp_path / "net", card)
    assert type(load_network(tmp_path / "net")) is nn.Sequential
    monkeypatch.setattr(trust, "_NAMED", set())  # as in another process
    assert type(load_network(tmp_path / "net")) is nn.Sequential
    (tmp_path / "net" / "card.json").write_text((tmp_path / "net" / "card.json").read_text() + " ")
    monkeypatch.setattr(trust, "_NAMED", set())
    monkeypatch.setattr(sys, "argv", ["nasvit", "profile", "net"])
    with pytest.raises(SystemExit):
        cli.main()
    monkeypatch.setattr(sys, "argv", ["nasvit", "--trust", "profile", "net"])
    cli.main()
    assert type(load_network(tmp_path / "net")) is nn.Sequential


@pytest.mark.parametrize("model", ["timm", "torchvision"])
def test_libraries_are_asked_for_models_of_their_own_alone(model: str, tmp_path: Path) -> None:
    names = {"timm": "hf-hub:somebody/else", "torchvision": "fasterrcnn_resnet50_fpn"}
    folder = saved(tmp_path / "net", kind=model, spec={"model": names[model]})
    with pytest.raises(ValueError, match=f"has no (model|classifier) '{names[model]}'"):
        load_saved(folder)


def test_programs_of_strangers_are_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"format": "torch", "file": "program.pt2", "files": ["program.pt2"], "width": None, "int8": False}
    folder = saved(tmp_path / "net", exports={"program.pt2": told})
    (folder / "program.pt2").write_bytes(b"a pickle")
    opened: list[Path] = []
    monkeypatch.setattr(torch.export, "load", opened.append)
    monkeypatch.setattr(shipping, "memory_of", lambda *_: {})  # which takes another process
    with pytest.raises(ValueError, match=r"program\.pt2 is a program, which runs whatever .* nasvit --trust"):
        load_file(folder / "program.pt2")
    shipping.bench((folder,), threads=(1,), rounds=1, width=None, out=None)
    assert "program.pt2 is left out: it is a program that was not written here" in capsys.readouterr().err
    assert not opened
    with pytest.raises(ValueError, match="torch cannot load it"):
        load_file(folder / "program.pt2", trust=True)
    assert opened == [folder / "program.pt2"]


def set_at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *above, last = [int(each) if each.isdigit() else each for each in path.split(".")]
        for each in above:
            content = content[each]  # type: ignore[index]
        content[last] = value  # type: ignore[index]

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.plan.channels.3", 10**9),
        ("spec.family.stages.2.0.kernel_size", 10**6),
        ("spec.family.resolution", 10**9),
        ("image.side", 10**9),
        ("image.crop_pct", 1e-9),
        ("normalization", {"mean": [0.5], "deviation": [0.0]}),
        ("classes", [1, 2, 3]),
        ("classes", ["x"] * 10**5),
        ("origin", []),
        ("spec", "[" * 100_000),
        ("kind", "pickle"),
        ("kind", {}),
    ],
)
def test_absurd_cards_are_refused_in_words_and_take_little_memory(path: str, value: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "net")
    content = read_json(folder / "card.json")
    set_at(path, value)(content)
    (folder / "card.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"card\.json|safetensors|network of kind"):
        load_saved(folder)


def test_a_network_that_is_larger_than_its_weights_is_refused_before_it_is_built(tmp_path: Path) -> None:
    ghost = {"width": 40.0, "small_images": True}
    many = {"width": 0.1, "options": {"branches": 10**9, "scale": False, "identity": False}}
    for spec, words in ((ghost, "40,.* numbers"), (many, "9,... modules")):
        folder = saved(tmp_path / "net", kind="ghostnet_v3", spec=spec)
        with pytest.raises(ValueError, match=f"describes a network of more than {words}, and these weights have"):
            load_saved(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"format": 1}', "\0"])
def test_files_that_are_no_cards_are_named(text: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "net")
    (folder / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card\.json(:| is no JSON| is no card of)"):
        load_saved(folder)


def lying(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


WEIGHTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a lie": (lying, "is no whole safetensors file"),
    "a huge header": (lambda path: path.write_bytes(struct.pack("<Q", 2**60) + b"{}"), "is no whole safetensors file"),
    "others": (lambda path: save_file({"w": torch.zeros(3)}, path), "does not hold the weights of the network"),
    "integers": (
        lambda path: save_file({name: each.int() for name, each in weights().items()}, path),
        r"is of I32, and F64, F32, F16, BF16 are legal",
    ),
}


def weights() -> dict[str, torch.Tensor]:
    network, _ = create("mobilenet_v2-0.1@32", 3)
    track_statistics(network)
    return network.state_dict()


@pytest.mark.parametrize(("write", "words"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_none_are_refused(write: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "net")
    write(folder / "network.safetensors")
    with pytest.raises(ValueError, match=f"network.safetensors.*{words}"):
        load_saved(folder)


def test_links_lead_nowhere(tmp_path: Path) -> None:
    secret, elsewhere = tmp_path / "secret", tmp_path / "elsewhere"
    secret.write_text("mine")
    elsewhere.mkdir()
    told = {"format": "onnx", "file": "network.onnx", "files": ["network.onnx"], "width": None, "int8": False}
    folder = saved(tmp_path / "net", exports={"network.onnx": told})
    (folder / "network.onnx").symlink_to(secret)
    hub = bundle(BUNDLES["hub"], folder, Told())
    assert "mine" not in [path.read_text(errors="replace") for path in hub.iterdir()]
    (folder / "web").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="web is a link, through which this would write elsewhere"):
        bundle(BUNDLES["web"], folder, Told())
    (folder / "network.safetensors").unlink()
    (folder / "network.safetensors").symlink_to(secret)
    saved(folder)
    assert secret.read_text() == "mine" and not list(elsewhere.iterdir())


def test_a_folder_of_a_training_says_where_its_network_is(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "deployed")
    for load_it in (load_saved, lambda path: create(str(path))):
        with pytest.raises((ValueError, FileNotFoundError), match=r"; there is one in .*run/deployed"):
            load_it(tmp_path / "run")


def test_a_path_to_no_network_names_those_beneath_or_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("scratch", "extracted", *("a/scratch", "b/scratch", "c/scratch", "d/scratch", "e/scratch")):
        write_json(tmp_path / "x" / "subnets" / "macs-5M" / name / "card.json", {})
    budget, (beneath, none) = tmp_path / "x" / "subnets" / "macs-5M", (tmp_path / "x", tmp_path / "empty" / "finetuned")
    named = [str(budget / name) for name in ("extracted", "scratch", "a/scratch", "b/scratch", "c/scratch")]
    for words in (
        *(("predict", path, "photo.jpg") for path in (beneath, budget / "finetuned")),
        *(("evaluate", path, "digits") for path in (beneath, budget / "finetuned")),
        *(("bench", path) for path in (beneath, budget / "finetuned")),
        *(("export", path, "--to", "torch") for path in (beneath, budget / "finetuned")),
        ("evaluate", beneath),
    ):
        monkeypatch.setattr(sys, "argv", ["nasvit", *map(str, words)])
        with pytest.raises(SystemExit):
            cli.main()
        assert capsys.readouterr().err.strip().endswith(f"; there are: {', '.join(named)}, ...")
    assert way_out(none) == way_out(tmp_path / "x" / "subnets" / "macs-5M" / "a" / "scratch") == ""
    assert way_out(budget / "a" / "network.onnx") == f"; there is one in {budget / 'a' / 'scratch'}"
    assert way_out(budget / "scratch" / "network.onnx") == f"; there is one in {budget / 'scratch'}"
