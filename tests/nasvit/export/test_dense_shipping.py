"""Detectors and segmenters are shipped as classifiers are: all they say is compared, and what rounding costs is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasvit.data.pictures import letterboxed_picture, opened_picture
from nasvit.export.bundles.decoder import objects_of
from nasvit.export.card import Card
from nasvit.export.dense_parity import BoxComparison, pairs
from nasvit.export.formats import FORMATS, Floats, Format
from nasvit.export.formats.contract import Start
from nasvit.export.saved import load_saved
from nasvit.export.shipping import Shipping, told_of
from nasvit.heads.detections import SHOWN, Choice, Detections, Objects
from nasvit.report.loaded import Loaded
from nasvit.report.shipping import pictures_at
from tests.nasvit.export.classifiers import command
from tests.nasvit.export.dense_networks import (
    SMALL_PYRAMID,
    boxes_folder,
    masks_folder,
    noise,
    saved_detector,
    saved_segmenter,
)


class Moved(Format):
    """A format whose outputs are others than the network's by so much."""

    name, runtime, file, quantizes_with = "moved", "torch", "network.pt", ("torch",)
    title, code = "Moved", ""

    def __init__(self, *by: float) -> None:
        self.by = by

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        torch.save(network, path)

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        assert {each.shape[1:] for each in calibration} == {shape}
        self.write(network, path, shape)

    def start(self, path: Path, threads: int = 1) -> Start:
        network = torch.load(path, weights_only=False)

        def run(pixels: Floats) -> list[Floats]:
            with torch.no_grad():
                outputs = network(torch.from_numpy(pixels))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return [each.numpy() + by for each, by in zip(outputs, self.by, strict=True)]

        return run


def shipping_of(folder: Path, **options: Any) -> Shipping:
    network, card = load_saved(folder)
    source = card.origin["config"]["data"]["source"]
    return Shipping(network, card, folder, pictures_at(source, card), **options)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return saved_detector(tmp_path / "net", boxes_folder(tmp_path / "images"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(saved_detector(tmp_path_factory.mktemp("loaded") / "net"))


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    return saved_segmenter(tmp_path / "net", masks_folder(tmp_path / "images"))


def test_boxes_and_scores_are_compared_one_by_one(detector: Path) -> None:
    same = shipping_of(detector).ship(Moved(0, 0)).parity
    assert same.objects > 10
    assert same.agreement == 1
    assert same.map == pytest.approx(same.map_of_network, abs=1e-4)
    moved = shipping_of(detector).ship(Moved(0.05, 0)).parity
    assert moved.box_deviation == pytest.approx(0.05, abs=1e-3)
    with pytest.raises(ValueError, match=r"disagrees with the network: its boxes deviate by 0.2 pixels, its scores by"):
        shipping_of(detector).ship(Moved(0.2, 0))
    with pytest.raises(
        ValueError, match=r"its scores by 0.0\d+ of the largest, and \d+.\d% of the objects in 4 images"
    ):
        shipping_of(detector).ship(Moved(0, 0.02))
    with pytest.raises(ValueError, match="scores of the file are no finite numbers"):
        shipping_of(detector).ship(Moved(float("nan"), 0))


def test_integers_of_a_detector_may_lose_so_much_precision(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoxComparison, "values", lambda self: (0.3, 0.35))
    assert shipping_of(detector, most_drop=0.06).ship(Moved(3, 0), int8=True).parity.drop == pytest.approx(0.05)
    with pytest.raises(ValueError, match="loses 5.0 points of mAP, and .* of the objects in 4 images are others"):
        shipping_of(detector, most_drop=0.04).ship(Moved(3, 0), int8=True)


def test_pixels_are_compared_one_by_one(segmenter: Path) -> None:
    same = shipping_of(segmenter).ship(Moved(0)).parity
    assert same.agreement > 0.9999
    assert same.miou == pytest.approx(same.miou_of_network, abs=1e-3)
    with pytest.raises(
        ValueError, match=r"its scores deviate by 0.\d+ of the largest, and the classes of 0.0% of the p"
    ):
        shipping_of(segmenter).ship(Moved(0.5))
    only_one = np.array([9e3, 0, 0], np.float32)[:, None, None]
    with pytest.raises(ValueError, match=r"points of mIoU, and the classes of \d+.\d% of the pixels of 4 images are"):
        shipping_of(segmenter, most_drop=0.05).ship(Moved(only_one), int8=True)


def test_objects_of_two_networks_agree_once_each_in_class_and_place() -> None:
    box = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 94], [0, 0, 100, 80]])
    one = Objects(box[:1], torch.ones(1), torch.tensor([1]))
    assert pairs(one, Objects(box[1:2], torch.ones(1), torch.tensor([1]))) == [(0, 0)]
    assert pairs(one, Objects(box[1:2], torch.ones(1), torch.tensor([0]))) == []
    assert pairs(one, Objects(box[2:], torch.ones(1), torch.tensor([1]))) == []
    assert pairs(one, Objects(box[:2], torch.ones(2), torch.tensor([1, 1]))) == [(0, 0)]
    assert pairs(one, Objects(box[:0], torch.ones(0), torch.tensor([], dtype=torch.int64))) == []


