"""Weights of classes: counted, or given by number or by name."""

from __future__ import annotations

import math

import pytest
import torch

from nasvit.tasks.class_weights import balanced, check_weights, weights_of
from search_spaces.values import FieldError

CLASSES = ("road", "tree", "car")


def test_balanced_weights_divide_the_median_share_of_pixels_by_that_of_each_class() -> None:
    # Shares of the masks that show a class: 0.8, 0.2, 0.1, and a class that no mask shows.
    pixels, among = torch.tensor([80, 20, 5, 0]), torch.tensor([100, 100, 50, 0])
    assert balanced(pixels, among) == pytest.approx((0.2 / 0.8, 1.0, 0.2 / 0.1, 1.0))
    assert balanced(torch.tensor([30, 10]), torch.tensor([40, 40])) == pytest.approx((0.5 / 0.75, 0.5 / 0.25))
    assert balanced(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)) == (1.0, 1.0)


def test_weights_are_numbers_in_the_order_of_the_classes_or_by_their_names() -> None:
    assert weights_of((1.0, 0.0, 3.0), CLASSES, "streets") == (1.0, 0.0, 3.0)
    assert weights_of({"car": 5.0}, CLASSES, "streets") == (1.0, 1.0, 5.0)
    for wrong, told in (
        ({"cars": 5.0}, "class_weights.cars: streets has no such class; did you mean 'car'. legal: road, tree, car"),
        ((1.0, 2.0), "class_weights: are 2, and streets has 3 classes: road, tree, car; give a number for each"),
        ((0.0, 0.0, 0.0), "class_weights: are all 0, so that nothing is learned; give one"),
    ):
        with pytest.raises(FieldError, match=told):
            weights_of(wrong, CLASSES, "streets")


def test_weights_that_no_loss_can_have_are_refused() -> None:
    for accepted in (None, "balanced", (0.0, 2.5), {"car": 3.0}):
        check_weights(accepted, "segmentation")
    for wrong, told in (
        ((1.0, -1.0), r"class_weights\[1\]: -1.0 is illegal; legal: numbers from 0"),
        ({"car": math.nan}, "class_weights.car: nan is illegal"),
        ({"car": math.inf}, "class_weights.car: inf is illegal"),
    ):
        with pytest.raises(FieldError, match=told):
            check_weights(wrong, "segmentation")
    for task in ("detection", "classification"):
        with pytest.raises(FieldError, match=f"weigh the pixels of segmentation, and the task is {task}; leave them"):
            check_weights("balanced", task)
