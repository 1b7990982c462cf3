"""Blocks of spaces take the batch norms of slimmable networks, and those of slimmable networks elastic kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import search_spaces
from nasvit.elastic import ElasticMBConv, Switch
from nasvit.elastic.norms import switchable_norm
from nasvit.layers import BatchNorm2d
from nasvit.supernets.supernet import Supernet
from tests.nasvit.filled import filled, images

SPACE = search_spaces.load("micro8")


def switched(*, seed: int = 0) -> Supernet:
    others = [SPACE.sample(np.random.default_rng(number)) for number in range(2)]
    return Supernet(SPACE, 5, seed=seed, switches=(SPACE.smallest, *others, SPACE.largest))


@pytest.mark.parametrize("name", ["micro8", "ghost_micro32"])
def test_a_space_may_have_switchable_batch_norms(name: str) -> None:
    space = search_spaces.load(name)
    switches = (space.smallest, space.sample(np.random.default_rng(1)), space.largest)
    supernet = filled(Supernet(space, 5, switches=switches))
    x = images(space, 4)
    for number, architecture in enumerate(switches):
        before = {key: tensor.clone() for key, tensor in supernet.state_dict().items()}
        supernet.at(architecture).train()(x)
        moved = {key for key, tensor in supernet.state_dict().items() if not torch.equal(tensor, before[key])}
        assert moved
        assert all(f".switches.{number}.running" in key or key.endswith("tracked") for key in moved)
    extracted = [supernet.extract(each).eval() for each in switches]
    for own, architecture in zip(extracted, switches, strict=True):
        assert torch.equal(own(x), supernet.at(architecture).eval()(x))
    assert len({tuple(each.stem.norm.weight[:2].tolist()) for each in extracted}) == len(switches)


def test_switches_that_are_untrained_compute_what_a_supernet_without_switches_computes() -> None:
    supernet, plain, x = switched(seed=3), Supernet(SPACE, 5, seed=3), images(SPACE, 4)
    for architecture in supernet.switches:
        assert torch.equal(supernet.at(architecture).train()(x), plain.at(architecture).train()(x))


def test_an_architecture_that_is_no_switch_is_refused_in_words() -> None:
    supernet = Supernet(SPACE, 5, switches=(SPACE.smallest,))
    with pytest.raises(
        ValueError, match=rf"{SPACE.largest.key} is none of the supernet's switches: {SPACE.smallest.key}"
    ):
        supernet.at(SPACE.largest)
    with pytest.raises(ValueError, match=f"a switch is listed twice: {SPACE.largest.key}, {SPACE.largest.key}"):
        Supernet(SPACE, 5, switches=(SPACE.largest, SPACE.largest))


def test_a_slimmable_block_may_have_elastic_kernels() -> None:
    block = filled(ElasticMBConv((8, 16), (24, 48), (8, 16), kernel_size=5, shortcut="always", norm=switchable_norm))
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    wide, narrow = (block.at(8, 24, 8, side, Switch(0)) for side in (5, 3))
    assert torch.equal(narrow.depthwise.conv.weight, wide.depthwise.conv.weight[:, :, 1:-1, 1:-1])  # type: ignore[union-attr, index]
    assert isinstance(narrow.depthwise.norm, BatchNorm2d)
    assert narrow.depthwise.norm.running_mean is wide.depthwise.norm.running_mean  # type: ignore[union-attr]
    assert not torch.equal(narrow.train()(x), wide.train()(x))
