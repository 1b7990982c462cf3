"""Blocks that are built alone are the blocks that stand in the networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nasvit.costs.latency.timed_modules import choose_networks, timed_blocks, timed_network
from nasvit.layers import Network
from search_spaces import Space


def signature(module: nn.Module, shape: tuple[int, ...]) -> tuple[str, str, tuple[int, ...]]:
    """What a device sees of a block: its modules, its tensors, its input."""
    tensors = [(name, tuple(tensor.shape), tensor.stride()) for name, tensor in module.state_dict().items()]
    return str(module), str(tensors), shape


def run_and_watch(network: Network, images: Tensor) -> list[Any]:
    """The signature of every block as it is met by an image."""
    met: list[Any] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        met.append(signature(module, tuple(inputs[0].shape)))

    blocks = [block for stage in network.stages for block in stage]  # type: ignore[union-attr]
    for block in (network.stem, *blocks, network.head):
        block.register_forward_pre_hook(note)
    network(images)
    return met


@pytest.mark.parametrize(("name", "networks"), [("micro8", 4), ("micro32", 1)])
@torch.no_grad()
def test_every_block_of_a_subnet_is_a_timed_module_as_it_stands_in_the_subnet(name: str, networks: int) -> None:
    space = search_spaces.load(name)
    signatures = [signature(timed.make(), timed.shape) for timed in timed_blocks(space, 7, 2)]
    for architecture in choose_networks(space, networks, seed=1):
        whole = timed_network(space, architecture, 7, 2)
        network = whole.make()
        assert isinstance(network, Network)
        met = run_and_watch(network, torch.zeros(whole.shape))
        assert set(met) <= set(signatures)
        assert len(met) == sum(architecture.depth) + 2


@pytest.mark.parametrize("name", ["micro8", "micro32"])
@torch.no_grad()
def test_a_timed_module_takes_its_input_and_is_in_evaluation_mode(name: str) -> None:
    for timed in timed_blocks(search_spaces.load(name), 10, 1)[::7]:
        module = timed.make()
        assert torch.isfinite(module(torch.ones(timed.shape))).all()
        assert not module.training
        assert not any(hasattr(parameter, "source") for parameter in module.parameters())


def small_space() -> Space:
    return search_spaces.load("micro8")


def test_the_networks_are_different_and_begin_with_the_ends_of_the_space() -> None:
    space = small_space()
    networks = choose_networks(space, 30, seed=0)
    assert networks[:2] == [space.smallest, space.largest]
    assert len(set(networks)) == 30
    assert choose_networks(space, 20, seed=0) == networks[:20]
    assert choose_networks(space, 30, seed=1) != networks


def test_a_space_of_one_subnet_gives_one_network() -> None:
    space = small_space()
    alone = space.restrict(space.sample(np.random.default_rng(0)))
    assert len(choose_networks(alone, 10, seed=0)) == 1
