"""The folder for a model hub: it loads again, its card is true, and its code runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file as read_tensors
from sklearn.datasets import load_sample_image
from torch import nn

from nasvit.export.bundles import BUNDLES, Told, bundle
from nasvit.export.bundles.hub import model_card
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS
from nasvit.export.saved import load_saved, save_network
from nasvit.registry import create, find_architecture, has_weights, spec_of
from nasvit.specs import CodeSpec, SlimmableSpec
from search_spaces import ElasticArchitecture, load
from tests.nasvit.export.classifiers import HOSTILE, classifier, command


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the hub with everything that can be written here, and a picture."""
    folder = classifier(tmp_path_factory.mktemp("hub") / "net", "micro8:smallest", 8, 1, source="digits", crop_pct=0.9)
    formats = ["torch"]
    try:
        FORMATS["onnx"].require(writing=True)
        formats.append("onnx")
    except ImportError:
        pass
    with pytest.MonkeyPatch.context() as patch:
        command(patch, "export", folder, "--to", *formats, "hub", "--license", "cc0-1.0")
    Image.fromarray(load_sample_image("flower.jpg")).save(folder / "hub" / "photo.jpg")
    return folder / "hub"


def parts(readme: Path) -> tuple[dict[str, Any], str]:
    _, header, text = readme.read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_a_shared_network_loads_as_the_saved_one(shared: Path) -> None:
    (network, card), saved = create(str(shared)), load_saved(shared.parent)
    assert replace(card, exports={}, versions={}) == replace(saved.card, exports={}, versions={}, bundles={})
    assert spec_of(str(shared)) == card.spec and has_weights(str(shared))
    pixels = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(pixels), saved.network(pixels))
    assert find_architecture(load("micro8"), str(shared)) == load("micro8").smallest
    assert (
        read_tensors(shared / "model.safetensors").keys() == read_tensors(shared.parent / "network.safetensors").keys()
    )


def test_the_header_says_what_was_measured_and_nothing_else(shared: Path) -> None:
    header, text = parts(shared / "README.md")
    assert (header["library_name"], header["pipeline_tag"]) == ("nasvit", "image-classification")
    assert header["license"] == "cc0-1.0" and "license_name" not in header
    assert "datasets" not in header  # digits is no data set of the hub
    (read,) = huggingface_hub.ModelCard((shared / "README.md").read_text()).data.eval_results
    assert (read.task_type, read.metric_type) == ("image-classification", "accuracy")
    parity = Card.read(shared).exports["program.pt2"]["parity"]
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(parity["accuracy_of_network"], abs=1e-4)
    assert (result["dataset"]["name"], parity["images"]) == ("digits", 359)
    assert f"{parity['accuracy_of_network']:.2%} of 359 test images of digits" in text
    parameters = sum(each.numel() for each in create(str(shared)).network.parameters())
    assert f"| Parameters | {parameters:,} |" in text and "cc0-1.0, as stated by" in text


def test_the_code_of_the_card_runs_and_says_what_the_command_says(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(shared)
    command(monkeypatch, "predict", ".", "photo.jpg", "--top", 1, "--out", tmp_path / "best.json")
    (best,) = json.loads((tmp_path / "best.json").read_text())
    pixels, *runs = re.findall(r"```python\n(.*?)```", parts(Path("README.md"))[1], re.DOTALL)
    assert len(runs) == 1 + len({entry["format"] for entry in Card.read(shared).exports.values()})
    for code in runs:
        capsys.readouterr()
        values: dict[str, Any] = {}
        exec(pixels + code, values)
        assert capsys.readouterr().out == f"{best['class']}\n"
        assert torch.tensor(values["scores"]).softmax(1).max() == pytest.approx(best["probability"], abs=1e-4)


def test_what_nobody_said_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classifier(tmp_path / "net", "micro8:smallest", 8, 1)
    card = Card.read(folder)
    for plain in (replace(card, origin={}), card):
        text = model_card(plain, Told())
        header = yaml.safe_load(text.split("---\n")[1])
        assert (header["license"], header["license_name"]) == ("other", "not-stated")
        assert "model-index" not in header
        for line in ("| Accuracy | not measured |", "Not recorded.", "Not stated: whoever exported"):
            assert line in text
    of_hub = replace(card, origin={"config": {"data": {"source": "hf:uoft-cs/cifar10:plain_text"}}})
    assert yaml.safe_load(model_card(of_hub, Told()).split("---\n")[1])["datasets"] == ["uoft-cs/cifar10"]
    at_a_width = model_card(card, Told(width=0.5))
    assert "network = network.export(0.5)\n" in at_a_width and "nasvit predict . photo.jpg --width 0.5`" in at_a_width
    page = bundle(BUNDLES["hub"], folder, Told())
    assert "somebody" not in (page / "config.json").read_text() + (page / "README.md").read_text()
    with pytest.raises(ValueError, match="--license 'My own': legal are identifiers"):
        BUNDLES["hub"].require(Told(license="My own"))


def test_names_and_notes_of_anybody_stay_in_their_lines_and_cells(tmp_path: Path) -> None:
    card = Card.read(classifier(tmp_path / "net", "micro8:smallest", 8, 1))
    classes = ("a\nb", "c|d", r"e\|f", *card.classes[:7])
    origin = {
        "note": "one | two\n\n# three",
        "weights": HOSTILE,
        "budget": "a\r\nb",
        "training": {"recipe": {"<b>": "|"}},
    }
    text = model_card(replace(card, classes=classes, origin=origin), Told())
    assert r"Classes: a b, c\|d, e\\\|f, &lt;/script>&lt;script>alert(1)&lt;/script>, class 1" in text
    assert r"| Trained on | not recorded (one \| two # three) |" in text
    assert "| Searched for | a b |" in text and r"- &lt;b>: \|" in text
    assert "<script" not in text.split("---\n", 2)[2] and "\n# three" not in text


def test_a_network_saved_into_a_shared_folder_replaces_it(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared, folder)
    network, card = create("micro8:largest", 10)
    save_network(network, folder, card)
    assert load_saved(folder).card.spec.to_json() == card.spec.to_json()
    assert not (folder / "config.json").exists() and not (folder / "program.pt2").exists()


def test_a_network_comes_from_the_hub_by_name(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        if repository == "me/nothing":
            raise OSError("404")
        return str(shared if repository == "me/digits" else tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    network, card = create("hf:me/digits@v2", 10)
    assert asked == [("me/digits", "v2", ["config.json", "model.safetensors"])]
    assert card == Card.read(shared) and isinstance(network, nn.Module)
    assert spec_of("hf:me/digits") == card.spec and has_weights("hf:me/digits")
    assert asked[-1] == ("me/digits", None, ["config.json"])
    with pytest.raises(ValueError, match="'hf:me/nothing' cannot be had from the Hugging Face hub: 404"):
        create("hf:me/nothing")
    (tmp_path / "config.json").write_text('{"model_type": "another"}')
    with pytest.raises(ValueError, match="is no network of nasvit: its config.json is missing, or another library's"):
        create("hf:me/other")
    strange = CodeSpec("os:abort")
    for spec in (strange, SlimmableSpec(strange, (1.0,), (ElasticArchitecture(32),), "switchable", 32)):
        content = Card(spec, ("a", "b")).to_json()
        (tmp_path / "config.json").write_text(json.dumps({"nasvit": content}))
        with pytest.raises(ValueError, match="is built by the function os:abort of its user's code"):
            create("hf:me/other")
