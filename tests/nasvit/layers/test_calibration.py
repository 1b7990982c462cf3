"""Batch-norm statistics belong to one subnet, and are plain averages over batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import search_spaces
from nasvit.layers import BatchNorm2d
from nasvit.layers.calibration import calibrate, track_statistics
from nasvit.models.catalog import resnet
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.classification import evaluate
from tests.nasvit.filled import filled, images

SPACE = search_spaces.load("micro8")
BATCHES = [images(SPACE, count, seed) * (1 + seed) for seed, count in enumerate((4, 4, 2))]


def norms(network: nn.Module) -> list[BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, BatchNorm2d)]


def test_statistics_are_the_cumulative_average_that_pytorch_takes() -> None:
    supernet = filled(Supernet(SPACE, 3).double())
    batches = [batch.double() for batch in BATCHES]
    ours, theirs = calibrate(supernet.at(SPACE.largest), batches), supernet.extract(SPACE.largest)
    track_statistics(theirs, momentum=None)
    for batch in batches:
        theirs.train()(batch)
    for mine, other in zip(norms(ours), norms(theirs), strict=True):
        torch.testing.assert_close(mine.running_mean, other.running_mean, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(mine.running_var, other.running_var, rtol=1e-12, atol=1e-14)


def test_batches_may_have_labels_as_loaders_give_them() -> None:
    network, slim = nn.Sequential(BatchNorm2d(1)), SlimmableNetwork(resnet(18).for_small_images(), [0.125], 3)
    pairs = [(batch, torch.zeros(len(batch))) for batch in BATCHES]
    found = [each.running_var for batches in (pairs, BATCHES) for each in norms(calibrate(network, batches))]
    assert torch.equal(*found)  # type: ignore[arg-type]
    slim.calibrate([[images.expand(-1, 3, -1, -1), None] for images in BATCHES])
    for mistake in ({"images": BATCHES[0]}, ("a", BATCHES[0]), ()):
        with pytest.raises(ValueError, match="calibrate got a batch of (dict|str|tuple); give it tensors of images"):
            calibrate(network, [mistake])


def test_biased_statistics_divide_by_all_of_the_samples() -> None:
    norm = BatchNorm2d(1)
    network = nn.Sequential(norm)
    calibrate(network, BATCHES, unbiased=False)
    wanted = torch.stack([batch.var(unbiased=False) for batch in BATCHES]).mean()
    torch.testing.assert_close(norm.running_var, wanted[None])
    calibrate(network, BATCHES)
    torch.testing.assert_close(norm.running_var, torch.stack([batch.var() for batch in BATCHES]).mean()[None])
    torch.testing.assert_close(norm.running_mean, torch.stack([batch.mean() for batch in BATCHES]).mean()[None])


def test_evaluating_a_subnet_without_statistics_is_refused_with_the_way_out() -> None:
    supernet = Supernet(SPACE, 3)
    with pytest.raises(RuntimeError, match=r"call nasvit\.calibrate\(network, batches\) before evaluating"):
        supernet.at(SPACE.smallest).eval()(BATCHES[0])
    with pytest.raises(RuntimeError, match=r"those of another subnet would be wrong"):
        evaluate(supernet.extract(SPACE.smallest), [(BATCHES[0], torch.zeros(4, dtype=torch.long))])


def test_statistics_of_one_subnet_reach_neither_another_nor_the_supernet() -> None:
    supernet = filled(Supernet(SPACE, 3, stored_statistics=True))
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    calibrate(supernet.at(SPACE.smallest), BATCHES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    without = Supernet(SPACE, 3)
    calibrate(without.at(SPACE.smallest), BATCHES)
    for again in (without.at(SPACE.smallest), without.at(SPACE.largest)):
        assert all(norm.running_mean is None for norm in norms(again))


def test_nothing_but_statistics_changes_and_the_network_ends_evaluating() -> None:
    supernet = filled(Supernet(SPACE, 3))
    network = supernet.at(SPACE.largest).train()
    network.head.dropout = nn.Dropout(0.9)
    before = [parameter.clone() for parameter in supernet.parameters()]
    assert calibrate(network, BATCHES) is network
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(network(BATCHES[0]), calibrate(supernet.at(SPACE.largest), BATCHES)(BATCHES[0]))


def test_calibrating_again_starts_anew() -> None:
    supernet = filled(Supernet(SPACE, 3))
    network = calibrate(supernet.at(SPACE.smallest), BATCHES[:1])
    calibrate(network, BATCHES[1:])
    expected = calibrate(supernet.at(SPACE.smallest), BATCHES[1:])
    assert torch.equal(network(BATCHES[0]), expected(BATCHES[0]))


def test_without_batches_it_is_refused_and_the_network_stays_as_it_was() -> None:
    network = Supernet(SPACE, 3).at(SPACE.smallest)
    with pytest.raises(ValueError, match="calibrate got no batches"):
        calibrate(network, [])
    with pytest.raises(RuntimeError, match="no batch-norm statistics"):
        network(BATCHES[0])
    calibrate(network, BATCHES)
    before = network(BATCHES[0])
    with pytest.raises(RuntimeError, match="size"):
        calibrate(network, [BATCHES[1], torch.zeros(2, 5, 8, 8)])
    assert torch.equal(network(BATCHES[0]), before)
    assert not any(module._forward_hooks for module in network.modules())
