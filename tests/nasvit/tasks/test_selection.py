"""One number for networks of many widths."""

from __future__ import annotations

import pytest

from nasvit.tasks.selection import mean_accuracy, worst_accuracy

VALUES = {"accuracy_0.5": 0.5, "accuracy_1.0": 0.7, "loss": 9.0}


def test_the_mean_and_the_worst_are_those_of_the_accuracies_alone() -> None:
    assert mean_accuracy(VALUES) == pytest.approx(0.6)
    assert worst_accuracy(VALUES) == 0.5


def test_values_without_an_accuracy_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="no accuracy among loss"):
        mean_accuracy({"loss": 9.0})
