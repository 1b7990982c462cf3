"""Imitation of a teacher's maps: which maps, what it teaches, and which heads cannot be compared."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from nasvit.heads.dense import DenseNetwork
from nasvit.heads.fcos import FCOS
from nasvit.heads.head import Shown
from nasvit.heads.kinds import AnyHead
from nasvit.heads.places import map_sizes
from nasvit.heads.retinanet import RetinaNet
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.heads.ssdlite import SSDLite
from nasvit.tasks.by_head import task_of
from nasvit.tasks.classification import Classification
from nasvit.tasks.dense import DenseTask
from nasvit.tasks.distillation import Distillation
from search_spaces.values import FieldError
from tests.nasvit.tasks.test_contract import BATCH, CLASSES, SIZE, Maps, boxes, images, masks

HEADS: list[AnyHead] = [
    FCOS(channels=16, convs=1, strides=(4, 8), extra=True),
    RetinaNet(channels=16, strides=(4, 8)),
    LRASPP(channels=16, strides=(4, 8)),
    PyramidSegmentation(channels=16, strides=(4, 8)),
]


def network(head: AnyHead, seed: int) -> DenseNetwork:
    torch.manual_seed(seed)
    return DenseNetwork(Maps(), head.build([8, 8], CLASSES, seed=seed)).eval()


def task(head: AnyHead) -> DenseTask:
    made = task_of(head, CLASSES, SIZE)
    assert isinstance(made, DenseTask)
    return made


def learned_of(head: AnyHead, **options: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """An objective with a teacher that teaches alone, and what it makes of a batch."""
    objective = task(head).objective(teacher=network(head, 0), distillation=Distillation(1.0), **options)
    targets = boxes() if head.task == "detection" else masks()
    return objective, objective.of_batch(images(), targets, nullcontext())


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_what_is_imitated_is_the_maps_that_all_networks_with_a_head_have_alike(head: AnyHead) -> None:
    student, shown = network(head, 1), head.shown
    assert shown is not None
    plain = student(images())
    student.head.shows_maps = True
    assert type(student(images())) is type(plain)  # in evaluation nothing is shown
    said = student.train()(images())
    assert isinstance(said, Shown)
    strides, channels = shown
    assert [each.shape for each in said.maps] == [(BATCH, channels, *size) for size in map_sizes(SIZE, strides)]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_maps_teach_the_backbone_of_a_student_that_has_others_and_nothing_where_they_are_the_same(
    head: AnyHead,
) -> None:
    losses: dict[tuple[int, float], Tensor] = {}
    student, weight = network(head, 1), 100.0
    for maps in (0.0, weight):
        objective, learned = learned_of(head, maps=maps)
        for seed, each in ((0, network(head, 0)), (1, student)):
            objective.prepare(each)
            each.head.training = True  # layers inside evaluate, or batch norms would tell the same networks apart
            losses[seed, maps] = objective.loss(each(images()), learned)
            halves = [slice(0, BATCH // 2), slice(BATCH // 2, BATCH)]
            parts = [objective.loss(each(images()[part]), tuple(one[part] for one in learned)) for part in halves]
            torch.testing.assert_close(torch.stack(parts).mean(), losses[seed, maps])
    torch.testing.assert_close(losses[0, weight], losses[0, 0.0], rtol=0, atol=1e-4)
    of_maps = losses[1, weight] - losses[1, 0.0]
    assert of_maps > 1e-2
    gradients = torch.autograd.grad(of_maps, [*student.parameters()], allow_unused=True)
    taught = {
        name
        for (name, _), each in zip(student.named_parameters(), gradients, strict=True)
        if each is not None and each.abs().max() > 1e-5
    }
    before = ("backbone.", "head.neck.", "head.layers.cbr.", "head.layers.scale.")  # the layers that make the maps
    assert {"backbone.fine.weight", "backbone.coarse.weight"} <= taught
    assert all(name.startswith(before) for name in taught)


def test_heads_that_have_no_maps_alike_are_refused_saying_what_differs() -> None:
    for ours, theirs, told in (
        (
            SSDLite(strides=(4, 8)),
            SSDLite(strides=(4, 8)),
            "teacher.maps: ssdlite reads the backbone's maps as they are",
        ),
        (
            HEADS[1],
            RetinaNet(channels=24, strides=(4, 8)),
            r"retinanet with strides \[4, 8\] and 24 channels, the student",
        ),
        (
            HEADS[2],
            HEADS[3],
            r"the teacher's head is pyramid with .*student's lraspp with strides \[8\] and 16 channels",
        ),
        (HEADS[1], RetinaNet(channels=16, strides=(8,)), "teacher: is no single network with the head RetinaNet"),
    ):
        teacher = DenseNetwork(Maps(), theirs.build([8] * len(theirs.strides), CLASSES))
        with pytest.raises(FieldError, match=told):
            task(ours).objective(teacher=teacher, maps=1.0)
    with pytest.raises(FieldError, match="teacher.maps: 1.0 is for detection and segmentation; legal here: 0"):
        Classification(3).objective(teacher=network(HEADS[0], 0), maps=1.0)
