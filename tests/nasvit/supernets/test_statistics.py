"""Batch-norm statistics of every width."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from nasvit.layers import BatchNorm2d
from nasvit.models.parts import HeadSpec
from nasvit.tasks.classification import Classification
from nasvit.tasks.widths import evaluate_widths
from tests.nasvit.supernets.tiny import FAMILY, images, tiny


@pytest.mark.parametrize("norm", ["switchable", "universal"])
def test_calibration_is_the_plain_average_over_its_batches_alone(norm: str) -> None:
    network = tiny(norm=norm)
    network.calibrate([images(seed=7)])  # must be forgotten
    batches = [images(seed=seed) for seed in range(3)]
    network.calibrate(batches)
    stem = network.at(0.5).stem
    conv = next(module for module in stem.modules() if isinstance(module, nn.Conv2d))
    own = next(module for module in stem.modules() if isinstance(module, BatchNorm2d))
    maps = [conv(each) for each in batches]
    torch.testing.assert_close(own.running_mean, torch.stack([each.mean((0, 2, 3)) for each in maps]).mean(0))
    torch.testing.assert_close(own.running_var, torch.stack([each.var((0, 2, 3)) for each in maps]).mean(0))


@pytest.mark.parametrize("norm", ["switchable", "universal"])
def test_calibration_that_fails_leaves_the_statistics_that_were_there(norm: str) -> None:
    network = tiny(norm=norm)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="at least one batch"):
        network.calibrate([])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_an_evaluation_with_calibration_uses_it_and_changes_nothing() -> None:
    network = tiny(norm="universal", family=replace(FAMILY, head=HeadSpec(32)))
    before = copy.deepcopy(network.state_dict())
    subnet = network.extract(0.7, calibration=[images(8, 2)]).eval()
    labels = subnet(images(8)).argmax(1)
    found = evaluate_widths(
        network, Classification(labels.max().item() + 1), lambda: [(images(8), labels)], (0.7,), [images(8, 2)]
    )
    assert found == {"accuracy_0.7": 1.0}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(RuntimeError, match="calibrate"):
        evaluate_widths(network, Classification(labels.max().item() + 1), lambda: [(images(8), labels)], (0.7,))
