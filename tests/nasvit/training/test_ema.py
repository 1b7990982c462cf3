"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasvit.training.ema import MovingAverage


def model_at(value: float) -> nn.BatchNorm1d:
    model = nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(value)
        assert model.running_mean is not None
        model.running_mean.fill_(value)
    return model


def test_without_warm_up_every_update_moves_by_one_minus_the_decay() -> None:
    average = MovingAverage(model_at(0.0), decay=0.9, warmup=False)
    average.update(model_at(1.0))
    average.update(model_at(1.0))
    assert average.model.weight.tolist() == pytest.approx([0.19, 0.19])
    assert average.model.state_dict()["running_mean"].tolist() == pytest.approx([0.19, 0.19])


def test_with_warm_up_the_start_is_forgotten() -> None:
    average = MovingAverage(model_at(5.0), decay=0.9999)
    for _ in range(3):
        average.update(model_at(1.0))
    assert average.model.weight.tolist() == pytest.approx([1.0, 1.0])


def test_the_average_is_a_copy() -> None:
    model = model_at(1.0)
    average = MovingAverage(model, decay=0.5)
    model.weight.data.fill_(7.0)
    assert average.model.weight.tolist() == [1.0, 1.0]


def test_a_restored_average_goes_on_as_if_nothing_had_happened() -> None:
    unbroken, first, second = (MovingAverage(model_at(0.0), decay=0.9) for _ in range(3))
    values = [0.3, 1.7, -2.0, 0.9]
    for value in values:
        unbroken.update(model_at(value))
    for value in values[:2]:
        first.update(model_at(value))
    second.load_state_dict(first.state_dict())
    for value in values[2:]:
        second.update(model_at(value))
    assert torch.equal(second.model.weight, unbroken.model.weight) and second.updates == 4


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="below 1"):
        MovingAverage(model_at(0.0), decay=decay)
