"""Files with their decoder inside give the objects and classes that are otherwise chosen outside of them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nasvit.export.card import Card
from nasvit.export.dense_parity import ClassesComparison, ObjectComparison
from nasvit.export.saved import load_saved, save_network
from nasvit.export.shipping import Shipping
from nasvit.heads.detections import SHOWN, Detections
from nasvit.report.loaded import Loaded
from tests.nasvit.export.classifiers import classifier, command
from tests.nasvit.export.dense_networks import boxes_folder, masks_folder, noise, saved_detector, saved_segmenter

Shown = pytest.CaptureFixture[str]
FILES = ("network-decoded.onnx", "program-decoded.pt2")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that finds nothing in a black picture, and its files."""
    folder = saved_detector(tmp_path_factory.mktemp("detector") / "net", boxes_folder(tmp_path_factory.mktemp("boxes")))
    network, card = load_saved(folder)
    logits, last = list[float](), _layers_of_classes(network)
    black = -torch.tensor(card.mean) / torch.tensor(card.deviation)
    last.weight.data.normal_(0, 0.6, generator=torch.Generator().manual_seed(18))
    with last.register_forward_hook(lambda *told: logits.append(float(told[2].max()))), torch.no_grad():
        network(black[None, :, None, None].expand(1, *card.shape))
        last.bias.sub_(max(logits) + 2.4)  # sqrt(sigmoid(-2.4)) is less than 0.3
    save_network(network, folder, card)
    with pytest.MonkeyPatch.context() as patch:
        command(patch, "export", folder, "--to", "onnx", "torch", "--decoder", "inside")
    return folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = saved_segmenter(tmp_path_factory.mktemp("masks") / "net", masks_folder(tmp_path_factory.mktemp("images")))
    with pytest.MonkeyPatch.context() as patch:
        command(patch, "export", folder, "--to", "onnx", "torch", "--decoder", "inside")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with something in them, and one with nothing."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, size in enumerate([(96, 64), (150, 100), (40, 90)]):
        noise(folder / f"{seed}.png", size, seed)
    Image.new("RGB", (96, 64)).save(folder / "nothing.png")
    return folder


def _layers_of_classes(network: Any) -> nn.Conv2d:
    layer: nn.Conv2d = network.head.classify.cls_logits
    return layer


def predicted(path: Path, pictures: Path, *more: object) -> list[dict[str, Any]]:
    out = pictures.with_name("predicted.json")
    with pytest.MonkeyPatch.context() as patch:
        command(patch, "predict", path, pictures, "--out", out, *more)
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("file", FILES)
def test_boxes_of_a_file_with_its_decoder_inside_are_those_that_predict_chooses(
    file: str, detector: Path, pictures: Path
) -> None:
    for more in ((), ("--threshold", 0.4)):
        wanted, found = (predicted(path, pictures, *more) for path in (detector, detector / file))
        counts = [len(each["found"]) for each in wanted]
        assert max(counts) > 3
        assert counts[-1] == 0
        for one, other in zip(wanted, found, strict=True):
            assert [row["class"] for row in one["found"]] == [row["class"] for row in other["found"]]
            for row, same in zip(one["found"], other["found"], strict=True):
                numbers = [[each[name] for name in each if name != "class"] for each in (row, same)]
                np.testing.assert_allclose(*numbers, atol=0.02)


