"""What an evaluation measures, by hand on a few images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nasvit.tasks.classification import ClassificationScore, evaluate

LABELS = torch.tensor([0, 0, 0, 2, 2])  # no image shows class 1
PREDICTED = torch.tensor([0, 0, 1, 2, 0])


def batches(size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches whose images are the scores that the network gives them."""
    scores = 100.0 * nn.functional.one_hot(PREDICTED, 3).float()
    return zip(scores.split(size), LABELS.split(size))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_image_counts_alike_and_every_class_that_is_shown_does(size: int) -> None:
    score = evaluate(nn.Identity(), batches(size))
    assert score.accuracy == 3 / 5
    assert score.class_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert score.loss == pytest.approx(2 * 100 / 5)
    assert score.images == 5


def test_every_image_is_told_of_in_its_order() -> None:
    each = evaluate(nn.Identity(), batches(2)).per_image()
    assert each["accuracy"].tolist() == [1, 1, 0, 1, 0]
    assert each["loss"].tolist() == pytest.approx([0, 0, 100, 0, 100])


def test_the_loss_of_guessing_is_that_of_even_chances() -> None:
    even = [(torch.zeros(4, 10), torch.arange(4))]
    assert evaluate(nn.Identity(), even).loss == pytest.approx(math.log(10))


def test_a_network_is_evaluated_in_evaluation_mode() -> None:
    network = nn.Sequential(nn.Dropout(0.999)).train()
    assert evaluate(network, batches(2)) == evaluate(nn.Identity(), batches(2))
    assert isinstance(evaluate(network, batches(2)), ClassificationScore)


def test_nothing_to_evaluate_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="evaluate got no batches; give it at least one batch"):
        evaluate(nn.Identity(), [])
