"""A live subnet that somebody kept while its network's tensors were replaced."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from nasvit.supernets.slimmable import SlimmableNetwork
from tests.nasvit.supernets.tiny import FAMILY, images, tiny

REPLACE: dict[str, Callable[[SlimmableNetwork], object]] = {
    "cast": lambda network: network.float(),
    "assign": lambda network: network.load_state_dict(copy.deepcopy(network.state_dict()), assign=True),
}
KEEP: dict[str, Callable[[SlimmableNetwork], object]] = {
    "copied": copy.deepcopy,
    "calibrated": lambda network: network.calibrate([images()]),
    "evaluated": lambda network: network.eval().at(1.0)(images()),
}


@pytest.mark.parametrize("replace", REPLACE.values(), ids=REPLACE)
def test_a_subnet_kept_while_tensors_were_replaced_says_so_when_it_trains(
    replace: Callable[[SlimmableNetwork], object],
) -> None:
    network = tiny()
    kept = network.at(0.5).train()
    replace(network)
    network.zero_grad()
    with pytest.raises(RuntimeError, match=r"cut off from its supernet.*take it anew"):
        kept(images()).sum().backward()
    fresh = network.at(0.5).train()
    fresh(images().to(next(fresh.parameters()).dtype)).sum().backward()
    assert network.gradients.norm() > 0


@pytest.mark.parametrize("deed", KEEP.values(), ids=KEEP)
def test_a_subnet_kept_while_tensors_stayed_trains_on(deed: Callable[[SlimmableNetwork], object]) -> None:
    network = tiny()
    kept = network.at(0.5).train()
    deed(network)
    kept(images()).sum().backward()
    assert network.gradients.norm() > 0


def test_a_subnet_whose_network_is_gone_trains_on() -> None:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 5).double()
    kept = network.at(0.5).train()
    network.forget()
    del network
    kept(images()).sum().backward()
    assert all(isinstance(parameter.grad, torch.Tensor) for parameter in kept.parameters())
