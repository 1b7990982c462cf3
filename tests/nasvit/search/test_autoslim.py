"""AutoSlim on a network: groups of layers, plans under a target, and training what was found."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nasvit.any_network import slimmable
from nasvit.costs.counting import count
from nasvit.models.catalog import resnet, shufflenet_v1
from nasvit.models.plan import ChannelPlan
from nasvit.search.autoslim import _step, channel_groups, slim, top1_error
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.training.execution import SIMPLE
from nasvit.training.learner import Learner
from nasvit.training.sampling import AllSwitches
from search_spaces import ElasticArchitecture
from search_spaces.recipe import Recipe
from tests.nasvit.any_network.networks import Classifying, Residual
from tests.nasvit.supernets.tiny import FAMILY, images, tiny

LABELS = torch.arange(8) % 5


def macs(network: SlimmableNetwork, plan: ChannelPlan) -> int:
    return count(network.at(plan), 3, 16, 16).macs


def test_layers_that_a_shortcut_joins_are_slimmed_together() -> None:
    names = FAMILY.decisions()
    groups = [[names[entry] for entry in group] for group in channel_groups(tiny(norm="universal"))]
    assert groups == [
        ["stem", "stages.0.0.out"],
        ["stages.1.0.hidden0"],
        ["stages.1.0.out", "stages.1.1.out"],
        ["stages.1.1.hidden0"],
        ["head"],
    ]


def test_every_entry_of_a_resnets_plan_is_in_one_group() -> None:
    with torch.device("meta"):
        network = SlimmableNetwork(resnet(50), (0.5, 1.0), 10, norm="universal")
    entries = [entry for group in channel_groups(network) for entry in group]
    assert sorted(entries) == list(range(len(network.largest_plan.channels)))


def test_plans_undercut_their_targets_one_inside_the_other_and_leave_the_network_alone() -> None:
    network = tiny(norm="universal")
    before = copy.deepcopy(network.state_dict())
    full = macs(network, network.largest_plan)
    found = slim(network, (0.6 * full, 0.8 * full), images(8), LABELS)
    assert [slimmed.target for _, slimmed in found] == [0.8 * full, 0.6 * full]
    for plan, slimmed in found:
        assert macs(network, plan) == slimmed.cost < slimmed.target
    (large, _), (small, _) = found
    assert all(s <= m for s, m in zip(small.channels, large.channels, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_plans_found_train_jointly_by_the_step_of_supernets() -> None:
    network = tiny(norm="universal")
    found = slim(network, (0.7 * macs(network, network.largest_plan),), images(8), LABELS)
    slimmed = SlimmableNetwork(FAMILY, (found[0][0], network.largest_plan), 5).double()
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=8)
    task = Learner(slimmed, recipe, sampling=AllSwitches(slimmed))
    task.add_gradients(images(8), LABELS, np.random.default_rng(0), SIMPLE)
    alone = SlimmableNetwork(FAMILY, slimmed.widths, 5).double()
    for width in slimmed.widths:
        F.cross_entropy(alone.at(width).train()(images(8)), LABELS).backward()
    # The task takes losses in float32.
    torch.testing.assert_close(slimmed.gradients.rows, alone.gradients.rows, rtol=1e-3, atol=1e-7)


def test_the_error_is_measured_with_the_batchs_own_statistics_and_stored_ones_stay() -> None:
    network = tiny(norm="universal")
    before = copy.deepcopy(network.state_dict())
    right = network.at(0.5).train()(images(8)).argmax(1)
    network.load_state_dict(before)
    assert top1_error(network.at(0.5), images(8), right) == 0
    assert top1_error(network.at(0.5), images(8), (right + 1) % 5) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_that_cannot_run_at_any_channels_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match='norm="universal", not "switchable"'):
        slim(tiny(), (1,), images(8), LABELS)


def test_blocks_that_append_their_input_are_refused_in_words() -> None:
    with torch.device("meta"):
        network = SlimmableNetwork(shufflenet_v1(), (0.5, 1.0), 10, norm="universal")
    with pytest.raises(ValueError, match="blocks of shufflenet_v1 append their input"):
        channel_groups(network)


def test_a_step_takes_a_twelfth_of_a_layers_channels_rounded_to_the_divisor() -> None:
    assert [_step(FAMILY, channels, 12) for channels in (16, 96, 240, 480)] == [8, 8, 24, 40]
    assert _step(replace(FAMILY, divisor=0), 64, 12) == 5


def test_any_network_is_slimmed_unit_by_unit_and_left_alone() -> None:
    torch.manual_seed(0)
    network = slimmable(Classifying(Residual(16, 48), 16), images(8).float(), (0.25, 1.0), norm="universal")
    network.calibrate([images(8).float()])
    before = copy.deepcopy(network.state_dict())

    def cost(sizes: ElasticArchitecture | float) -> int:
        return count(network.at(sizes), 3, 16, 16).macs

    full = cost(1.0)
    found = slim(network, (0.5 * full, 0.8 * full), images(8).float(), LABELS)
    assert [cost(sizes) for sizes, _ in found] == [slimmed.cost for _, slimmed in found]
    assert all(slimmed.cost < slimmed.target for _, slimmed in found)
    (large, _), (small, _) = found
    assert all(one <= other for (_, one), (_, other) in zip(small.width, large.width, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.slimming_steps(12) == (1, 8)  # a twelfth of 16 channels, and of 48 in steps of 8
