"""All switches of a network in one object."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nasvit.costs.counting import count
from nasvit.export.card import Card
from nasvit.export.program import export_program
from nasvit.export.saved import load_network, save_network
from nasvit.export.switchable import SwitchableModel, deploy, spec_of_widths
from nasvit.models.parts import BlockSpec
from nasvit.models.plan import ChannelPlan
from tests.nasvit.supernets.tiny import FAMILY, images, tiny


def assert_same(one: SwitchableModel, other: SwitchableModel) -> None:
    assert one.widths == other.widths
    for width in one.widths:
        assert torch.equal(one(images(), width=width), other(images(), width=width))


@pytest.mark.parametrize("norm", ["switchable", "universal", "shared"])
def test_every_width_computes_what_the_slimmable_network_computes(norm: str) -> None:
    network = tiny(0.25, 0.5, 1.0, norm=norm)
    model = deploy(network, (1.0, 0.25))
    for width in model.widths:
        expected = network.at(width).eval()(images())
        assert torch.equal(model(images(), width=width), expected)
        assert torch.equal(model.at(width)(images()), expected)


def test_fewer_switches_leave_shortcuts_and_gates_as_all_of_them_made_them() -> None:
    gated = BlockSpec("inverted", 24, expand=4, squeeze_excite=True)
    family = replace(FAMILY, stages=(FAMILY.stages[0], (gated, BlockSpec("inverted", 24, expand=3))), divisor=4)
    narrow = family.plan(0.25)
    uneven = list(narrow.channels)
    uneven[-2] += 4  # the last block changes its channels at this switch, so that it adds its input at none
    network = tiny(ChannelPlan(tuple(uneven)), 0.5, 1.0, family=family)
    model = deploy(network, (0.5, 1.0))
    for width in model.widths:
        assert torch.equal(model(images(), width=width), network.at(width).eval()(images()))


def test_all_widths_live_in_the_memory_of_the_largest() -> None:
    network = tiny(0.25, 0.5, 1.0)
    model = deploy(network, (0.25, 0.5))
    weights = sum(p.numel() for n, p in model.named_parameters() if ".norm." not in n)
    assert weights == sum(p.numel() for n, p in network.extract(0.5).named_parameters() if ".norm." not in n)
    assert all(parameter.grad is None for parameter in model.parameters())
    owned = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    for width in model.widths:
        subnet = model.at(width)
        assert all(tensor.untyped_storage().data_ptr() in owned for tensor in (*subnet.parameters(), *subnet.buffers()))


def test_a_deployed_model_shares_nothing_with_the_network_it_came_from() -> None:
    network = tiny()
    model = deploy(network)
    before = model(images(), width=0.5)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    assert torch.equal(model(images(), width=0.5), before)


def test_a_call_without_a_width_runs_the_largest_or_that_of_the_context() -> None:
    model = deploy(tiny())
    with model.running_at(0.5):
        assert torch.equal(model(images()), model(images(), width=0.5))
        assert torch.equal(model(images(), width=1.0), model.at(1.0)(images()))
    assert torch.equal(model(images()), model(images(), width=1.0))


def test_threads_run_different_widths_of_one_model_at_once() -> None:
    model = deploy(tiny(0.25, 0.5, 1.0))
    expected = {width: model.export(width).eval()(images()) for width in model.widths}

    def run(width: float) -> bool:
        with model.running_at(width):
            return all(torch.allclose(model(images()), expected[width], rtol=1e-12, atol=0) for _ in range(5))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(run, [model.widths[number % 3] for number in range(12)]))


def test_a_width_that_is_not_there_is_refused_with_those_that_are() -> None:
    model = deploy(tiny())
    for ask in (lambda: model(images(), width=0.7), lambda: model.at(0.7), lambda: model.export(0.7)):
        with pytest.raises(ValueError, match=r"width=0.7 is none of this model's widths: 0.5, 1.0"):
            ask()
    with pytest.raises(ValueError, match=r"width=0.7 is none"), model.running_at(0.7):
        pass


def test_a_width_without_statistics_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"width=0.7 has no batch-norm statistics; call network.calibrate"):
        deploy(tiny(norm="universal"), (0.7,))


def test_a_deployed_model_refuses_to_train_and_says_what_does() -> None:
    with pytest.raises(ValueError, match="only evaluates"):
        deploy(tiny()).train()
    assert not deploy(tiny()).eval().training


def test_an_exported_width_is_independent_trains_and_may_be_fused() -> None:
    model = deploy(tiny())
    network = model.export(0.5)
    assert all(parameter.requires_grad for parameter in network.parameters())
    fused = model.export(0.5, fuse=True).eval()
    torch.testing.assert_close(fused(images()), model(images(), width=0.5), rtol=1e-9, atol=1e-12)
    assert count(fused, 3, 16, 16).macs == count(network, 3, 16, 16).macs
    with torch.no_grad():
        next(network.parameters()).zero_()
    torch.testing.assert_close(fused(images()), model(images(), width=0.5), rtol=1e-9, atol=1e-12)


def test_an_exported_width_becomes_a_program_that_needs_torch_alone(tmp_path: Path) -> None:
    model = deploy(tiny()).float()
    export_program(model.export(0.5), tmp_path / "program.pt2", shape=(3, 16, 16))
    program = torch.export.load(tmp_path / "program.pt2").module()
    x = images().float()
    torch.testing.assert_close(program(x), model(x, width=0.5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["switchable", "universal", "shared"])
def test_a_saved_model_loads_as_it_was(norm: str, tmp_path: Path) -> None:
    network = tiny(0.5, FAMILY.plan(0.75), 1.0, norm=norm)
    model = deploy(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    card = Card(spec_of_widths(model.shared, model.widths), tuple("abcde"))
    save_network(model, tmp_path, card)
    loaded = load_network(tmp_path)
    assert isinstance(loaded, SwitchableModel)
    assert_same(loaded, model)


def test_copies_pickles_and_loaded_weights_compute_the_same() -> None:
    model = deploy(tiny())
    assert_same(copy.deepcopy(model), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)
    other = deploy(tiny())
    with torch.no_grad():
        next(other.parameters()).zero_()
    other.load_state_dict(model.state_dict(), assign=True)
    assert_same(other, model)


def test_a_model_that_is_cast_computes_in_the_new_type() -> None:
    model = deploy(tiny()).float()
    assert model(images().float(), width=0.5).dtype == torch.float32


def test_a_chosen_width_outlives_a_cast() -> None:
    model = deploy(tiny())
    with model.running_at(0.5):
        model.double()
        assert torch.equal(model(images()), model(images(), width=0.5))
    assert torch.equal(model(images()), model(images(), width=1.0))
