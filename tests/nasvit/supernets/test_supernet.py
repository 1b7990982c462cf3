"""The supernet: what its subnets share, what they do not, and what would cut them off."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import search_spaces
from nasvit.elastic import Elastic, SharedParameter, is_live
from nasvit.layers import BatchNorm2d
from nasvit.layers.calibration import calibrate
from nasvit.supernets.supernet import Supernet
from nasvit.training.ema import MovingAverage
from tests.nasvit.filled import filled, images

SPACE = search_spaces.load("micro8")
X = images(SPACE)
LABELS = torch.arange(4) % 3


def supernet(seed: int = 0) -> Supernet:
    return filled(Supernet(SPACE, 3, seed=seed))


def train(network: Supernet, steps: int = 3, rate: float = 0.1) -> list[float]:
    """A few ordinary steps on the smallest and the largest subnet; the losses of the largest."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    network.guard(optimizer)
    losses = []
    for _ in range(steps):
        network.zero_grad()
        for architecture in (SPACE.smallest, SPACE.largest):
            loss = F.cross_entropy(network.at(architecture).train()(X.to(network.head.classifier.weight)), LABELS)
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().double() for parameter in network.parameters()])


def test_an_ordinary_backward_of_a_subnet_trains_the_supernet() -> None:
    losses = train(supernet(), steps=6)
    assert losses[-1] < losses[0]


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    assert torch.equal(weights(Supernet(SPACE, 3, seed=1)), weights(Supernet(SPACE, 3, seed=1)))
    assert not torch.equal(weights(Supernet(SPACE, 3, seed=1)), weights(Supernet(SPACE, 3, seed=2)))


def test_the_weights_of_a_layer_follow_from_its_name_whatever_surrounds_it() -> None:
    torch.manual_seed(5)
    first = Supernet(SPACE, 3)
    torch.manual_seed(6)
    more_classes = Supernet(SPACE, 7)
    for (name, a), (_, b) in zip(first.named_parameters(), more_classes.named_parameters(), strict=True):
        assert a.shape != b.shape or torch.equal(a, b), name


def test_parameters_that_no_subnet_used_have_zero_gradients() -> None:
    network = supernet()
    network.zero_grad()
    network.at(SPACE.smallest)(X).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert network.gradients.intact()
    assert not network.stages[0][1].depthwise.conv.weight.grad.any()  # beyond the smallest depth
    assert network.stages[0][0].depthwise.conv.weight.grad.any()


def test_momentum_still_moves_parameters_that_a_step_did_not_use() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.zero_grad()
    network.at(SPACE.largest)(X).sum().backward()
    optimizer.step()
    unused = network.stages[0][1].depthwise.conv.weight
    before = unused.detach().clone()
    network.zero_grad()
    network.at(SPACE.smallest)(X).sum().backward()
    optimizer.step()
    assert not torch.equal(unused, before)


