"""What every task keeps: a score by its metric, an objective that parts of a batch share, and what guessing is worth.

A new task is a class, and an entry in :data:`CASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nasvit.compute import ALONE
from nasvit.data.targets import BoxTargets
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.fcos import FCOS
from nasvit.heads.segmentation import PyramidSegmentation
from nasvit.tasks.classification import Classification
from nasvit.tasks.detection import Detection
from nasvit.tasks.segmentation import Segmentation
from nasvit.tasks.task import Task

CLASSES, SIZE, BATCH = 3, (32, 48), 6
BOXES, MASKS = FCOS(channels=16, convs=1, strides=(4, 8)), PyramidSegmentation(channels=16, strides=(4, 8))


class Maps(nn.Module):
    """A backbone of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


def classifier() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


def boxes() -> BoxTargets:
    """One or two objects in each image but the last."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(BATCH, 2, 2, generator=generator) * 16
    labels = torch.randint(0, CLASSES, (BATCH, 2), generator=generator)
    labels[::2, 1] = labels[-1] = -1
    whole = torch.cat([corners, corners + 12], dim=2)
    return BoxTargets(
        whole, labels, torch.zeros(BATCH, 2).bool(), torch.full((BATCH, 2), 144.0), torch.full((BATCH,), 0.5)
    )


def masks() -> Tensor:
    targets = torch.randint(0, CLASSES, (BATCH, *SIZE), generator=torch.Generator().manual_seed(0))
    targets[:, :4] = 255
    return targets


@dataclass(frozen=True)
class Case:
    """A task, a network for it, and targets of a batch."""

    task: Task
    network: Callable[[], nn.Module]
    targets: Any


CASES = {
    "classification": Case(Classification(CLASSES), classifier, torch.arange(BATCH) % CLASSES),
    "detection": Case(
        Detection(CLASSES, BOXES, SIZE), lambda: DenseNetwork(Maps(), BOXES.build([8, 8], CLASSES)), boxes()
    ),
    "segmentation": Case(
        Segmentation(CLASSES, MASKS, SIZE), lambda: DenseNetwork(Maps(), MASKS.build([8, 8], CLASSES)), masks()
    ),
    "weighted segmentation": Case(
        Segmentation(CLASSES, MASKS, SIZE, (3.0, 0.0, 0.5)),
        lambda: DenseNetwork(Maps(), MASKS.build([8, 8], CLASSES)),
        masks(),
    ),
}
pytestmark = pytest.mark.parametrize("name", CASES)


def images() -> Tensor:
    return torch.rand(BATCH, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def network(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.network()


def rows(value: Any, chosen: slice) -> Any:
    return tree_map(lambda each: each[chosen], value)


def needs_metrics(name: str) -> None:
    if name == "detection":
        pytest.importorskip("torchmetrics")


def test_a_score_has_the_metric_and_the_loss_that_the_task_names(name: str) -> None:
    needs_metrics(name)
    case = CASES[name]
    score = case.task.evaluate(network(case), [(images(), case.targets)])
    assert score.numbers()[case.task.metric.name] == score.value
    assert score.images == BATCH
    assert case.task.loss is None or case.task.loss.name in score.numbers()
    assert all(np.isfinite(value) for value in score.numbers().values())
    assert all(len(values) == BATCH for values in score.per_image().values())


def test_a_score_does_not_depend_on_how_images_are_put_into_batches(name: str) -> None:
    needs_metrics(name)
    case = CASES[name]
    model = network(case)
    whole = case.task.evaluate(model, [(images(), case.targets)]).numbers()
    parts = [(rows(images(), each), rows(case.targets, each)) for each in (slice(0, 1), slice(1, 4), slice(4, BATCH))]
    assert case.task.evaluate(model, parts).numbers() == pytest.approx(whole, rel=1e-5)


def test_an_evaluation_of_nothing_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match="got no batches"):
        CASES[name].task.meter().score(ALONE)


def test_parts_of_a_batch_have_the_loss_and_the_gradients_of_the_whole(name: str) -> None:
    case = CASES[name]
    model, objective = network(case).train(), case.task.objective()
    learned = objective.of_batch(images(), case.targets, torch.autocast("cpu", enabled=False))
    assert all(len(each) == BATCH for each in learned)
    gradients = []
    for sizes in ((BATCH,), (1, 3, 2)):
        model.zero_grad()
        starts = np.cumsum([0, *sizes])
        parts = [slice(start, start + size) for start, size in zip(starts, sizes)]
        losses = [
            objective.loss(model(images()[part]), tuple(each[part] for each in learned)) * (size / BATCH)
            for part, size in zip(parts, sizes)
        ]
        torch.stack(losses).sum().backward()
        gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
    assert gradients[0].norm() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_a_few_steps_lower_the_loss(name: str) -> None:
    case = CASES[name]
    model, objective = network(case).train(), case.task.objective()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    learned = objective.of_batch(images(), case.targets, torch.autocast("cpu", enabled=False))
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = objective.loss(model(images()), learned)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_a_student_that_says_what_its_teacher_says_learns_nothing_from_it(name: str) -> None:
    case = CASES[name]
    teacher, student = network(case).train(), network(case).train()
    distill = case.task.between_subnets("kl")
    with torch.no_grad():
        taught = teacher(images())
    distill(student(images()), taught).backward()
    same = sum(float(each.grad.square().sum()) for each in student.parameters() if each.grad is not None)
    student.zero_grad()
    distill(student(images().flip(3)), taught).backward()
    other = sum(float(each.grad.square().sum()) for each in student.parameters() if each.grad is not None)
    assert same < 1e-3 * other


def test_guessing_has_a_score_and_a_loss(name: str) -> None:
    task = CASES[name].task
    assert 0 <= task.chance_score < 1
    assert task.chance_loss > 0
