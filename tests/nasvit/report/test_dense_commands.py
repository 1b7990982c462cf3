"""Detectors and segmenters from the command line: what they find is printed, written and drawn, and they are scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.data.loader import Loader
from nasvit.data.pictures import letterboxed_picture, opened_picture
from nasvit.data.targets import BoxTargets
from nasvit.heads.detections import SHOWN, Detections
from nasvit.report.drawing import color_of, with_boxes
from nasvit.report.found import classes_in, objects_in
from nasvit.report.loaded import Loaded
from tests.nasvit.export.classifiers import command
from tests.nasvit.export.dense_networks import boxes_folder, masks_folder, noise, saved_detector, saved_segmenter

Shown = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.mark.parametrize("stored", [(60, 40), (200, 50), (7, 90)])
def test_boxes_are_those_of_the_picture_as_it_is(stored: tuple[int, int]) -> None:
    """A box around a part of the served image is around the same part of the picture; what is outside is cut off."""
    height, width = stored
    scale = min(64 / height, 96 / width)
    boxes = torch.tensor([[[0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height], [0, 0, 2 * width, 3 * height]]])
    scores = torch.tensor([[[0.9, 0.0], [0.0, 0.8]]])
    found = objects_in((boxes * scale, scores), (64, 96), stored)
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.boxes[0], boxes[0, 0])
    assert (found.boxes[1] <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("stored", [(60, 40), (200, 50), (7, 90), (64, 96)])
def test_classes_are_those_of_the_picture_as_it_is(stored: tuple[int, int]) -> None:
    height, width = (max(1, int(side * min(64 / stored[0], 96 / stored[1]) + 1e-6)) for side in stored)
    scores = torch.full((1, 3, 64, 96), -1.0)
    scores[0, 2] = 9.0  # around the picture
    scores[0, 2, :height, :width] = 0
    scores[0, 1, :height, : width // 2] = 5
    found = classes_in(scores, (64, 96), stored)
    assert found.shape == stored
    boundary = width // 2 / width * stored[1]
    assert (found[:, : int(boundary) - stored[1] // 40] == 1).all()
    assert (found[:, int(np.ceil(boundary)) + 1 + stored[1] // 40 :] == 2).all()


def test_what_a_detector_finds_is_printed_written_and_drawn(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    picture = noise(tmp_path / "street.png", (300, 180))
    command(monkeypatch, "predict", detector, picture, "--out", tmp_path / "found.json")
    shown = capsys.readouterr().out
    (told,) = json.loads((tmp_path / "found.json").read_text())
    assert (told["width"], told["height"]) == (300, 180)
    found = told["found"]
    assert len(found) > 3
    assert f"street.png: {len(found)} objects" in shown
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0.3
    assert all(0 <= each["left"] <= each["right"] <= 300 and each["bottom"] <= 180 for each in found)

    half = scores[len(scores) // 2]
    command(monkeypatch, "predict", detector, picture, "--threshold", half, "--out", tmp_path / "found.csv")
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert [row["class"] for row in rows] == [each["class"] for each in found if each["score"] > half]
    assert f"  {found[0]['class']} {found[0]['score']:.1%} at {found[0]['left']:.0f}, " in shown

    command(monkeypatch, "predict", detector, picture, "--out", tmp_path / "boxes.png")
    before, after = (Image.open(path).convert("RGB") for path in (picture, tmp_path / "boxes.png"))
    assert before.size == after.size
    assert (np.asarray(before) != np.asarray(after)).any(2).mean() > 0.02
    command(monkeypatch, "predict", detector, picture, "--threshold", 1, "--out", tmp_path / "none.png")
    assert "no objects" in capsys.readouterr().out
    assert np.array_equal(Image.open(tmp_path / "none.png"), before)


def test_a_network_in_its_own_runtime_finds_the_same_as_an_exported_file(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(monkeypatch, "export", detector, "--to", "torch")
    picture = noise(tmp_path / "street.png", (300, 180))
    for network in (detector, detector / "program.pt2"):
        command(monkeypatch, "predict", network, picture, "--out", tmp_path / f"{network.name}.csv")
    one, other = (list(csv.DictReader((tmp_path / f"{n}.csv").open())) for n in (detector.name, "program.pt2"))
    assert [row["class"] for row in one] == [row["class"] for row in other]
    np.testing.assert_allclose(*([float(row["left"]) for row in rows] for rows in (one, other)), atol=0.02)


def test_boxes_are_drawn_where_they_are() -> None:
    drawn = np.asarray(with_boxes(Image.new("RGB", (100, 80)), [((20, 30, 60, 70), 1, "cat 90%")]))
    assert (drawn[30:71, 20] == color_of(1)).all()
    assert (drawn[70, 20:61] == color_of(1)).all()
    assert not drawn[40:69, 25:55].any()
    assert drawn[30 - 5, 20:40].any()  # the name, above it
    assert len({color_of(number) for number in range(200)}) == 200


def test_a_folder_gets_one_picture_of_each_file_and_two_of_a_segmenter(
    detector: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    for name in ("a/one.png", "b/one.png", "b/two.png"):
        noise(tmp_path / "in" / name, (90, 40))
    (tmp_path / "in" / "broken.png").write_bytes(b"nothing")
    command(monkeypatch, "predict", detector, tmp_path / "in", "--out", tmp_path / "boxes")
    assert "broken.png is left out" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "boxes").iterdir()) == ["one-2.png", "one.png", "two.png"]
    command(monkeypatch, "predict", segmenter, tmp_path / "in" / "b", "--out", tmp_path / "masks")
    names = ["one.png", "one_mask.png", "two.png", "two_mask.png"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == names


def test_what_a_segmenter_finds_is_the_share_of_every_class_and_a_mask(
    segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    picture = noise(tmp_path / "street.jpg", (120, 90))
    for out in ("found.csv", "street.png", "street_mask.png"):
        command(monkeypatch, "predict", segmenter, picture, "--out", tmp_path / out)
    shown = capsys.readouterr().out.splitlines()[0]
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert len(rows) > 1
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    mask = Image.open(tmp_path / "street_mask.png")
    assert (mask.size, mask.mode) == ((120, 90), "P")
    indices = np.asarray(mask)
    for row in rows:
        assert (indices == int(row["class"])).mean() == pytest.approx(float(row["share"]))
        assert f"{row['class']} {float(row['share']):.1%}" in shown
    loaded = Loaded(segmenter)
    (scores,) = loaded.outputs(letterboxed_picture(opened_picture(picture, 3), (64, 96)))
    assert (classes_in(scores, (64, 96), (90, 120)) == indices).all()
    drawn = Image.open(tmp_path / "street.png")
    assert drawn.width == 120
    assert drawn.height > 90  # the legend


def test_a_detector_is_scored_as_its_training_scores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    source = boxes_folder(tmp_path / "coco")
    folder = saved_detector(tmp_path / "net")
    command(monkeypatch, "evaluate", folder, source, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert (numbers["images"], numbers["source"], set(numbers["per_class"])) == (4, source, {"cat", "dog"})
    assert np.mean(list(numbers["per_class"].values())) == pytest.approx(numbers["map"])
    assert numbers["map"] <= numbers["map50"] <= 1
    assert f"mAP {numbers['map']:.2%}" in capsys.readouterr().out


def test_a_perfect_detector_scores_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = boxes_folder(tmp_path / "coco"), saved_detector(tmp_path / "net")
    there: dict[str, BoxTargets] = {}

    def says_what_is_there(self: Loaded, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        targets = there["targets"]
        labels = torch.nn.functional.one_hot(targets.labels.clamp(min=0), 2) * (targets.labels >= 0)[..., None]
        return targets.boxes, labels.float()

    monkeypatch.setattr(Loaded, "outputs", says_what_is_there)
    batches = Loader.evaluation_batches

    def seen(self: Loader) -> Iterator[Any]:
        for pixels, targets in batches(self):
            there["targets"] = targets
            yield pixels, targets

    monkeypatch.setattr(Loader, "evaluation_batches", seen)
    command(monkeypatch, "evaluate", folder, source, "--output", tmp_path / "numbers.json")
    assert json.loads((tmp_path / "numbers.json").read_text())["map"] == pytest.approx(1)


def test_a_segmenter_is_scored_class_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    source, folder = masks_folder(tmp_path / "masks"), saved_segmenter(tmp_path / "net")
    command(monkeypatch, "evaluate", folder, source, "--output", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["images"] == 4
    assert 0 < numbers["pixel_accuracy"] < 1
    assert np.mean([each for each in numbers["per_class"].values() if each is not None]) == pytest.approx(
        numbers["miou"]
    )
    assert f"mIoU {numbers['miou']:.2%}, pixel accuracy {numbers['pixel_accuracy']:.2%}" in capsys.readouterr().out


def test_costs_are_those_of_backbone_and_head(
    detector: Path, segmenter: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    for folder, answer in ((detector, "boxes and scores"), (segmenter, "scores of pixels")):
        command(monkeypatch, "profile", folder)
        shown = capsys.readouterr().out
        assert "at 96x64" in shown
        assert answer in shown
        numbers = [int(line.split("│")[3].replace(",", "")) for line in shown.splitlines() if line.startswith("│")]
        assert sum(numbers[:-1]) == numbers[-1]  # multiply-adds of all blocks and the head are those of the whole
        assert len(numbers) > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "{det}", "{jpg}", "--top", "3"), "--top 3 is for classifiers; this network is for detection"),
        (
            ("predict", "{seg}", "{jpg}", "--threshold", "0.3"),
            "--threshold 0.3 is for detectors; this network is for seg",
        ),
        (("predict", "{det}", "{jpg}", "--threshold", "3"), "--threshold: 3.0 is illegal; legal: numbers from 0 to 1"),
        (
            ("predict", "{det}", "{jpg}", "{jpg}", "--out", "x.png"),
            "is one picture, and there are 2; give the name of a",
        ),
        (
            ("predict", "{det}", "{jpg}", "--out", "x.txt"),
            "--out x.txt: legal are names that end in .csv or .json, for",
        ),
        (("predict", "{seg}", "{jpg}", "--out", "x_mask.jpg"), "would not survive as .jpg; name it x_mask.png"),
        (("predict", "{det}"), "of which images?"),
        (("evaluate", "{det}", "digits"), "is none for detection; legal are coco:FOLDER, voc:FOLDER"),
        (("export", "{det}", "--to", "web"), "--to web is for classification; this network is for detection"),
    ],
)
def test_mistakes_are_said_in_words(
    words: tuple[str, ...],
    message: str,
    detector: Path,
    segmenter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shown,
) -> None:
    picture = noise(tmp_path / "street.jpg", (60, 40))
    with pytest.raises(SystemExit):
        command(monkeypatch, *(word.format(det=detector, seg=segmenter, jpg=picture) for word in words))
    assert message in capsys.readouterr().err


def test_objects_are_those_that_the_choice_of_all_images_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    corners, sides = (torch.rand(1, 50, 2, generator=generator) * 60 for _ in range(2))
    boxes = torch.cat([corners, corners + sides], 2)
    scores = torch.rand(1, 50, 3, generator=generator)
    found = objects_in((boxes, scores), (64, 96), (64, 96))
    (wanted,) = SHOWN.of(Detections(boxes, scores), (64, 96))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted))


def test_a_report_says_which_commands_show_what_a_detector_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved_detector(tmp_path / "net", boxes_folder(tmp_path / "coco"))
    command(monkeypatch, "report", folder, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "the network is for detection; nasvit evaluate scores it class by class" in page
