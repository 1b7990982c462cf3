"""Any network inside wider ones: a subnet of them, bit for bit, that trains with one of them a step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasvit.any_network.augmented import AugmentedModel, inner_groups
from nasvit.any_network.gathered import gather, put
from nasvit.any_network.plan import plan_of
from nasvit.supernets.sorting import sort_channels
from tests.nasvit.any_network.networks import (
    Attending,
    Classifying,
    Gated,
    Grouped,
    Halves,
    Looked,
    OverWholeMaps,
    PixelShuffled,
    Residual,
    Twice,
    UNet,
)
from tests.nasvit.any_network.oracle import shaken

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MIDDLES: dict[str, Any] = {
    "residual": lambda: Residual(8, 16),
    "attention": Attending,
    "gated": Gated,
    "grouped": Grouped,
    "table": Looked,
    "norms": OverWholeMaps,
    "shuffled": PixelShuffled,
    "twice": Twice,
    "unet": UNet,
}


class CutOff(nn.Module):
    """Code that cuts off what is too much, as in GhostNet, and so cannot have more."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.some, self.more, self.after = 12, nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.cat([self.some(x), self.more(x)], 1)[:, : self.out])


class Blocks(nn.Module):
    """A residual block, one of its class without a shortcut, and a convolution between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.between, self.two = Optional(8, 8), nn.Conv2d(8, 10, 1), Optional(10, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self.one(x)))


class Optional(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.adds = channels == out
        self.expand, self.project = nn.Conv2d(channels, 16, 1), nn.Conv2d(16, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.expand(x).relu()) if self.adds else self.project(self.expand(x).relu())


def network_of(middle: nn.Module) -> Classifying:
    network = Classifying(middle)
    shaken(network)
    return network.eval()


def made(middle: nn.Module, **factors: Any) -> tuple[AugmentedModel, Classifying]:
    torch.manual_seed(0)
    network = network_of(middle)
    return AugmentedModel(network, plan_of(network, X), (3, 8, 8), **factors), network


@pytest.mark.parametrize("middle", MIDDLES)
def test_the_network_inside_is_the_one_that_was_given_bit_for_bit(middle: str) -> None:
    model, network = made(MIDDLES[middle](), width=(1, 1.5, 2), expand=(1, 2))
    assert all(each.units > dict(model.base.width)[each.name] for each in model.plan.groups)
    extracted = model.extract().eval()
    assert type(extracted) is type(network)
    assert extracted.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(each, network.state_dict()[name]) for name, each in extracted.state_dict().items())
    with torch.no_grad():
        assert torch.equal(extracted(X), network(X))
        assert torch.equal(model.eval().at(model.base)(X), network(X))
        assert model.at(model.space.largest)(X).isfinite().all()
    assert sum(each.numel() for each in model.parameters()) > 2 * sum(each.numel() for each in network.parameters())


def test_augmented_networks_are_drawn_group_by_group_from_the_factors() -> None:
    model, _ = made(Blocks(), width=(1, 2), expand=(1, 3))
    assert model.inner == {"middle.one.expand", "middle.two.expand"}
    base, generator = dict(model.base.width), torch.Generator().manual_seed(0)
    drawn = [dict(model.sample(generator).width) for _ in range(30)]
    for name, units in base.items():
        assert {each[name] for each in drawn} == {units, units * (3 if name in model.inner else 2)}
    for widths, expands in ((False, True), (True, False)):
        some = [dict(model.sample(generator, widths=widths, expands=expands).width) for _ in range(30)]
        changed = {name for each in some for name in each if each[name] != base[name]}
        assert changed == {name for name in base if (name in model.inner) == expands}
    for sizes in drawn:
        model.space.check(model.space.architecture(width=sizes))


def test_channels_inside_one_residual_block_are_told_from_those_that_blocks_share() -> None:
    network = network_of(Residual(8, 16))
    assert inner_groups(network, plan_of(network, X)) == {"middle.expand.0"}
    plain = network_of(PixelShuffled())
    assert inner_groups(plain, plan_of(plain, X)) == set()


def test_both_networks_of_a_step_add_to_the_weights_that_they_share() -> None:
    model, network = made(Residual(8, 16), width=(1, 2), expand=(1, 2))
    model.zero_grad()
    model.at(model.base).train()(X).square().sum().backward()
    own = {name: each.grad.clone() for name, each in model.network.named_parameters() if each.grad is not None}
    network.train()(X).square().sum().backward()
    for name, parameter in network.named_parameters():
        index = tuple(slice(size) for size in parameter.shape)
        torch.testing.assert_close(own[name][index], parameter.grad, rtol=1e-3, atol=1e-3)
        assert own[name].count_nonzero() <= parameter.numel()
    model.at(model.space.largest).train()(X).square().sum().backward()
    wide = model.network.middle.expand[0].weight.grad
    assert (wide[16:] != 0).any() and (wide[:, 8:] != 0).any()


def test_sorting_moves_weights_moments_and_averages_and_leaves_the_widest_network_alone() -> None:
    model, _ = made(Residual(8, 16), width=(1, 2), expand=(1, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    average = copy.deepcopy(model)
    model.zero_grad()
    model.at(model.space.largest).train()(X).square().sum().backward()
    optimizer.step()
    weight = model.network.middle.expand[0].weight
    before, moment = weight.detach().clone(), optimizer.state[weight]["exp_avg"].clone()
    outer = model.network.stem[0].weight.detach().clone()
    with torch.no_grad():
        wanted = model.eval().at(model.space.largest)(X)
        sort_channels(model, [optimizer], [average])
        torch.testing.assert_close(model.at(model.space.largest)(X), wanted, rtol=1e-4, atol=1e-4)
    order = torch.stack([(row == before).flatten(1).all(1) for row in weight]).int().argmax(1)
    assert order.tolist() != [*range(32)] and sorted(order.tolist()) == [*range(32)]
    assert torch.equal(optimizer.state[weight]["exp_avg"], moment[order])
    assert torch.equal(average.network.middle.expand[0].weight, weight)
    assert torch.equal(model.network.stem[0].weight, outer)


def test_what_was_gathered_can_be_put_back() -> None:
    whole, rows, columns = torch.zeros(6, 5, 3), torch.tensor([0, 4, 5]), torch.tensor([1, 3])
    for index in ((rows, columns, slice(1, 3)), (rows, slice(0, 5), slice(0, 3)), (slice(1, 3), slice(0, 2), slice(2))):
        part = torch.rand_like(gather(whole, index))
        put(whole, index, part)
        assert torch.equal(gather(whole, index), part)
    put(whole, None, torch.ones_like(whole))
    assert whole.min() == 1


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: made(CutOff()),
            r"the network cannot be wider: the code of middle does not follow \(__getitem__ gives",
        ),
        (lambda: made(Halves()), "nothing in Classifying can be wider: .*; stem.0: all of its channels"),
        (lambda: made(Residual(8, 8), width=(2, 3)), r"width=\[2, 3\]; augmentation factors are finite and start at 1"),
    ],
)
def test_what_cannot_be_wider_is_refused_in_words(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()
