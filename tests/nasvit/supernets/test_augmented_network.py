from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasvit.elastic import Elastic
from nasvit.layers import BatchNorm2d
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.models.plan import ChannelPlan
from nasvit.models.tiny import TARGETS, target
from nasvit.supernets.augmented_family import AugmentedNetwork
from nasvit.supernets.sorting import sort_channels

SMALL = Family(
    "small",
    "a test",
    StemSpec(8),
    (
        (BlockSpec("inverted", 8, shortcut=False),),
        (
            BlockSpec("inverted", 16, 2, expand=3, shortcut=False),
            BlockSpec("inverted", 16, expand=4, squeeze_excite=True, shortcut=True),
        ),
    ),
    HeadSpec(32, 24),
)


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def augmented(seed: int = 0) -> AugmentedNetwork:
    """An augmented network whose layers, statistics included, all do something."""
    network = AugmentedNetwork(SMALL, 5, seed=seed).double()
    assert isinstance(network, AugmentedNetwork)
    network.calibrate([images(seed=9)], network.largest_plan)
    return network


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_an_augmented_network_holds_the_tiny_one(seed: int, widths: bool, expands: bool) -> None:
    network = augmented()
    plan = network.sample(torch.Generator().manual_seed(seed), widths=widths, expands=expands)
    largest = network.largest_plan.channels
    assert all(b <= c <= m for b, c, m in zip(network.base.channels, plan.channels, largest, strict=True))
    if not widths and not expands:
        assert plan == network.base
    assert network.at(plan).eval()(images(2)).shape == (2, 5)


def test_networks_that_differ_in_the_head_share_the_views_of_all_other_layers() -> None:
    network = augmented()

    def held() -> int:
        return sum(len(module._templates) for module in network.stages.modules() if isinstance(module, Elastic))

    network.at(network.base)
    before = held()
    network.at(ChannelPlan((*network.base.channels[:-1], network.base.channels[-1] + 1)))
    assert held() == before > 0


def test_the_same_generator_draws_the_same_networks() -> None:
    network = augmented()
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    assert [network.sample(first) for _ in range(5)] == [network.sample(second) for _ in range(5)]


def test_the_exported_network_is_the_tiny_one() -> None:
    network = augmented().eval()
    exported = network.extract().eval()
    torch.testing.assert_close(exported(images()), network.at(network.base)(images()), rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in exported.parameters()) < sum(p.numel() for p in network.parameters()) / 3


def test_a_step_adds_the_gradients_of_the_tiny_and_an_augmented_network() -> None:
    network = augmented().train()
    plan = network.sample(torch.Generator().manual_seed(1))
    norms = []
    for each in (network.base, plan):
        network.at(each)(images()).square().sum().backward()
        norms.append(network.gradients.rows.clone())
    alone = copy.deepcopy(network)
    alone.zero_grad()
    alone.at(plan).train()(images()).square().sum().backward()
    torch.testing.assert_close(norms[1], norms[0] + alone.gradients.rows, rtol=1e-9, atol=1e-9)


def test_sorting_changes_the_widest_network_not_at_all_and_the_tiny_one_much() -> None:
    network = augmented().eval()
    widest, tiny = network.at(network.largest_plan), network.at(network.base)
    before_widest, before_tiny = widest(images()), tiny(images())
    sort_channels(network)
    torch.testing.assert_close(widest(images()), before_widest, rtol=1e-9, atol=1e-9)
    assert (tiny(images()) - before_tiny).abs().max() > 1e-2 * before_tiny.abs().max()


def test_sorting_moves_momentum_and_averages_along() -> None:
    """Sorting before or after two equal steps must lead to the same network."""
    results = []
    for sort_between in (False, True):
        network = augmented().train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        average = copy.deepcopy(network)
        for step in range(2):
            network.zero_grad()
            network.at(network.largest_plan)(images(seed=step)).square().mean().backward()
            optimizer.step()
            if sort_between and step == 0:
                sort_channels(network, [optimizer], [average])
        network.eval(), average.eval()
        results.append([each.at(each.largest_plan)(images()) for each in (network, average)])
    for unsorted, sorted_ in zip(*results, strict=True):
        torch.testing.assert_close(unsorted, sorted_, rtol=1e-8, atol=1e-8)


def test_calibration_stores_statistics_of_the_tiny_network() -> None:
    network = augmented()
    network.calibrate([images(), images(4, 1)])
    before = network.at(network.base).eval()(images(2))
    own = network.extract(calibration=[images(), images(4, 1)])
    torch.testing.assert_close(before, own.eval()(images(2)), rtol=0.2, atol=0.2)  # n against n - 1
    assert not torch.allclose(augmented().at(network.base).eval()(images(2)), before)


def test_factors_that_do_not_start_at_the_tiny_network_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"width=\[1.5, 2\]; augmentation factors are finite and start at 1"):
        AugmentedNetwork(SMALL, 5, width=(1.5, 2))


def test_a_target_of_another_width_has_it_in_its_name() -> None:
    assert target("mbv2-0.35") == target("mbv2")
    assert target("mbv3-0.5").plan().channels > target("mbv3").plan().channels
    with pytest.raises(ValueError, match=r"'mcunet-0.5' is unknown; legal: tinymbv2, mcunet, mbv2\[-WIDTH\]"):
        target("mcunet-0.5")


@pytest.mark.parametrize(
    ("name", "tiny", "all_of_it", "widths"),
    [
        ("tinymbv2", 750280, 5827439, (1, 1.8, 2.6)),
        ("mcunet", 737408, 7267427, (1, 1.6, 2.2)),
        ("mbv2", 1677128, None, (1, 1.8, 2.6)),
        ("mbv3", 2109840, None, (1, 2, 3)),
        ("proxylessnas", 1781344, None, (1, 1.8, 2.6)),
    ],
)
def test_targets_have_the_published_parameters(
    name: str, tiny: int, all_of_it: int | None, widths: tuple[float, ...]
) -> None:
    with torch.device("meta"):
        network = AugmentedNetwork(TARGETS[name](), 1000, width=widths)
    assert sum(p.numel() for p in network.extract().parameters()) == tiny
    if all_of_it is not None:
        assert sum(p.numel() for p in network.parameters()) == all_of_it


def test_sorting_puts_the_most_important_channels_first() -> None:
    model = augmented()
    sort_channels(model)
    blocks = [m for m in model.modules() if getattr(m, "expand", None) is not None and hasattr(m, "project")]
    assert blocks
    for block in blocks:
        importance = block.project.conv.weight.abs().sum((0, 2, 3))
        assert torch.equal(importance, importance.sort(descending=True).values)


def test_sorting_moves_gradients_along() -> None:
    """Sorting between backward and step leads to the same network as sorting never."""
    results = []
    for sorts in (False, True):
        model = augmented().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.at(model.largest_plan)(images()).square().mean().backward()
        if sorts:
            sort_channels(model, [optimizer])
        optimizer.step()
        results.append(model.at(model.largest_plan).train()(images(seed=1)))
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


def test_calibration_takes_variances_over_all_pixels_as_released() -> None:
    model = augmented()
    model.calibrate([images(), images(4, 1)])
    stem = model.at(model.base).stem
    conv = next(module for module in stem.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in stem.modules() if isinstance(module, BatchNorm2d))
    maps = [conv(each) for each in (images(), images(4, 1))]
    expected = torch.stack([each.var((0, 2, 3), unbiased=False) for each in maps]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-12, atol=1e-12)
