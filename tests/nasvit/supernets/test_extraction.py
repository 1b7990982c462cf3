"""An extracted network computes what the subnet computed, and is its own."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import search_spaces
from nasvit.elastic import SharedParameter, is_live
from nasvit.layers import Network
from nasvit.layers.calibration import calibrate
from nasvit.supernets.supernet import Supernet, build_subnet
from search_spaces import Architecture, Space
from tests.nasvit.filled import filled, images


@cache
def supernet_of(name: str) -> Supernet:
    return filled(Supernet(search_spaces.load(name), 3))


def drawn(name: str, seed: int) -> tuple[Space, Supernet, Architecture]:
    space = search_spaces.load(name)
    return space, supernet_of(name), space.sample(np.random.default_rng(seed))


SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", ["micro8", "micro32", "ghost_micro32"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@settings(max_examples=3)
@given(seed=SEEDS)
def test_an_extracted_network_computes_the_same_in_float32_bit_for_bit(
    name: str, layout: torch.memory_format, seed: int
) -> None:
    space, supernet, architecture = drawn(name, seed)
    x = images(space).contiguous(memory_format=layout)
    assert torch.equal(supernet.at(architecture)(x), supernet.extract(architecture)(x))
    live = calibrate(supernet.at(architecture), [x, -x])
    assert torch.equal(live(x), supernet.extract(architecture, [x, -x])(x))


@settings(max_examples=3)
@given(seed=SEEDS)
def test_an_extracted_network_learns_the_same_gradients(seed: int) -> None:
    space, supernet, architecture = drawn("micro8", seed)
    supernet.zero_grad()
    live, own = supernet.at(architecture), supernet.extract(architecture)
    for network in (live, own):
        F.cross_entropy(network.train()(images(space)), torch.arange(4) % 3).backward()
    for mine, copied in zip(live.parameters(), own.parameters(), strict=True):
        assert torch.equal(mine.grad, copied.grad)


@pytest.mark.parametrize("name", ["micro8", "nasvit_release"])
def test_an_extracted_network_is_compact_and_ordinary(name: str) -> None:
    space = search_spaces.load(name)
    network = supernet_of(name).extract(space.smallest)
    assert not is_live(network)
    for tensor in (*network.parameters(), *network.buffers()):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        assert not isinstance(tensor, SharedParameter)
    assert all(parameter.grad is None for parameter in network.parameters())
    network.double().requires_grad_(False)


def test_neither_side_sees_what_happens_to_the_other_after_extraction() -> None:
    space = search_spaces.load("micro8")
    supernet, x = filled(Supernet(space, 3)), images(space)
    network = supernet.extract(space.largest, [x])
    before, shared = network(x), copy.deepcopy(supernet.state_dict())
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert torch.equal(network(x), before)
    supernet.load_state_dict(shared)
    network.train()(x).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert all(torch.equal(tensor, shared[key]) for key, tensor in supernet.state_dict().items())
    assert not supernet.gradients.rows.any()


def test_stored_statistics_are_extracted_as_copies() -> None:
    space = search_spaces.load("micro8")
    supernet, x = filled(Supernet(space, 3, stored_statistics=True)), images(space)
    supernet.at(space.largest).train()(x)
    network = supernet.extract(space.smallest)
    assert all(b.untyped_storage().nbytes() == b.numel() * b.element_size() for b in network.buffers())
    live = supernet.at(space.smallest).eval()
    assert torch.equal(live(x), network.eval()(x))
    supernet.at(space.largest).train()(3 * x)
    assert not torch.equal(live(x), network(x))


def test_an_extracted_network_works_while_training() -> None:
    space = search_spaces.load("micro8")
    network: Network = supernet_of("micro8").extract(space.largest).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images(space)), torch.arange(4) % 3)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_extraction_can_leave_the_resizing_out() -> None:
    space = search_spaces.load("micro32")
    supernet, x = supernet_of("micro32"), images(space)
    small = next(a for a in (space.smallest, space.largest) if a.resolution < x.shape[2])
    resized = F.interpolate(x, size=(small.resolution,) * 2, mode="bicubic", align_corners=False)
    with_it, without = supernet.extract(small), supernet.extract(small, resize=False)
    assert without.resize is None
    assert torch.equal(with_it(x), without(resized))


def test_a_network_built_from_scratch_has_the_subnets_shapes_and_keeps_statistics() -> None:
    space = search_spaces.load("micro8")
    network = build_subnet(space, space.smallest, 3, seed=4)
    shapes = {name: tensor.shape for name, tensor in supernet_of("micro8").at(space.smallest).named_parameters()}
    assert {name: tensor.shape for name, tensor in network.named_parameters()} == shapes
    again = build_subnet(space, space.smallest, 3, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    network(images(space))
    assert network.eval()(images(space)).shape == (4, 3)


def test_a_checkpoint_of_a_trained_supernet_gives_the_same_subnets() -> None:
    space = search_spaces.load("micro8")
    supernet, other = supernet_of("micro8"), Supernet(space, 3, seed=9)
    other.load_state_dict(supernet.state_dict())
    assert torch.equal(other.at(space.largest)(images(space)), supernet.at(space.largest)(images(space)))
