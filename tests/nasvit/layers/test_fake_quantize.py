"""Rounding in training: what is computed, what learns, and what is left behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nasvit.layers.fake_quantize import InputRange, fake_quantize, round_weight, set_ranges, without_fake_quantization
from nasvit.registry import create


def network() -> nn.Module:
    torch.manual_seed(0)
    return create("micro8:largest", 10).network


def images(seed: int = 0) -> Tensor:
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_weight_has_255_values_a_channel_and_its_largest_stays() -> None:
    weight = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [10], [0.1], [3]])
    rounded = round_weight(weight)
    steps = weight.abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(rounded / steps, (weight / steps).round(), atol=1e-4, rtol=0)
    assert all(100 < len(row.unique()) <= 255 for row in rounded)
    torch.testing.assert_close(rounded.abs().amax(1), weight.abs().amax(1))


def test_a_factor_of_a_channel_commutes_with_rounding() -> None:
    weight, factor = torch.randn(8, 3, 3, 3), torch.randn(8, 1, 1, 1)
    torch.testing.assert_close(round_weight(weight * factor), round_weight(weight) * factor)


def test_a_map_has_256_values_between_the_ends_that_it_had() -> None:
    inputs = InputRange().train()
    first = torch.linspace(-1, 3, 4001)
    rounded = inputs(first)
    assert (inputs.low, inputs.high) == (-1, 3)
    assert len(rounded.unique()) == 256
    torch.testing.assert_close(rounded, first, atol=4 / 255 / 2 + 1e-5, rtol=0)
    assert inputs.eval()(torch.zeros(1)) == 0  # exactly, as padding is
    inputs.train()(10 * first)
    torch.testing.assert_close(inputs.high, torch.tensor(3 + 0.01 * 27))
    before = inputs.high.clone()
    for wrong in (float("inf"), float("nan")):
        inputs(torch.tensor([0.0, wrong]))
    assert inputs.high == before
    inputs.eval()(100 * first)
    assert inputs.high == before


def test_all_layers_round_and_all_weights_learn_and_are_what_they_were() -> None:
    plain = network().train()
    rounding = fake_quantize(copy.deepcopy(plain))
    assert [name for name, _ in rounding.named_parameters()] == [name for name, _ in plain.named_parameters()]
    layers = [module for module in rounding.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert all(hasattr(layer, "input_range") for layer in layers)
    plain_scores, scores = plain(images()), rounding(images())
    assert 0 < (scores - plain_scores).abs().max() < 0.2 * plain_scores.abs().max()
    for each in (plain_scores, scores):
        each.square().sum().backward()
    learn = [[name for name, p in each.named_parameters() if p.grad.any()] for each in (plain, rounding)]  # type: ignore[union-attr]
    assert learn[0] == learn[1]
    assert len(learn[0]) > 50
    assert not any("weight" in layer.__dict__ for layer in layers)
    again = without_fake_quantization(rounding)
    assert again.state_dict().keys() == plain.state_dict().keys()
    track = copy.deepcopy(plain).eval()
    track.load_state_dict(again.state_dict())
    assert torch.equal(again(images(1)), track(images(1)))
    assert any(hasattr(module, "input_range") for module in rounding.modules())  # the original goes on


def test_ranges_are_taken_from_images_and_nothing_else_changes() -> None:
    rounding = fake_quantize(network())
    before = copy.deepcopy(rounding.state_dict())
    assert set_ranges(rounding, [images(), images(1)]) is rounding
    changed = [name for name, tensor in rounding.state_dict().items() if not torch.equal(tensor, before[name])]
    ranges = [name for name, module in rounding.named_modules() if isinstance(module, InputRange)]
    assert {name.rpartition(".")[0] for name in changed} == set(ranges)
    assert not any(module.training for module in rounding.modules())


def test_a_failed_forward_leaves_the_weights_in_place() -> None:
    rounding = fake_quantize(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(RuntimeError):
        rounding(torch.rand(1, 7, 8, 8))
    assert isinstance(rounding[0].weight, nn.Parameter)


def test_a_training_with_rounding_learns_weights_that_lose_nothing_by_rounding() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(512, 16)
    targets = (inputs[:, :1] * 1.3 + inputs[:, 1:2]).tanh()
    rounding = fake_quantize(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1)))
    optimizer = torch.optim.Adam(rounding.parameters(), 1e-2)
    for _ in range(150):
        loss = nn.functional.mse_loss(rounding(inputs), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert nn.functional.mse_loss(rounding.eval()(inputs), targets) < 0.02
    ranges = [module for module in rounding.modules() if isinstance(module, InputRange)]
    assert all(each.high > 1 for each in ranges)
