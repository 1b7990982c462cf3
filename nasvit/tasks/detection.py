"""Object detection: average precision of a detector, as COCO's tools compute it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasvit.compute import Compute
from nasvit.data.targets import BoxTargets
from nasvit.heads.detections import EVALUATION, Choice, Detections, Objects
from nasvit.heads.head import Size
from nasvit.tasks.dense import DenseTask
from nasvit.tasks.task import Metric


@dataclass(frozen=True)
class DetectionScore:
    """Result of an evaluation of a detector.

    Args:
        map: mean average precision over all classes and over intersections over union from 0.5 to 0.95, 0 to 1.
        map50: the same at 0.5 alone.
        map75: the same at 0.75 alone.
        images: number of images evaluated.
        of_classes: the mean average precision of every class that there are objects of, by its number.
    """

    map: float
    map50: float
    map75: float
    images: int
    of_classes: Mapping[int, float] = field(default_factory=dict, compare=False)

    @property
    def value(self) -> float:
        """The number that networks are compared by: the mean average precision."""
        return self.map

    def numbers(self) -> dict[str, float]:
        """Return all measured numbers by name."""
        return {"map": self.map, "map50": self.map50, "map75": self.map75}

    def per_image(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Return nothing: average precision is no mean over images."""
        return {}


@dataclass(frozen=True)
class Detection(DenseTask):
    """Detection of objects by boxes.

    Args:
        classes: number of classes.
        head: the head that detectors are trained with.
        size: of the images, to which boxes are cut.
        choice: how objects are chosen among what the places say.
    """

    choice: Choice = EVALUATION
    metric = Metric("map")

    @property
    def chance_score(self) -> float:
        """The average precision of guessing."""
        return 0.0

    @property
    def chance_loss(self) -> float:
        """Infinite: a detector begins by saying that there is nothing anywhere, so that no loss tells of a collapse."""
        return float("inf")

    def meter(self) -> DetectionMeter:
        """Return a new meter, for one network."""
        return DetectionMeter(self.size, self.choice)


_OVERLAPS, _RECALLS = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0.0, 1.0, 101).tolist()
"""COCO's own thresholds: torchmetrics rounds them to float32, which changes average precision in the fourth digit."""


class _Judged(NamedTuple):
    """What is compared of an image, in pixels of the image as stored."""

    found: Objects
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor


class DetectionMeter:
    """Collects candidates, and chooses objects among them at the end.

    Args:
        size: of the images.
        choice: how objects are chosen.
    """

    def __init__(self, size: Size, choice: Choice = EVALUATION) -> None:
        self._size, self._choice = size, choice
        self._batches: list[tuple[Objects, BoxTargets]] = []

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in boxes ``(batch, places, 4)`` and scores ``(batch, places, classes)``, and targets of boxes.

        Instead of boxes and scores, Objects with an axis ``batch`` before all others may be given.
        """
        given = isinstance(outputs, Objects)
        candidates = outputs if given else self._choice.candidates_of(Detections(*outputs), self._size)
        self._batches.append((candidates, BoxTargets(*targets)))

    def score(self, compute: Compute) -> DetectionScore:
        """Return the average precision over all batches of all processes.

        Raises:
            ValueError: if there were no batches.
        """
        shares = compute.gather([each for batch in self._batches for each in self._images(*batch)])
        images = [each for share in shares for each in share]
        if not images:
            raise ValueError("evaluate got no batches; give it at least one batch of images with boxes")
        return compute.from_first(lambda: average_precision(images))

    def _images(self, candidates: Objects, targets: BoxTargets) -> list[_Judged]:
        found = self._choice.among(Objects(*map(Compute.host, candidates)))
        there = BoxTargets(*map(Compute.host, targets))
        return [_judged(*each) for each in zip(found, *there, strict=True)]


def _judged(found: Objects, boxes: Tensor, labels: Tensor, crowd: Tensor, areas: Tensor, scale: Tensor) -> _Judged:
    real = labels >= 0
    stored = found._replace(boxes=found.boxes / scale)
    return _Judged(stored, boxes[real] / scale, labels[real], crowd[real], areas[real])


def average_precision(images: list[_Judged]) -> DetectionScore:
    """Return the average precision of objects found in images, as pycocotools computes it.

    Raises:
        ImportError: if torchmetrics or faster-coco-eval is not installed.
    """
    try:
        from torchmetrics import detection
    except ImportError as error:
        raise ImportError(
            "detectors are scored by torchmetrics and faster-coco-eval; pip install 'nasvit[tasks]'"
        ) from error
    # Of several processes each may judge a network of its own: what is joined was joined before.
    metric = detection.MeanAveragePrecision(
        class_metrics=True,
        backend="faster_coco_eval",
        iou_thresholds=_OVERLAPS,
        rec_thresholds=_RECALLS,
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    for each in images:
        crowd = each.crowd.int()
        there = {"boxes": each.boxes, "labels": each.labels, "iscrowd": crowd, "area": each.areas}
        metric.update([each.found._asdict()], [there])
    result = metric.compute()
    classes = torch.atleast_1d(result["classes"]).tolist()
    of_classes = zip(classes, torch.atleast_1d(result["map_per_class"]).tolist(), strict=True)
    # -1 stands for no object at all.
    every, at_half, strict = (max(0.0, float(result[name])) for name in ("map", "map_50", "map_75"))
    known = {int(one): float(value) for one, value in of_classes if value >= 0}
    return DetectionScore(every, at_half, strict, len(images), known)
