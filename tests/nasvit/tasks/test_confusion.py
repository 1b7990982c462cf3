"""Which classes are mistaken for which."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, log_loss

from nasvit.tasks.confusion import Confusion


def test_counts_and_numbers_are_those_of_scikit_learn_over_all_batches() -> None:
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60)
    confusion = Confusion(4)
    for part in np.array_split(np.arange(60), 7):
        confusion.update(torch.from_numpy(probabilities[part]), torch.from_numpy(targets[part]))
    wanted = confusion_matrix(targets, probabilities.argmax(1))
    assert np.array_equal(confusion.counts, wanted)
    assert (confusion.images, confusion.seen.tolist()) == (60, wanted.sum(1).tolist())
    assert confusion.accuracy == pytest.approx(wanted.trace() / 60)
    assert confusion.class_accuracy == pytest.approx((wanted.diagonal() / wanted.sum(1)).mean())
    assert confusion.loss == pytest.approx(log_loss(targets, probabilities))


def test_a_class_without_images_counts_for_nothing_and_a_class_that_is_always_right_is_mistaken_for_none() -> None:
    confusion = Confusion(3)
    confusion.update(torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), torch.tensor([0, 0, 0]))
    confusion.update(torch.tensor([[0.1, 0.8, 0.1]]), torch.tensor([1]))
    assert math.isnan(confusion.per_class[2]) and confusion.per_class[:2].tolist() == [2 / 3, 1.0]
    assert confusion.class_accuracy == pytest.approx(5 / 6)
    assert confusion.mostly_for(0) == (1, 1)
    assert confusion.mostly_for(1) is None and confusion.mostly_for(2) is None
