"""What the benchmark of width switching counts."""

from __future__ import annotations

import torch
from torch import nn

from experiments.benchmarks.width_switching import seconds_beside_alone, tensor_bytes
from nasvit.export.switchable import deploy
from tests.nasvit.supernets.tiny import images, tiny


def test_memory_that_tensors_share_is_counted_once_and_gradients_count() -> None:
    layer = nn.Linear(4, 2, bias=False)
    other = nn.Linear(4, 2, bias=False)
    other.weight = layer.weight
    assert tensor_bytes([layer, other]) == 32
    layer.weight.grad = torch.zeros(2, 4)
    assert tensor_bytes([layer, other]) == 64


def test_a_deployed_model_takes_the_memory_of_its_own_tensors_whatever_widths_are_used() -> None:
    model = deploy(tiny(0.25, 0.5, 1.0))
    assert tensor_bytes([model, *(model.at(width) for width in model.widths)]) == tensor_bytes([model])


def test_both_ways_of_running_are_timed_at_every_width() -> None:
    times = seconds_beside_alone(deploy(tiny()), images(), 1)
    assert set(times) == {"0.5", "1.0"}
    assert all(len(pair) == 2 for pair in times.values())
