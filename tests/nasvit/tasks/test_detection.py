"""The average precision of detectors is what COCO's own tools compute from the same boxes."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasvit.compute import ALONE
from nasvit.data import NO_AUGMENTATION, Loader, Normalization, load_images
from nasvit.data.targets import BoxTargets
from nasvit.heads.detections import Choice
from nasvit.heads.fcos import FCOS
from nasvit.tasks.detection import Detection, DetectionMeter
from tests.nasvit.started import run
from tests.shared import SHARED, needs_shared

pytest.importorskip("torchmetrics")
coco = pytest.importorskip("pycocotools.coco")

COCO_SAMPLE = SHARED / "data" / "coco_tiny"
EVERYTHING = Choice(threshold=0.0, overlap=1.0)  # nothing is left out, so that both tools judge the same boxes


def by_pycocotools(annotations: Path, found: list[dict[str, Any]], images: list[int]) -> dict[str, float]:
    """Return mAP, mAP50 and mAP75 of results in COCO's form."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        there = coco.COCO(str(annotations))
        judged = COCOeval(there, there.loadRes(found), "bbox")
        judged.params.imgIds = images
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return {"map": judged.stats[0], "map50": judged.stats[1], "map75": judged.stats[2]}


class Guesses:
    """A detector that sees most objects, some twice, somewhat displaced.

    No two scores are equal, since tools put images in different orders.
    """

    def __init__(self, classes: int) -> None:
        self.classes, self.rng = classes, np.random.default_rng(0)
        self.scores = self.rng.permutation(2**20) / 2**20

    def of(self, boxes: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes and scores for an image with these objects."""
        real, known = boxes[labels >= 0].numpy(), labels[labels >= 0].numpy()
        sides = np.concatenate([real[:, 2:] - real[:, :2]] * 2, axis=1)
        places = [real + self.rng.normal(0, 0.08, real.shape) * sides for _ in range(2)]
        found = np.concatenate([*places, self.rng.random((3, 4)) * 40 + [0, 0, 60, 60]])
        scores = self.drawn(len(found) * self.classes).reshape(-1, self.classes) / 4
        for times in range(2):
            scores[np.arange(len(known)) + times * len(known), known] *= 4
        return torch.tensor(found, dtype=torch.float32), torch.tensor(scores, dtype=torch.float32)

    def drawn(self, count: int) -> np.ndarray:
        """Return numbers from 0 to 1 that were not returned before."""
        drawn, self.scores = self.scores[:count], self.scores[count:]
        return drawn


@needs_shared
def test_the_metric_is_that_of_pycocotools_crowds_and_empty_images_included() -> None:
    images = load_images(f"coco:{COCO_SAMPLE}", "test", task="detection")
    loader = Loader(
        images,
        batch_size=8,
        normalization=Normalization((0.5,) * 3, (0.5,) * 3, "a test"),
        augmentation=NO_AUGMENTATION,
        image_size=(640, 640),
    )
    annotations = COCO_SAMPLE / "annotations" / "instances_val2017.json"
    content = json.loads(annotations.read_text())
    numbers = {entry["file_name"]: entry["id"] for entry in content["images"]}
    names = [category["id"] for category in content["categories"]]
    meter, guesses = DetectionMeter((640, 640), EVERYTHING), Guesses(len(images.classes))
    found, seen, place = list[dict[str, Any]](), list[int](), 0
    for _, targets in loader.evaluation_batches():
        rows = BoxTargets(*targets)
        for boxes, labels, crowd, areas, scale in zip(*rows):
            guess = guesses.of(boxes, labels)
            one = BoxTargets(boxes[None], labels[None], crowd[None], areas[None], scale[None])
            meter.update(tuple(each[None] for each in guess), one)
            number = numbers[Path(images.images.store.name(place)).name]  # type: ignore[union-attr]
            (objects,) = EVERYTHING.of(_detections(*guess), (640, 640))
            for box, score, label in zip(*objects):
                x, y, right, bottom = (box / scale).tolist()
                found.append(
                    {
                        "image_id": number,
                        "category_id": names[int(label)],
                        "bbox": [x, y, right - x, bottom - y],
                        "score": float(score),
                    }
                )
            seen.append(number)
            place += 1
    ours = meter.score(ALONE)
    assert 0.05 < ours.map < 0.95
    assert ours.numbers() == pytest.approx(by_pycocotools(annotations, found, seen), abs=1e-6)


def _detections(boxes: torch.Tensor, scores: torch.Tensor) -> Any:
    from nasvit.heads.detections import Detections

    return Detections(boxes[None], scores[None])


def test_finding_everything_is_1_and_finding_nothing_is_0() -> None:
    boxes = torch.tensor([[[10.0, 10.0, 40.0, 40.0], [50.0, 10.0, 90.0, 60.0]]])
    targets = BoxTargets(
        boxes, torch.tensor([[0, 1]]), torch.zeros(1, 2).bool(), torch.tensor([[900.0, 2000.0]]), torch.ones(1)
    )
    task = Detection(2, FCOS(), (96, 96))
    for scores, expected in ((torch.eye(2)[None], 1.0), (torch.zeros(1, 2, 2), 0.0)):
        meter = task.meter()
        meter.update((boxes, scores), targets)
        score = meter.score(ALONE)
        assert score.map == score.map50 == pytest.approx(expected)
        assert score.images == 1
        assert dict(score.of_classes) == pytest.approx({0: expected, 1: expected})


def test_an_evaluation_without_images_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="got no batches"):
        Detection(2, FCOS(), (96, 96)).meter().score(ALONE)


def test_boxes_are_judged_in_pixels_of_the_image_as_stored() -> None:
    """An object of 60x60 stored pixels is a medium one, whatever size it is served at."""
    task = Detection(1, FCOS(), (96, 96))
    scores = []
    for scale in (1.0, 0.25):
        boxes = torch.tensor([[[8.0, 8.0, 68.0, 68.0]]]) * scale
        targets = BoxTargets(
            boxes, torch.zeros(1, 1).long(), torch.zeros(1, 1).bool(), torch.tensor([[3600.0]]), torch.tensor([scale])
        )
        meter = task.meter()
        meter.update((boxes + scale * 6, torch.ones(1, 1, 1)), targets)
        scores.append(meter.score(ALONE).map)
    assert scores[0] == scores[1] > 0


def test_processes_judge_networks_of_their_own_and_one_together(tmp_path: Path) -> None:
    done = run("tests.nasvit.tasks.judging", str(tmp_path), processes=2)
    assert done.status == 0, done.said
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["alone"] == [1.0]
    assert len(second["alone"]) == 2
    assert 0.1 < second["alone"][0] == second["alone"][1] < 1.0
    assert second["alone"][0] < first["together"] == second["together"] < 1.0
