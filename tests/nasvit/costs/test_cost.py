"""Costs are exact: tables, counting and PyTorch's own counter agree to the integer."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import search_spaces
from nasvit.costs.counting import Cost, count
from nasvit.costs.tables import cost_table
from nasvit.layers import Network
from nasvit.supernets.supernet import Supernet, build_subnet
from search_spaces import ElasticSpace, MBConvOptions, Space

SMALL = ("micro8", "micro32", "ghost_micro32")


def counted_by_pytorch(network: Network, channels: int, side: int) -> int:
    """Multiply-adds of one image by PyTorch's counter, on meta, where it sees fused attention too."""
    on_meta = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_meta(torch.empty(1, channels, side, side, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@cache
def fewer_choices(name: str) -> Space:
    """A space of the catalog; of the larger ones, the first two resolutions, depths and widths."""
    space = search_spaces.load(name)
    if name == "micro8":
        return space
    stages = tuple(replace(stage, depth=stage.depth[:2], width=stage.width[:2]) for stage in space.stages)
    return replace(space, resolution=space.resolution[:2], stages=stages)


def check_table(name: str, seed: int) -> None:
    space = fewer_choices(name)
    classes = 10 if name in SMALL else 1000
    population = space.genome.sample(1, np.random.default_rng(seed))
    architecture = space.decode(population)[0]
    network = build_subnet(space, architecture, classes)
    table = {metric: int(values[0]) for metric, values in cost_table(space, classes).costs(population).items()}
    side = architecture.resolution
    assert Cost(**table) == count(network, space.image_channels, side, side)
    assert table["macs"] == counted_by_pytorch(network, space.image_channels, side)
    assert table["params"] == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_table_agrees_with_counting_the_network_to_the_integer(name: str, seed: int) -> None:
    check_table(name, seed)


@pytest.mark.parametrize("name", ["alphanet", "nasvit"])  # others are like these
def test_the_table_of_a_large_space_agrees_with_counting_the_network_to_the_integer(name: str) -> None:
    check_table(name, 7)


def test_the_table_is_exact_where_first_blocks_are_sized_apart() -> None:
    space = search_spaces.load("micro8")
    first = replace(space.stages[0], depth=(1, 2), first_kernel_size=(3, 5), first_expand_ratio=(1, 2))
    apart = replace(space, stages=(first,), transformer=None, mbconv=MBConvOptions(squeeze_excite_of="input"))
    population = np.concatenate([apart.encode([apart.smallest]), apart.genome.sample(3, np.random.default_rng(0))])
    costs = cost_table(apart, 10).costs(population)
    for row, architecture in enumerate(apart.decode(population)):
        counted = count(build_subnet(apart, architecture, 10), 1, architecture.resolution, architecture.resolution)
        assert Cost(**{metric: int(values[row]) for metric, values in costs.items()}) == counted


def test_the_table_is_right_for_a_whole_population_at_once() -> None:
    space = search_spaces.load("micro8")
    population = space.genome.sample(20_000, np.random.default_rng(0))  # more rows than are looked up at once
    table = cost_table(space, 10)
    whole = table.costs(population)
    some = [0, 1, 16_383, 16_384, 19_999]
    for metric, values in whole.items():
        assert values.dtype == np.int64
        assert values[some].tolist() == [int(getattr(table, metric)(population[row : row + 1])[0]) for row in some]


def test_two_resolutions_that_end_in_maps_of_one_size_differ_by_their_images() -> None:
    space = search_spaces.load("micro8")
    wide = replace(space, resolution=(7, 8), head=replace(space.head, width=(512,), expand_ratio=8))
    for resolution in wide.resolution:
        largest = replace(wide.largest, resolution=resolution)
        cost = count(build_subnet(wide, largest, 10), 1, resolution, resolution)
        population = wide.encode([largest])
        assert cost_table(wide, 10).costs(population)["memory"][0] == cost.memory


def test_a_population_of_another_space_is_refused_in_words() -> None:
    table = cost_table(search_spaces.load("micro8"), 10)
    with pytest.raises(ValueError, match=r"a population of shape \(n, 15\) is needed, got \(2, 3\)"):
        table.macs(np.zeros((2, 3), dtype=np.uint8))


def test_the_space_of_an_elastic_network_is_refused_with_the_way_to_count_it() -> None:
    space = ElasticSpace("net", resolution=(8,), image_channels=1, parts=())
    with pytest.raises(ValueError, match=r"ElasticSpace.*nasvit\.count\(elastic\.extract"):
        cost_table(space, 10)  # type: ignore[arg-type]


def test_the_cost_of_a_live_subnet_is_that_of_the_extracted_one() -> None:
    space = search_spaces.load("micro8")
    supernet = Supernet(space, 10)
    extracted = count(supernet.extract(space.largest), 1, 8, 8)
    assert count(supernet.at(space.largest), 1, 8, 8) == extracted
    assert not supernet.at(space.largest).head.classifier.weight.is_meta


def test_counting_leaves_the_network_as_it_was() -> None:
    space = search_spaces.load("micro8")
    network = build_subnet(space, space.largest, 10).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = count(network, 1, 8, 8)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert count(network, 1, 8, 8) == first


def test_a_cost_counted_by_hand_comes_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5))
    # The image, the map after the convolution and the map after the ReLU are alive at once. A channel of integers has
    # a scale and a bias.
    assert count(network, 3, 8, 8) == Cost(
        macs=8 * 8 * 4 * 3 * 9 + 4 * 64 * 5,
        params=4 * 27 + 4 + 4 * 64 * 5 + 5,
        memory=4 * 64 * (3 + 4 + 4),
        int8_size=4 * 27 + 4 * 8 + 4 * 64 * 5 + 5 * 8,
    )


def test_batch_norms_are_folded_into_integers_and_other_norms_stay_floats() -> None:
    norms = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.GroupNorm(1, 4))
    assert count(norms, 3, 2, 2).int8_size == 12 + 4 * 8 + 2 * 4 * 4
    tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    tied[1].weight = tied[0].weight
    assert count(tied, 6).int8_size == 36 + 6 * 8