@pytest.mark.parametrize("to", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_integers_of_real_formats_are_smaller_and_nearly_the_same(kind: str, to: str, tmp_path: Path) -> None:
    format = FORMATS[to]
    try:
        format.require(writing=True, int8=True)
    except ImportError as error:
        pytest.skip(str(error))
    if kind == "detector":
        folder = saved_detector(tmp_path / "net", boxes_folder(tmp_path / "images"))
    else:
        head = {"head": SMALL_PYRAMID} if "pyramid" in kind else {}
        folder = saved_segmenter(tmp_path / "net", masks_folder(tmp_path / "images"), **head)
    shipping = shipping_of(folder, most_drop=1.0)
    plain, small = shipping.ship(format), shipping.ship(format, int8=True)
    assert small.bytes < 0.9 * plain.bytes
    assert plain.parity.agreement > 0.99
    assert 0.5 < small.parity.agreement < 1
    if to == "onnx":
        for each in (plain, small):
            session = import_module("onnxruntime").InferenceSession(str(folder / each.file))
            found = session.get_modelmeta().custom_metadata_map
            assert told_of(shipping.card).items() <= found.items()
            assert found["input"] == "pixels from 0 to 1, RGB; normalization is inside"


def test_without_images_a_detector_is_compared_on_noise(tmp_path: Path) -> None:
    network, card = load_saved(saved_detector(tmp_path / "net"))
    shipped = Shipping(network, card, tmp_path / "net").ship(FORMATS["torch"])
    assert (shipped.compared_on, shipped.parity.images, shipped.parity.drop) == ("noise", 16, 0)
    assert Card.read(tmp_path / "net").shape == (3, 64, 96)


@pytest.mark.parametrize("seed", range(5))
def test_the_decoder_of_model_cards_chooses_what_the_library_does(seed: int, loaded: Loaded, tmp_path: Path) -> None:
    pixels = letterboxed_picture(opened_picture(noise(tmp_path / "x.png", (150, 100), seed), 3), (64, 96))
    outputs = loaded.outputs(pixels)
    boxes, scores = (each[0].numpy() for each in outputs)
    for choice in (SHOWN, Choice(threshold=0.4, overlap=0.3, objects=7)):
        (wanted,) = choice.of(Detections(*outputs), (64, 96))
        found, best, classes = objects_of(boxes, scores, 64, 96, choice.threshold, choice.overlap, choice.objects)
        assert len(found) == len(wanted.labels) > 3
        np.testing.assert_array_equal(classes, wanted.labels.numpy())
        np.testing.assert_array_equal(best, wanted.scores.numpy())
        np.testing.assert_array_equal(found, wanted.boxes.numpy())


@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_the_code_of_a_model_card_runs_and_says_what_predict_says(
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder: Path = request.getfixturevalue(kind)
    command(monkeypatch, "export", folder, "--to", "hub", "torch", "onnx")
    card = (folder / "hub" / "README.md").read_text()
    assert {"detector": "object-detection", "segmenter": "image-segmentation"}[kind] in card
    assert str(folder.parent) not in card
    noise(folder / "hub" / "photo.jpg", (150, 100))
    monkeypatch.chdir(folder / "hub")
    capsys.readouterr()
    command(monkeypatch, "predict", ".", "photo.jpg")
    told = capsys.readouterr().out
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    first = 2 if kind == "detector" else 1
    assert len(blocks) == first + 3
    for block in blocks[first:]:
        exec("\n".join([*blocks[:first], block]), {"__name__": "snippet"})
        shown = capsys.readouterr().out.splitlines()
        assert len(shown) > 2
        if kind == "detector":
            assert [line.split()[0] for line in shown] == [line.split()[0] for line in told.splitlines()[1:]]
        else:
            assert {line.split()[0] for line in shown} == {"0", "1", "2"}
