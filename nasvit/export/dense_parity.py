"""Agreement of a detector's or segmenter's file with the network that it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasvit.compute import ALONE
from nasvit.data.targets import BoxTargets
from nasvit.export.card import Card
from nasvit.export.parity import Comparison, Outputs, check_finite
from nasvit.heads.detections import SHOWN, Detections, Objects
from nasvit.heads.head import Size
from nasvit.specs import DenseSpec, DenseWidthsSpec
from nasvit.tasks.by_head import task_of
from nasvit.tasks.task import Meter, Task

SAME_PLACE = 0.9
"""Intersection over union from which two boxes are at the same place."""


def task_of_network(card: Card) -> Task:
    """Return the task of a saved detector or segmenter."""
    spec, (_, height, width) = card.spec, card.shape
    assert isinstance(spec, (DenseSpec, DenseWidthsSpec))
    return task_of(spec.head, len(card.classes), (height, width))


def for_meter(outputs: tuple[Tensor, ...], card: Card) -> Any:
    """Return what a meter takes of what a file with its decoder inside returned: objects, or scores of 0 and 1."""
    if card.spec.task == "detection":
        boxes, scores, labels = outputs
        return Objects(boxes[None], scores[None], labels.long()[None])
    return torch.nn.functional.one_hot(outputs[0].long(), len(card.classes)).movedim(-1, 1).float()


def one_by_one(batches: Iterable[tuple[Tensor, Any]]) -> Iterator[tuple[Tensor, Any]]:
    """Yield the images of batches one at a time, with their targets of boxes or None."""
    for pixels, targets in batches:
        for at in range(len(pixels)):
            one = slice(at, at + 1)
            yield pixels[one], None if targets is None else BoxTargets(*(each[one] for each in targets))


@dataclass(frozen=True)
class BoxParity:
    """How a file's boxes and scores compare with the network's.

    Args:
        images: number of images.
        objects: objects that the network finds in them, of a score of 0.3 at least.
        deviation: the largest difference of a score, as a share of the network's largest score.
        box_deviation: the largest difference of an edge of a box, in pixels.
        longest: the longer side of the images, in pixels.
        agreement: share of the objects of both that the other one finds, too: of the same class, with a box whose
            intersection over union is at least 0.9; 1 where neither finds any.
        map: mean average precision of the file, 0 to 1; None: nobody knows what is in the images.
        map_of_network: the same of the network.
    """

    images: int
    objects: int
    deviation: float
    box_deviation: float
    longest: int
    agreement: float
    map: float | None = None
    map_of_network: float | None = None

    metric: ClassVar[str] = "mAP"
    most_others: ClassVar[float] = 1.0  # rounding moves small boxes by a tenth of a side; precision tells what it costs

    @property
    def drop(self) -> float:
        """The average precision that the file loses; 0 where it is not known."""
        return 0.0 if self.map is None or self.map_of_network is None else self.map_of_network - self.map

    @property
    def strays(self) -> float:
        """The larger deviation: of a score by the largest score, of an edge by the longer side of the images."""
        return max(self.deviation, self.box_deviation / self.longest)

    def told(self) -> str:
        """Return how far outputs deviate, in words."""
        pixels, share = f"{self.box_deviation:.2g} pixels", f"{self.deviation:.2g} of the largest"
        return f"its boxes deviate by {pixels}, its scores by {share}"

    def others(self) -> str:
        """Return how many objects are others, in words."""
        return f"{1 - self.agreement:.1%} of the objects in {self.images} images are others"

    def shown(self) -> dict[str, str]:
        """Return the columns of a table."""
        return {
            "largest deviation": f"{self.box_deviation:.1e} px, {self.deviation:.1e}",
            "same objects": f"{self.agreement:.2%}" if self.objects else "none found",
            self.metric: "" if self.map is None else f"{self.map:.2%}",
            "of the network": "" if self.map_of_network is None else f"{self.map_of_network:.2%}",
        }


@dataclass(frozen=True)
class ObjectParity(BoxParity):
    """How the objects of a file with its decoder inside compare with those chosen among what the network says.

    The deviations are those of objects that both find; one that comes behind a worse one counts by the difference of
    their scores. Average precision is that of the chosen objects on both sides.
    """

    @property
    def strays(self) -> float:
        """The largest of both deviations and the share of objects that are others."""
        return max(super().strays, 1 - self.agreement)


@dataclass(frozen=True)
class MaskParity:
    """How a file's classes of pixels compare with the network's.

    Args:
        images: number of images.
        deviation: the largest difference of a score, as a share of the network's largest score.
        agreement: share of the pixels to which both give the same class.
        miou: mean intersection over union of the file, 0 to 1; None: nobody knows what the images show.
        miou_of_network: the same of the network.
    """

    images: int
    deviation: float
    agreement: float
    miou: float | None = None
    miou_of_network: float | None = None

    metric: ClassVar[str] = "mIoU"
    most_others: ClassVar[float] = 0.1

    @property
    def drop(self) -> float:
        """The intersection over union that the file loses; 0 where it is not known."""
        return 0.0 if self.miou is None or self.miou_of_network is None else self.miou_of_network - self.miou

    @property
    def strays(self) -> float:
        """The largest deviation."""
        return self.deviation

    def told(self) -> str:
        """Return how far outputs deviate, in words."""
        return f"its scores deviate by {self.deviation:.2g} of the largest"

    def others(self) -> str:
        """Return how many pixels have other classes, in words."""
        return f"the classes of {1 - self.agreement:.1%} of the pixels of {self.images} images are others"

    def shown(self) -> dict[str, str]:
        """Return the columns of a table."""
        return {
            "largest deviation": f"{self.deviation:.1e}",
            "same class": f"{self.agreement:.2%}",
            self.metric: "" if self.miou is None else f"{self.miou:.2%}",
            "of the network": "" if self.miou_of_network is None else f"{self.miou_of_network:.2%}",
        }


class _Scored(Comparison):
    """What both comparisons share: the deviation of scores, and what both are worth by the task's metric."""

    def __init__(self, card: Card) -> None:
        self.card, self.task = card, task_of_network(card)
        self.images, self._largest, self._apart = 0, 0.0, 0.0
        self._meters: tuple[Meter, Meter] | None = None

    def update(self, wanted: Outputs, found: Outputs, targets: Any) -> None:
        check_finite(wanted, found)
        theirs, ours = (tuple(map(torch.from_numpy, each)) for each in (wanted, found))
        self.images += len(theirs[-1])
        self._largest = max(self._largest, float(theirs[-1].abs().max()))
        judged = self._compare(theirs, ours)
        if targets is not None:
            self._meters = self._meters or (self.task.meter(), self.task.meter())
            for meter, outputs in zip(self._meters, judged):
                meter.update(outputs, targets)

    def _compare(self, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> tuple[Any, Any]:
        """Take in the outputs of a batch; return what meters take of both."""
        raise NotImplementedError

    def _note(self, apart: Tensor) -> None:
        """Take in by how much scores differ."""
        self._apart = max(self._apart, float(apart.abs().max())) if apart.numel() else self._apart

    @property
    def deviation(self) -> float:
        """The largest difference of a score, as a share of the network's largest."""
        return self._apart / max(self._largest, 1e-12)

    def values(self) -> tuple[float | None, float | None]:
        """Return the metric of the file and that of the network; None without targets."""
        if self._meters is None:
            return None, None
        theirs, ours = (meter.score(ALONE).value for meter in self._meters)
        return ours, theirs


class BoxComparison(_Scored):
    """Compares the boxes and scores of a detector.

    Args:
        card: card of the network.
    """

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        _, height, width = card.shape
        self._size: Size = height, width
        self._box_apart, self._objects, self._of_both, self._matched = 0.0, 0, 0, 0

    def _compare(self, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> tuple[Any, Any]:
        self._note(ours[-1] - theirs[-1])
        self._note_boxes(ours[0] - theirs[0])
        both = (SHOWN.of(Detections(*outputs), self._size) for outputs in (theirs, ours))
        for one, other in zip(*both, strict=True):
            self._count(one, other)
        return theirs, ours

    def _note_boxes(self, apart: Tensor) -> None:
        """Take in by how much edges of boxes differ."""
        self._box_apart = max(self._box_apart, float(apart.abs().max()))

    def _count(self, one: Objects, other: Objects) -> list[tuple[int, int]]:
        """Take in the objects of an image that the network and the file find; return the pairs of the same ones."""
        same = pairs(one, other)
        self._objects += len(one.labels)
        self._of_both += len(one.labels) + len(other.labels)
        self._matched += 2 * len(same)
        return same

    def parity(self) -> BoxParity:
        agreement = self._matched / self._of_both if self._of_both else 1.0
        deviations = self.deviation, self._box_apart, max(self._size)
        return BoxParity(self.images, self._objects, *deviations, agreement, *self.values())


class ObjectComparison(BoxComparison):
    """Compares the objects of a detector's file with its decoder inside; it takes one image at a time."""

    def _compare(self, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> tuple[Any, Any]:
        (wanted,) = SHOWN.of(Detections(*theirs), self._size)
        given = for_meter(ours, self.card)
        found = Objects(*(each[0] for each in given))
        if same := self._count(wanted, found):
            mine, other = torch.tensor(same).unbind(1)
            self._note(found.scores[other] - wanted.scores[mine])
            self._note_boxes(found.boxes[other] - wanted.boxes[mine])
        self._note(found.scores.diff().clamp(min=0))
        return Objects(*(each[None] for each in wanted)), given

    def parity(self) -> ObjectParity:
        return ObjectParity(**vars(super().parity()))


class MaskComparison(_Scored):
    """Compares the scores of a segmenter.

    Args:
        card: card of the network.
    """

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self._same, self._pixels = 0, 0

    def _compare(self, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> tuple[Any, Any]:
        self._note(ours[-1] - theirs[-1])
        self._count(theirs[0].argmax(1) == ours[0].argmax(1))
        return theirs[0], ours[0]

    def _count(self, same: Tensor) -> None:
        self._same, self._pixels = self._same + int(same.sum()), self._pixels + same.numel()

    def parity(self) -> MaskParity:
        return MaskParity(self.images, self.deviation, self._same / self._pixels, *self.values())


class ClassesComparison(MaskComparison):
    """Compares the classes of pixels of a segmenter's file with its decoder inside.

    A pixel of another class deviates by how much the network's score of that class is below its best one.
    """

    def _compare(self, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> tuple[Any, Any]:
        scores, classes = theirs[0], ours[0].long()
        self._note(scores.amax(1) - scores.gather(1, classes[:, None])[:, 0])
        self._count(scores.argmax(1) == classes)
        return scores, for_meter(ours, self.card)


def pairs(one: Objects, other: Objects) -> list[tuple[int, int]]:
    """Return the objects of an image that two networks agree on: of one class, at the same place, each once."""
    from torchvision.ops import box_iou

    same = (box_iou(one.boxes, other.boxes) >= SAME_PLACE) & (one.labels[:, None] == other.labels)
    free, found = torch.ones(len(other.labels), dtype=torch.bool), list[tuple[int, int]]()
    for number, row in enumerate(same):
        candidates = (row & free).nonzero()
        if len(candidates):
            free[candidates[0, 0]] = False
            found.append((number, int(candidates[0, 0])))
    return found
