"""Detectors with our heads are torchvision's: equal losses, equal detections, for the same maps and weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS as TorchvisionFCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from nasvit.data.targets import BoxTargets
from nasvit.heads.detections import Choice, Detections
from nasvit.heads.fcos import FCOS
from nasvit.tasks.detection import Detection
from search_spaces.values import FieldError

SIZE, CLASSES, CHANNELS = (128, 160), 3, [16, 24, 48]


def maps(batch: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = [(SIZE[0] // stride, SIZE[1] // stride) for stride in (8, 16, 32)]
    return [torch.randn(batch, channels, *side, generator=generator) for channels, side in zip(CHANNELS, sides)]


def objects(batch: int = 4, most: int = 12, seed: int = 0) -> BoxTargets:
    """Random objects of all sizes; the last image has none, the first fewer than the others."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, most, 2, generator=generator) * torch.tensor([150.0, 118.0])
    sides = torch.rand(batch, most, 2, generator=generator) * 80 + 4
    boxes = torch.cat([corner, (corner + sides).minimum(torch.tensor([160.0, 128.0]))], dim=2)
    labels = torch.randint(0, CLASSES, (batch, most), generator=generator)
    labels[0, most // 2 :] = labels[-1] = -1
    crowd = torch.zeros(batch, most, dtype=torch.bool)
    return BoxTargets(boxes, labels, crowd, sides.prod(2), torch.ones(batch))


class Theirs:
    """Torchvision's FCOS around the layers of one of our heads."""

    def __init__(self, head: Any, extra: bool) -> None:
        backbone = nn.Identity()
        backbone.out_channels = 64  # type: ignore[assignment]
        strides = (8, 16, 32, 64, 128) if extra else (8, 16, 32)
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        self.head, self.layers = head, FCOSHead(64, 1, CLASSES, 2)
        self.layers.classification_head, self.layers.regression_head = head.classify, head.regress
        self.fcos = TorchvisionFCOS(
            backbone, CLASSES, anchor_generator=anchors, head=self.layers, score_thresh=0.05, nms_thresh=0.6
        )

    def of(self, given: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        features = self.head.neck(given)
        images = ImageList(torch.zeros(len(given[0]), 3, *SIZE), [SIZE] * len(given[0]))
        counts = [each.shape[2] * each.shape[3] for each in features]
        return self.layers(features), self.fcos.anchor_generator(images, features), counts

    def loss(self, given: list[Tensor], targets: BoxTargets) -> Tensor:
        outputs, anchors, counts = self.of(given)
        images = [
            {"boxes": boxes[labels >= 0], "labels": labels[labels >= 0]}
            for boxes, labels in zip(targets.boxes, targets.labels)
        ]
        losses = self.fcos.compute_loss(images, outputs, anchors, counts)
        return torch.stack(list(losses.values())).sum()

    def detections(self, given: list[Tensor]) -> list[dict[str, Tensor]]:
        outputs, anchors, counts = self.of(given)
        levels = {name: list(each.split(counts, 1)) for name, each in outputs.items()}
        return self.fcos.postprocess_detections(
            levels, [list(each.split(counts)) for each in anchors], [SIZE] * len(given[0])
        )


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradients_are_those_of_torchvision(extra: bool, seed: int) -> None:
    head = FCOS(extra=extra)
    module, targets = head.build(CHANNELS, CLASSES, seed=seed).train(), objects(seed=seed)
    theirs = Theirs(module, extra).loss(maps(seed=seed), targets)
    theirs.backward()
    expected = [parameter.grad for parameter in module.parameters()]
    module.zero_grad()
    objective = Detection(CLASSES, head, SIZE).objective()
    learned = objective.of_batch(torch.zeros(4, 3, *SIZE), targets, torch.autocast("cpu", enabled=False))
    ours = objective.loss(module(maps(seed=seed), SIZE), learned)
    ours.backward()
    torch.testing.assert_close(ours, theirs)
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_detections_are_those_of_torchvision() -> None:
    module = FCOS().build(CHANNELS, CLASSES).eval()
    with torch.no_grad():
        for parameter in module.classify.cls_logits.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
        found = Choice().of(Detections(*module(maps(), SIZE)), SIZE)
        expected = Theirs(module, extra=False).detections(maps())
    assert all(len(each.boxes) for each in found)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.boxes, theirs["boxes"])
        assert torch.equal(ours.scores, theirs["scores"])
        assert torch.equal(ours.labels, theirs["labels"])


def test_parts_of_a_batch_have_the_loss_of_the_whole() -> None:
    head = FCOS()
    module, targets = head.build(CHANNELS, CLASSES).train(), objects()
    objective = Detection(CLASSES, head, SIZE).objective()
    learned = objective.of_batch(torch.zeros(4, 3, *SIZE), targets, torch.autocast("cpu", enabled=False))
    outputs = module(maps(), SIZE)
    whole = objective.loss(outputs, learned)
    parts = [
        objective.loss(outputs[rows], tuple(each[rows] for each in learned)) for rows in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(whole, parts[0] / 4 + parts[1] * 3 / 4)


def test_crowds_teach_nothing() -> None:
    targets, head = objects(), FCOS()
    crowd = targets._replace(crowd=torch.ones_like(targets.crowd))
    labels, _, examples = head.learned(crowd, SIZE, CLASSES)
    assert int((labels >= 0).sum()) == 0
    assert float(examples.sum()) == 0
    assert int((head.learned(targets, SIZE, CLASSES)[0] >= 0).sum()) > 0


def test_a_batch_without_objects_has_a_finite_loss() -> None:
    head = FCOS()
    empty = BoxTargets(
        torch.zeros(2, 0, 4), torch.zeros(2, 0).long(), torch.zeros(2, 0).bool(), torch.zeros(2, 0), torch.ones(2)
    )
    objective = Detection(CLASSES, head, SIZE).objective()
    learned = objective.of_batch(torch.zeros(2, 3, *SIZE), empty, torch.autocast("cpu", enabled=False))
    assert torch.isfinite(objective.loss(head.build(CHANNELS, CLASSES).train()(maps(2), SIZE), learned))


def test_a_student_that_says_what_its_teacher_says_has_the_least_loss() -> None:
    head = FCOS()
    taught = head.build(CHANNELS, CLASSES).train()(maps(), SIZE).detach()
    taught[..., :CLASSES] += 4 * torch.rand(taught[..., :CLASSES].shape, generator=torch.Generator().manual_seed(1))
    outputs = taught.clone()
    same = head.imitation(outputs, taught)
    for change in (0.3, -0.3):
        other = outputs + change
        other[..., -5:-1].clamp_(min=0)  # distances to edges are never negative
        assert head.imitation(other, taught) > same


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"strides": (8, 32)}, "each twice"), ({"channels": 20}, "multiples of 8"), ({"convs": -1}, "numbers from 0")],
)
def test_what_no_head_has_is_refused_in_words(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(FieldError, match=told):
        FCOS(**wrong)


def test_outputs_for_another_size_are_refused_with_both_numbers() -> None:
    head = FCOS()
    outputs = head.build(CHANNELS, CLASSES).train()(maps(), SIZE)
    learned = head.learned(objects(), (96, 96), CLASSES)
    with pytest.raises(ValueError, match="420 outputs for an image of 96x96 pixels.*189"):
        head.loss(outputs, learned, (96, 96))


def test_every_place_can_learn_where_edges_are_from_the_first_step_on() -> None:
    """Behind a ReLU that starts at 0 a whole training may never find a box."""
    edges = FCOS().build(CHANNELS, CLASSES).train()(maps(), SIZE)[..., -5:-1]
    assert edges.min() > 0.5
