"""Intersection over union of segmenters, counted pixel by pixel."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nasvit.compute import ALONE
from nasvit.data.targets import IGNORED
from nasvit.heads.segmentation import LRASPP
from nasvit.tasks.segmentation import Segmentation

CLASSES, SIZE = 4, (12, 16)


def batch(seed: int, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES - 1, (count, *SIZE), generator=generator)  # the last class is nowhere
    targets[:, :3] = 255
    return torch.randn(count, CLASSES, *SIZE, generator=generator), targets


def test_the_score_is_what_counting_one_pixel_after_the_other_gives() -> None:
    meter, overlap, union = Segmentation(CLASSES, LRASPP(), SIZE).meter(), np.zeros(CLASSES), np.zeros(CLASSES)
    losses, right, total = 0.0, 0, 0
    for seed in (0, 1):
        outputs, targets = batch(seed)
        meter.update(outputs, targets)
        for found, wanted in zip(outputs.argmax(1).flatten().tolist(), targets.flatten().tolist()):
            if wanted == 255:
                continue
            right, total = right + (found == wanted), total + 1
            overlap[wanted] += found == wanted
            for one in {found, wanted}:
                union[one] += 1
        losses += float(F.cross_entropy(outputs, targets, ignore_index=255, reduction="sum"))
    score = meter.score(ALONE)
    assert score.miou == pytest.approx(float((overlap / union).mean()))
    assert dict(score.of_classes) == pytest.approx(dict(enumerate(overlap / union)))
    assert score.pixel_accuracy == pytest.approx(right / total)
    assert score.loss == pytest.approx(losses / total, rel=1e-5)
    assert score.images == 6
    assert score.per_image()["loss"].mean() == pytest.approx(score.loss, rel=1e-5)


def test_a_class_that_is_neither_there_nor_found_does_not_count() -> None:
    targets = torch.zeros(1, *SIZE, dtype=torch.int64)
    outputs = F.one_hot(targets, CLASSES).permute(0, 3, 1, 2).float()
    meter = Segmentation(CLASSES, LRASPP(), SIZE).meter()
    meter.update(outputs, targets)
    assert meter.score(ALONE).miou == 1.0


def test_weighted_classes_have_the_loss_that_pytorch_gives_them_and_pixels_alone_the_same_score() -> None:
    outputs, targets = batch(0)
    weights = (0.5, 4.0, 1e-3, 0.0)
    task = Segmentation(CLASSES, LRASPP(), SIZE, weights)
    for chosen in (targets, torch.where(targets == 2, targets, IGNORED), torch.full_like(targets, 3)):
        learned = task.objective().of_batch(torch.zeros(3, 3, *SIZE), chosen, nullcontext())
        expected = F.cross_entropy(outputs, chosen, torch.tensor(weights), ignore_index=IGNORED)
        torch.testing.assert_close(task.objective().loss(outputs, learned), expected.nan_to_num())
    scores = []
    for each in (task, Segmentation(CLASSES, LRASPP(), SIZE)):
        meter = each.meter()
        meter.update(outputs, targets)
        scores.append(meter.score(ALONE))
    assert scores[0] == scores[1]


def test_guessing_has_the_score_that_the_task_says() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, CLASSES, (8, 64, 64), generator=generator)
    task = Segmentation(CLASSES, LRASPP(), (64, 64))
    meter = task.meter()
    meter.update(torch.rand(8, CLASSES, 64, 64, generator=generator), targets)
    assert meter.score(ALONE).value == pytest.approx(task.chance_score, abs=0.01)
    meter = task.meter()
    meter.update(torch.zeros(8, CLASSES, 64, 64), targets)
    assert meter.score(ALONE).loss == pytest.approx(task.chance_loss, rel=1e-5)