def test_no_warning_is_printed_by_an_ordinary_step() -> None:
    program = (
        "import torch, search_spaces, nasvit; space = search_spaces.load('micro8')\n"
        "network = nasvit.Supernet(space, 3); network.zero_grad()\n"
        "for a in (space.largest, space.smallest): network.at(a)(torch.randn(4, 1, 8, 8)).sum().backward()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


# Fresh shells: nothing set on one subnet reaches another.


def test_modes_hooks_and_statistics_of_one_subnet_do_not_reach_the_next() -> None:
    network = supernet()
    first = network.at(SPACE.smallest).eval()
    calls: list[str] = []
    for module in first.modules():
        module.register_forward_hook(lambda *_: calls.append("forward"))
        module.register_forward_pre_hook(lambda *_: calls.append("before"))
        module.register_full_backward_hook(lambda *_: calls.append("backward"))
        if isinstance(module, BatchNorm2d):
            module.track_statistics()
    first.head.dropout = nn.Dropout(0.5)
    first.head.note = "mine"
    second = network.at(SPACE.smallest)
    assert all(module.training for module in second.modules())
    assert all(norm.running_mean is None for norm in second.modules() if isinstance(norm, BatchNorm2d))
    assert second.head.dropout is None
    assert not hasattr(second.head, "note")
    second(X).sum().backward()
    assert calls == []


def test_a_subnet_starts_in_the_mode_of_its_supernet() -> None:
    network = supernet().eval()
    assert not network.at(SPACE.smallest).training
    assert not any(module.training for module in network.at(SPACE.smallest).modules())


def test_two_calls_give_different_modules_around_the_same_views() -> None:
    network = supernet()
    first, second = network.at(SPACE.smallest), network.at(SPACE.smallest)
    assert first.head is not second.head
    assert all(a is b for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_parameters_of_a_subnet_are_leaves_in_the_memory_of_the_supernet() -> None:
    network = supernet()
    memory = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    subnet = network.at(SPACE.smallest)
    assert is_live(subnet)
    assert all(parameter.is_leaf for parameter in subnet.parameters())
    assert {parameter.untyped_storage().data_ptr() for parameter in subnet.parameters()} <= memory


# What would cut a subnet off is noticed.


@pytest.mark.parametrize("how", ["optimizer", "module"])
def test_gradients_set_to_none_are_noticed_by_the_next_subnet(how: str) -> None:
    network = supernet()
    network.at(SPACE.smallest)(X).sum().backward()
    if how == "optimizer":
        torch.optim.SGD(network.parameters(), lr=0.1).zero_grad()
    else:
        nn.Sequential(network).zero_grad()
    with pytest.raises(RuntimeError, match=r"use supernet\.zero_grad\(\) instead of optimizer\.zero_grad\(\)"):
        network.at(SPACE.smallest)


def test_gradients_set_to_none_before_the_first_subnet_are_noticed_too() -> None:
    network = supernet()
    network.zero_grad()
    torch.optim.SGD(network.parameters(), lr=0.1).zero_grad()
    with pytest.raises(RuntimeError, match=r"use supernet\.zero_grad\(\)"):
        network.at(SPACE.smallest)


def test_gradients_set_to_none_are_noticed_by_a_guarded_step() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    network.zero_grad()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match=r"use supernet\.zero_grad\(\)"):
        optimizer.step()


def test_the_way_out_that_the_message_names_works() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.at(SPACE.smallest)(X).sum().backward()
    optimizer.zero_grad()
    network.zero_grad()
    assert len(set(train(network))) == 3
    optimizer.zero_grad(set_to_none=False)
    assert not network.gradients.rows.any()
    assert len(set(train(network))) == 3


def test_zero_grad_refuses_to_set_gradients_to_none() -> None:
    with pytest.raises(ValueError, match=r"set_to_none=True would cut the subnets off"):
        supernet().zero_grad(set_to_none=True)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph_is_noticed_by_a_guarded_step_and_by_the_next_subnet() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    network.zero_grad()
    network.at(SPACE.smallest)(X).sum().backward(create_graph=True)
    with pytest.raises(RuntimeError, match=r"without create_graph=True"):
        optimizer.step()
    with pytest.raises(RuntimeError, match=r"without create_graph=True"):
        network.at(SPACE.smallest)


def test_a_frozen_supernet_gives_frozen_subnets_and_keeps_their_views() -> None:
    network = supernet()
    network.at(SPACE.smallest)
    network.requires_grad_(False)
    subnet = network.at(SPACE.smallest)
    assert not any(parameter.requires_grad for parameter in subnet.parameters())
    assert all(a is b for a, b in zip(subnet.parameters(), network.at(SPACE.smallest).parameters(), strict=True))
    network.zero_grad()
    network.requires_grad_(True)
    train(network)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_subnet_first_asked_for_while_evaluating_trains_afterwards(mode: Callable[[], torch.no_grad]) -> None:
    network, other = supernet(), supernet()
    with mode():
        calibrate(network.at(SPACE.smallest), [X])(X)
        network.at(SPACE.largest)
        network.zero_grad()
    assert train(network) == train(other)
    assert torch.equal(weights(network), weights(other))


# What replaces the supernet's tensors makes views and buffer anew.


def cast(network: Supernet) -> Supernet:
    return network.to(torch.float64)


def assigned(network: Supernet) -> Supernet:
    network.load_state_dict(filled(Supernet(SPACE, 3), seed=7).state_dict(), assign=True)
    return network


def pickled(network: Supernet) -> Supernet:
    return pickle.loads(pickle.dumps(network))


def averaged(network: Supernet) -> Supernet:
    average = MovingAverage(network, 0.9)
    average.update(network)
    average.model.at(SPACE.smallest)
    average.update(network)
    return average.model.train()


REPLACING = [cast, assigned, copy.deepcopy, pickled, averaged]


@pytest.mark.parametrize("replace", REPLACING, ids=lambda f: f.__name__)
def test_training_works_after_the_tensors_of_the_supernet_were_replaced(
    replace: Callable[[Supernet], Supernet],
) -> None:
    network = supernet()
    train(network)
    after = replace(network)
    assert after.gradients.intact()
    plain = copy.deepcopy(after.at(SPACE.largest))
    expected = F.cross_entropy(plain(X.to(after.head.classifier.weight)), LABELS)
    expected.backward()
    after.zero_grad()
    live = after.at(SPACE.largest)
    F.cross_entropy(live(X.to(after.head.classifier.weight)), LABELS).backward()
    for mine, copied in zip(live.parameters(), plain.parameters(), strict=True):
        assert isinstance(mine, SharedParameter)
        assert torch.equal(mine, copied)
        assert torch.equal(mine.grad, copied.grad)
    losses = train(after, steps=6)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("replace", [copy.deepcopy, pickled, averaged], ids=lambda f: f.__name__)
def test_a_copy_of_the_supernet_shares_nothing_with_it(replace: Callable[[Supernet], Supernet]) -> None:
    network = supernet()
    train(network)
    before, copied = weights(network), replace(network)
    train(copied)
    assert torch.equal(weights(network), before)
    gradient = network.gradients.rows.clone()
    copied.at(SPACE.smallest)(X).sum().backward()
    assert torch.equal(network.gradients.rows, gradient)


def test_copies_and_pickles_hold_no_cached_views() -> None:
    network = supernet()
    empty = len(pickle.dumps(network))
    for architecture in (SPACE.smallest, SPACE.largest):
        network.at(architecture)(X).sum().backward()
    assert len(pickle.dumps(network)) <= 1.01 * empty
    assert all(not module._templates for module in copy.deepcopy(network).modules() if isinstance(module, Elastic))
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


def test_a_layer_that_was_frozen_stays_as_it_is_in_every_subnet_and_the_rest_trains() -> None:
    network = supernet()
    train(network)  # views, gradients and momentum of all layers are there
    network.stem.conv.requires_grad_(False)
    assert not network.at(SPACE.smallest).stem.conv.weight.requires_grad
    frozen, before = network.stem.conv.weight.detach().clone(), weights(network)
    train(network)
    assert torch.equal(network.stem.conv.weight, frozen)
    assert network.stem.conv.weight.grad is None
    assert not torch.equal(weights(network), before)
    network.stem.conv.requires_grad_(True)
    train(network)
    assert not torch.equal(network.stem.conv.weight, frozen)


def test_parameters_written_from_one_vector_are_those_of_every_subnet_made_afterwards() -> None:
    network = supernet()
    kept = network.at(SPACE.smallest)
    doubled = 2 * nn.utils.parameters_to_vector(network.parameters())
    nn.utils.vector_to_parameters(doubled, network.parameters())
    assert torch.equal(network.at(SPACE.smallest).head.classifier.weight, network.head.classifier.weight[:, :48])
    train(network)
    with pytest.raises(RuntimeError, match=r"cut off from its supernet.*take it anew"):
        kept(X).sum().backward()


def test_loading_a_part_with_other_tensors_gives_subnets_of_those() -> None:
    network = supernet()
    network.at(SPACE.smallest)
    stem = {name: 2 * tensor for name, tensor in network.stem.state_dict().items()}
    network.stem.conv.load_state_dict({"weight": stem["conv.weight"]}, assign=True)
    assert torch.equal(network.at(SPACE.smallest).stem.conv.weight, stem["conv.weight"][:8])
    train(network)
    assert not torch.equal(network.stem.conv.weight, 2 * filled(Supernet(SPACE, 3)).stem.conv.weight)


FUTURE = (
    torch.__future__.set_swap_module_params_on_conversion,
    torch.__future__.set_overwrite_module_params_on_conversion,
)


@pytest.mark.parametrize("set_future", FUTURE, ids=["swap", "overwrite"])
def test_casting_the_supernet_works_however_pytorch_converts_modules(set_future: Callable[[bool], None]) -> None:
    network = supernet()
    kept = network.at(SPACE.smallest)
    set_future(True)
    try:
        network.double()
    finally:
        set_future(False)
    train(network)
    assert network.at(SPACE.smallest).head.classifier.weight.dtype == torch.float64
    with pytest.raises(RuntimeError, match=r"cut off from its supernet.*take it anew"):
        kept(X).sum().backward()


def test_loading_in_place_keeps_the_views() -> None:
    network = supernet()
    subnet = network.at(SPACE.smallest)
    network.load_state_dict(filled(Supernet(SPACE, 3), seed=9).state_dict())
    assert torch.equal(subnet.head.classifier.weight, network.head.classifier.weight[:, :48])
    assert all(a is b for a, b in zip(subnet.parameters(), network.at(SPACE.smallest).parameters(), strict=True))


def test_an_optimizer_of_parameters_that_were_replaced_is_refused() -> None:
    network = supernet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.guard(optimizer)
    assigned(network)
    network.at(SPACE.smallest)(X).sum().backward()
    with pytest.raises(RuntimeError, match=r"the optimizer holds none of the network's parameters any more"):
        optimizer.step()


def test_channels_last_weights_give_the_same_subnets() -> None:
    network = supernet()
    expected = network.at(SPACE.largest)(X)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network.at(SPACE.largest)(X), expected, rtol=1e-4, atol=1e-5)
    train(network)


def test_an_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(ValueError, match="width has 6 entries; space .micro8. holds: 5"):
        supernet().at(search_spaces.load("micro32").smallest)


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="classes=0; a classifier needs at least 1"):
        Supernet(SPACE, 0)
