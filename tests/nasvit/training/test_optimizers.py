"""Optimizers built from a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from nasvit.training.checkpoint import Checkpoints
from nasvit.training.optimizers import (
    build_optimizer,
    is_decayed,
    is_decayed_unless_depthwise,
    parameter_groups,
    set_learning_rate,
)

NAMES = ("sgd", "rmsprop_tf", "adamw", "lamb")


@dataclass(frozen=True)
class Recipe:
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 0.01


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns(name: str) -> None:
    model = small_model()
    optimizer = build_optimizer(model.named_parameters(), Recipe(name, learning_rate=0.01))
    images, targets = torch.randn(16, 3, 3, 3), torch.arange(16) % 2
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_acts_on_weights_and_nothing_else(name: str) -> None:
    model = small_model()
    optimizer = build_optimizer(model.named_parameters(), Recipe(name, weight_decay=0.05))
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    found = {key: decays[id(parameter)] for key, parameter in model.named_parameters()}
    assert found == {"0.weight": 0.05, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.05, "3.bias": 0}


@pytest.mark.parametrize(
    "name",
    [
        "stages.1.attention.position_bias.table",
        "blocks.3.relative_position_bias_table",
        "stages.1.attention_scale.weight",
    ],
)
def test_tables_and_scales_are_not_decayed_though_they_have_several_axes(name: str) -> None:
    assert not is_decayed(name, nn.Parameter(torch.ones(3, 3, 2)))


@pytest.mark.parametrize("name", ["stages.0.expand.conv.weight", "conv_norm.conv.weight", "attention.before.weight"])
def test_weights_are_decayed(name: str) -> None:
    assert is_decayed(name, nn.Parameter(torch.ones(3, 3)))


def test_a_rule_of_ones_own_says_what_is_decayed() -> None:
    weights = {"full.weight": torch.ones(4, 4, 3, 3), "depthwise.weight": torch.ones(4, 1, 3, 3)}
    weights |= {"classifier.weight": torch.ones(2, 4), "norm.weight": torch.ones(4)}
    model = [(name, nn.Parameter(weight)) for name, weight in weights.items()]
    optimizer = build_optimizer(model, Recipe(weight_decay=0.05), is_decayed_unless_depthwise)
    decayed = {id(each) for group in optimizer.param_groups if group["weight_decay"] for each in group["params"]}
    assert [name for name, parameter in model if id(parameter) in decayed] == ["full.weight", "classifier.weight"]
    assert is_decayed(*model[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_step_neither_zeroes_nor_replaces_gradients(name: str) -> None:
    parameter = nn.Parameter(torch.ones(3, 2))
    buffer = torch.arange(6.0)
    parameter.grad = buffer.view(3, 2)
    build_optimizer([("weight", parameter)], Recipe(name)).step()
    assert parameter.grad is not None and parameter.grad.data_ptr() == buffer.data_ptr()
    assert buffer.tolist() == [0, 1, 2, 3, 4, 5]
    assert not torch.equal(parameter, torch.ones(3, 2))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_writes_into_the_parameters_memory(name: str) -> None:
    parameter = nn.Parameter(torch.ones(4, 4))
    view = parameter.detach()[:2, :2]
    parameter.grad = torch.ones(4, 4)
    build_optimizer([("weight", parameter)], Recipe(name)).step()
    assert torch.equal(view, parameter.detach()[:2, :2]) and float(view[0, 0].detach()) != 1.0


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_restored_from_a_checkpoint_goes_on_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter) * 0.1 + parameter.detach()
            optimizer.step()

    unbroken, first, second = small_model(), small_model(), small_model()
    train(unbroken, build_optimizer(unbroken.named_parameters(), Recipe(name)), 5)
    optimizer = build_optimizer(first.named_parameters(), Recipe(name))
    train(first, optimizer, 2)
    Checkpoints(tmp_path).save(2, {"model": first.state_dict(), "optimizer": optimizer.state_dict()})
    saved = Checkpoints(tmp_path).load_last()
    assert saved is not None
    second.load_state_dict(saved.state["model"])
    resumed = build_optimizer(second.named_parameters(), Recipe(name))
    resumed.load_state_dict(saved.state["optimizer"])
    train(second, resumed, 3)
    assert all(torch.equal(*pair) for pair in zip(unbroken.parameters(), second.parameters()))


def test_sgd_has_nesterov_momentum() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    optimizer = build_optimizer([("weight", parameter)], Recipe(weight_decay=0.0, learning_rate=0.5))
    optimizer.step()
    assert torch.allclose(parameter, torch.full((2, 2), -0.5 * 1.9))
    optimizer.step()
    assert torch.allclose(parameter, torch.full((2, 2), -0.5 * (1.9 + 1 + 0.9 * 1.9)))


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_weight_decay_of_adamw_and_lamb_does_not_enter_their_moments(name: str) -> None:
    parameter = nn.Parameter(torch.full((2, 2), 8.0))
    parameter.grad = torch.zeros(2, 2)
    optimizer = build_optimizer([("weight", parameter)], Recipe(name, weight_decay=0.5, learning_rate=0.1))
    optimizer.step()
    assert float(parameter.detach().max()) < 8.0
    assert not optimizer.state[parameter]["exp_avg"].any()


def test_lamb_leaves_clipping_to_the_recipe() -> None:
    moments = []
    for scale in (1.0, 100.0):
        parameter = nn.Parameter(torch.ones(2, 2))
        parameter.grad = torch.full((2, 2), scale)
        optimizer = build_optimizer([("weight", parameter)], Recipe("lamb"))
        optimizer.step()
        moments.append(optimizer.state[parameter]["exp_avg"])
    assert torch.allclose(moments[1], 100 * moments[0])


def test_the_learning_rate_is_set_in_every_group() -> None:
    optimizer = build_optimizer(small_model().named_parameters(), Recipe())
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_an_unknown_optimizer_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="'adam': legal are sgd, rmsprop_tf, adamw, lamb"):
        build_optimizer(small_model().named_parameters(), Recipe("adam"))


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_refused() -> None:
    model = small_model()
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(model.named_parameters(), 0.1)) == 4
    with pytest.raises(ValueError, match="nothing to optimize"):
        parameter_groups(model.requires_grad_(False).named_parameters(), 0.1)


@pytest.mark.parametrize("name", ["rmsprop_tf", "lamb"])
def test_updates_of_all_tensors_at_once_are_those_of_one_after_the_other(name: str) -> None:
    together, apart = small_model(), small_model()
    optimizers = [
        build_optimizer(each.named_parameters(), Recipe(name, weight_decay=0.05)) for each in (together, apart)
    ]
    assert all(group["foreach"] for group in optimizers[0].param_groups)
    for group in optimizers[1].param_groups:
        group["foreach"] = False
    numbers = torch.Generator().manual_seed(0)
    for _ in range(5):
        for one, other in zip(together.parameters(), apart.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=numbers)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    assert {key: sorted(each) for key, each in states[0].items()} == {
        key: sorted(each) for key, each in states[1].items()
    }
