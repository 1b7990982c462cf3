"""Subnets drawn from every space of the catalog compute and learn what slicing through autograd does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import search_spaces
from nasvit.supernets.supernet import Supernet
from search_spaces import Architecture, Space
from tests.nasvit.elastic import reference
from tests.nasvit.filled import filled, images

LARGE = ("alphanet", "attentive_nas", "fbnetv3", "mnv4", "nasvit", "nasvit_release")


ONE_SCALE = "micro32 with transformer: {scale: shared}"


@cache
def small_images(name: str) -> Space:
    """A space of the catalog; of the large ones, small images and the first two depths of every stage."""
    space = search_spaces.load(name.split()[0])
    if name == ONE_SCALE:
        assert space.transformer is not None
        return replace(space, transformer=replace(space.transformer, scale="shared"))
    if name not in LARGE:
        return space
    stages = tuple(replace(stage, depth=stage.depth[:2]) for stage in space.stages)
    return replace(space, resolution=(32, 64), stages=stages)


@cache
def supernet_of(name: str) -> tuple[Supernet, dict[str, torch.Tensor]]:
    supernet = filled(Supernet(small_images(name), 5).double())
    return supernet, {n: p.detach().clone().requires_grad_() for n, p in supernet.named_parameters()}


def check_learns_what_slicing_does(name: str, architecture: Architecture) -> None:
    space, (supernet, weights) = small_images(name), supernet_of(name)
    supernet.zero_grad()
    for tensor in weights.values():
        tensor.grad = None
    x = images(space, 2, dtype=torch.float64)
    scores, expected = supernet.at(architecture).train()(x), reference.network(weights, space, architecture, x)
    assert torch.equal(scores, expected)
    scores.square().sum().backward()
    expected.square().sum().backward()
    for key, parameter in supernet.named_parameters():
        wanted = weights[key].grad
        assert parameter.grad is not None
        if wanted is None:
            assert not parameter.grad.any(), key
        else:
            assert torch.equal(parameter.grad, wanted), key


@pytest.mark.parametrize("name", sorted(set(search_spaces.names()) - set(LARGE)))
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_drawn_subnet_computes_and_learns_what_slicing_does_bit_for_bit(name: str, seed: int) -> None:
    check_learns_what_slicing_does(name, small_images(name).sample(np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ["micro8", "micro32", ONE_SCALE, "ghost_micro32"])
@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_the_ends_of_a_space_compute_and_learn_what_slicing_does(name: str, end: str) -> None:
    check_learns_what_slicing_does(name, getattr(small_images(name), end))


@pytest.mark.parametrize("name", sorted(LARGE))
@settings(max_examples=2)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_drawn_subnet_of_a_large_space_computes_and_learns_what_slicing_does(name: str, seed: int) -> None:
    check_learns_what_slicing_does(name, small_images(name).sample(np.random.default_rng(seed)))


def teardown_module() -> None:
    supernet_of.cache_clear()