def test_a_detector_s_file_says_that_it_chooses_itself_and_takes_one_image(
    detector: Path, pictures: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = Card.read(detector).exports
    assert set(entries) == {*FILES}
    for entry in entries.values():
        assert (entry["decoder"], entry["choice"]["threshold"], entry["choice"]["objects"]) == ("inside", 0.3, 100)
        assert entry["parity"]["agreement"] == 1
        assert entry["parity"]["objects"] > 3
        assert entry["parity"]["map"] == pytest.approx(entry["parity"]["map_of_network"], abs=1e-4)
    session = import_module("onnxruntime").InferenceSession(str(detector / FILES[0]))
    assert [each.name for each in session.get_outputs()] == ["boxes", "scores", "labels"]
    told = session.get_modelmeta().custom_metadata_map
    assert (told["decoder"], told["images_at_once"], told["threshold"]) == ("inside", "1", "0.3")
    assert (told["task"], json.loads(told["image_size"])) == ("detection", [64, 96])
    with pytest.raises(SystemExit):
        command(monkeypatch, "predict", detector / FILES[0], pictures, "--threshold", 0.2)
    assert "--threshold 0.2: the decoder inside this file leaves out scores up to 0.3" in capsys.readouterr().err
    source = Card.read(detector).origin["config"]["data"]["source"]
    command(monkeypatch, "evaluate", detector / FILES[0], source, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["map"] == pytest.approx(entries[FILES[0]]["parity"]["map"], abs=1e-6)
    assert numbers["decoder"] == "inside"
    assert "of the objects with scores above 0.3 that its decoder chooses" in capsys.readouterr().out
    monkeypatch.setattr("nasvit.report.shipping.memory_of", lambda paths, *others: {})
    command(
        monkeypatch, "bench", detector / FILES[0], detector / FILES[1], "--rounds", 1, "--out", tmp_path / "times.json"
    )
    timed = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert [Path(row["network"]).name for row in timed] == [*FILES]


@pytest.mark.parametrize("file", FILES)
def test_classes_of_a_file_with_its_decoder_inside_are_those_that_predict_chooses(
    file: str, segmenter: Path, pictures: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "in" / "of-its-size.png"
    noise(picture, (96, 64), 5)
    wanted, found = (predicted(path, picture.parent) for path in (segmenter, segmenter / file))
    assert len(wanted[0]["found"]) == 3
    assert wanted == found
    both = zip(predicted(segmenter, pictures), predicted(segmenter / file, pictures), strict=True)
    for one, other in both:  # enlarged are classes instead of scores, which moves edges
        shares = ({row["class"]: row["share"] for row in each["found"]} for each in (one, other))
        assert dict(next(shares)) == pytest.approx(dict(next(shares)), abs=0.05)
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    (classes,), (scores,) = (Loaded(path).outputs(pixels) for path in (segmenter / file, segmenter))
    assert torch.equal(classes, scores.argmax(1).float())


def test_a_segmenter_s_file_says_that_it_chooses_itself(
    segmenter: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = Card.read(segmenter).exports
    assert set(entries) == {*FILES}
    for entry in entries.values():
        assert (entry["decoder"], entry["choice"]) == ("inside", None)
        assert entry["parity"]["agreement"] > 0.999
    session = import_module("onnxruntime").InferenceSession(str(segmenter / FILES[0]))
    assert [each.name for each in session.get_outputs()] == ["classes"]
    source = Card.read(segmenter).origin["config"]["data"]["source"]
    for path in (segmenter, segmenter / FILES[0]):
        command(monkeypatch, "evaluate", path, source, "--output", tmp_path / f"{path.name}.json")
    whole, chosen = (json.loads((tmp_path / f"{path}.json").read_text()) for path in ("net", FILES[0]))
    assert chosen["miou"] == pytest.approx(whole["miou"], abs=1e-3)
    assert "loss" in whole
    assert "loss" not in chosen


def test_formats_and_networks_without_a_decoder_inside_are_refused(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    for other in ("openvino", "executorch", "litert"):
        with pytest.raises(SystemExit):
            command(monkeypatch, "export", detector, "--to", "onnx", other, "--decoder", "inside")
        (line,) = capsys.readouterr().err.splitlines()
        assert f"format {other} cannot have the decoder inside; legal for detection: torch, onnx" in line
    network, card = load_saved(classifier(tmp_path / "net", "mobilenet_v1-0.25@32", 32, 3))
    with pytest.raises(ValueError, match="legal for detection and segmentation; this network is for classification"):
        Shipping(network, card, tmp_path, decoder="inside")


def test_a_file_that_chooses_other_objects_or_classes_disagrees(detector: Path, segmenter: Path) -> None:
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3)).round()
    outputs = Loaded(detector).outputs(pixels)
    boxes, scores, labels = (each.numpy() for each in SHOWN.of(Detections(*outputs), (64, 96))[0])
    assert len(labels) > 1

    def strays(*found: Any) -> float:
        comparison = ObjectComparison(Card.read(detector))
        comparison.update(tuple(each.numpy() for each in outputs), found, None)
        return comparison.parity().strays

    assert strays(boxes, scores, labels) == 0
    assert strays(boxes[1:], scores[1:], labels[1:]) > 0.01
    assert strays(boxes[::-1].copy(), scores[::-1].copy(), labels[::-1].copy()) > 0.01
    assert strays(boxes, scores, 1 - labels) == 1
    assert strays(boxes + np.float32(0.5), scores, labels) > 0.004
    assert strays(boxes, scores + np.float32(0.01), labels) > 0.009
    (logits,) = Loaded(segmenter).outputs(pixels)
    for classes, apart in ((logits.argmax(1), False), (logits.argmin(1), True)):
        compared = ClassesComparison(Card.read(segmenter))
        compared.update((logits.numpy(),), (classes.numpy(),), None)
        assert (compared.parity().strays > 0.1, compared.parity().agreement < 0.1) == (apart, apart)
