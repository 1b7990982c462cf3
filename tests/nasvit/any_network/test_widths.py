"""Any network at many widths with one set of weights, and batch norms that tell the widths apart."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nasvit
from nasvit.any_network import cut_out, slimmable
from nasvit.any_network.choices import uniform
from nasvit.any_network.plan import Plan, plan_of
from nasvit.any_network.widths import SlimmableModel, original_name
from nasvit.export.card import Card
from nasvit.export.saved import load_saved, save_network
from nasvit.export.switchable import SwitchableModel, deploy
from nasvit.layers import sync_batch_norm
from nasvit.layers.calibration import calibrate
from nasvit.names import code_spec
from nasvit.specs import SlimmableSpec
from nasvit.training.sampling import AllSwitches
from search_spaces import ElasticArchitecture
from tests.nasvit.any_network.networks import Classifying, Grouped, Residual, UNet, conv
from tests.nasvit.any_network.oracle import shaken
from tests.nasvit.layers.test_joined_batch_norm import Twin

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class NormOfBoth(nn.Module):
    """A batch norm of joined maps, of which a narrower network keeps two runs of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 12, 1), nn.BatchNorm2d(20)
        self.last = conv(20, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(torch.cat([self.one(x), self.two(x)], 1)).relu())


class Plain(nn.Module):
    """A batch norm without gain and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16, affine=False), conv(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


MIDDLES = {"residual": lambda: Residual(8, 16), "joined": NormOfBoth, "grouped": Grouped, "unet": UNet, "plain": Plain}


def network_of(middle: str) -> Classifying:
    torch.manual_seed(0)
    network = Classifying(MIDDLES[middle]())
    shaken(network)
    return network.eval()


def made(middle: str = "joined", *widths: Any, norm: Any = "switchable") -> tuple[SlimmableModel, nn.Module, Plan]:
    network = network_of(middle)
    plan = plan_of(network, X)
    model = SlimmableModel(copy.deepcopy(network), plan, (3, 8, 8), widths or (0.5, 1.0), norm=norm)
    return model.eval(), network, plan


@pytest.mark.parametrize("middle", MIDDLES)
def test_every_switch_begins_as_the_network_without_the_other_channels(middle: str) -> None:
    model, network, plan = made(middle)
    with torch.no_grad():
        assert torch.equal(model.at(1.0)(X), network(X))
        assert torch.equal(model.at(0.5)(X), cut_out(network, plan, uniform(plan, 0.5, 8)).eval()(X))
    assert type(model.extract(0.5)) is type(network)
    assert model.extract(1.0).state_dict().keys() == network.state_dict().keys()


def test_a_layer_says_which_channels_of_the_network_it_has_at_a_width() -> None:
    model, network, _ = made("joined")
    path = "middle.norm.weight"
    narrow, whole = model.extract(0.5).state_dict()[path], network.state_dict()[path]
    channels = model.channels_of(0.5, path, len(narrow))
    assert channels == [*range(4), *range(8, 14)]
    assert torch.equal(narrow, whole[channels])
    assert model.channels_of(1.0, path, len(whole)) == [*range(20)]


@pytest.mark.parametrize("middle", MIDDLES)
def test_every_parameter_is_trained_by_the_switches(middle: str) -> None:
    model, _, _ = made(middle)
    model.zero_grad()
    for width in model.widths:
        model.at(width).train()(X).square().sum().backward()
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert {name for name in trained if not model.get_parameter(name).grad.any()} <= {  # type: ignore[union-attr]
        name
        for name in trained
        if name.endswith("bias")  # one before a batch norm counts for nothing
    }


def test_a_switch_leaves_the_batch_norms_of_the_others_alone() -> None:
    model, _, _ = made()
    before = {name: each.clone() for name, each in model.state_dict().items() if "norms." in name}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.zero_grad()
    model.at(0.5).train()(X).square().sum().backward()
    optimizer.step()
    changed = {name for name, each in before.items() if not torch.equal(each, model.state_dict()[name])}
    assert changed == {name for name in before if ".switches.0." in name}


def test_a_gathered_gain_of_all_widths_is_trained_where_it_is_kept() -> None:
    model, _, _ = made("joined", 0.5, 1.0, norm="universal")
    model.zero_grad()
    model.at(0.5).train()(X).square().sum().backward()
    gradient = model.norms["middle/norm"].weight.grad
    assert isinstance(gradient, Tensor)
    kept = gradient != 0
    assert kept.sum() == 10 and kept[:4].all() and kept[8:14].all()


def test_any_width_runs_where_gains_are_shared_and_is_calibrated_first() -> None:
    model, _, _ = made("residual", 0.25, 1.0, norm="universal")
    with pytest.raises(RuntimeError, match="this width has no batch-norm statistics yet"):
        model.at(0.6)(X)
    with pytest.raises(ValueError, match="width=0.6 has no batch-norm statistics"):
        model.extract(0.6)
    expected = calibrate(copy.deepcopy(model.at(0.6)), [X, 2 * X])
    model.calibrate([X, 2 * X], [0.6])
    torch.testing.assert_close(model.at(0.6)(X), expected(X))
    again = made("residual", 0.25, 1.0, norm="universal")[0]
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.at(0.6)(X), model.at(0.6)(X))


def test_calibration_takes_the_statistics_of_every_switch_anew() -> None:
    model, _, _ = made()
    wanted = {width: calibrate(copy.deepcopy(model.at(width)), [X, X + 1]) for width in model.widths}
    model.calibrate([X, X + 1])
    for width, expected in wanted.items():
        torch.testing.assert_close(model.at(width)(X), expected(X))


@pytest.mark.parametrize("norm", ["switchable", "universal"])
def test_copies_pickles_and_loaded_weights_compute_the_same(norm: str) -> None:
    model, network, plan = made("joined", 0.5, 1.0, norm=norm)
    model.calibrate([X])
    loaded = SlimmableModel(network, plan, (3, 8, 8), (0.5, 1.0), norm=norm)  # type: ignore[arg-type]
    loaded.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded.eval()):
        assert all(torch.equal(other.at(width)(X), model.at(width)(X)) for width in model.widths)


def test_every_parameter_has_the_name_that_it_had_in_the_network() -> None:
    model, network, _ = made()
    assert {original_name(name) for name, _ in model.named_parameters()} == {n for n, _ in network.named_parameters()}


def test_the_widest_switch_learns_first() -> None:
    model, _, plan = made("residual", 0.25, uniform(plan_of(network_of("residual"), X), 0.75, 8), 1.0)
    members = AllSwitches(model).members
    assert [each.subnet for each in members] == [1.0, model.widths[1], 0.25]


@pytest.mark.parametrize("norm", ["switchable", "universal"])
def test_a_deployed_model_is_saved_and_loaded_with_all_its_widths(norm: Any, tmp_path: Path) -> None:
    base, images = (
        replace(code_spec("tests.nasvit.experiment.small_network:residual", 1), image_side=8),
        torch.randn(3, 1, 8, 8),
    )
    torch.manual_seed(0)
    network = base.build(10)
    shaken(network)
    model = slimmable(network, images, (0.5, 0.75, 1.0), norm=norm)
    model.calibrate([images])
    deployed = deploy(model, (1.0, 0.5))
    spec = SlimmableSpec(base, deployed.widths, deployed.shared.plans, norm, 8)
    save_network(deployed, tmp_path, Card(spec, tuple("0123456789")), program=True)
    loaded, card = load_saved(tmp_path)
    assert isinstance(loaded, SwitchableModel) and card.spec == spec
    for width in (0.5, 1.0):
        assert torch.equal(loaded(images, width=width), model.eval().at(width)(images))
        assert torch.equal(loaded.export(width).eval()(images), loaded(images, width=width))
    assert not any("switches.2" in name for name in loaded.state_dict())
    program = torch.export.load(tmp_path / "program-1.pt2").module()
    torch.testing.assert_close(program(images), loaded(images, width=0.5), rtol=1e-4, atol=1e-5)


def test_a_width_without_statistics_is_not_deployed() -> None:
    with pytest.raises(ValueError, match=r"width=0.5 has no batch-norm statistics; call network.calibrate"):
        deploy(made("residual", 0.5, 1.0, norm="universal")[0])


def test_two_switches_of_equal_sizes_keep_batch_norms_of_their_own() -> None:
    model = made("residual", 0.5, 0.51, 1.0)[0]
    assert model.sizes(0.5) == model.sizes(0.51)
    model.at(0.51).train()(X)
    assert not torch.equal(model.at(0.5)(X), model.at(0.51)(X))
    reduced = model.reduced((0.51, 1.0))
    assert all(torch.equal(reduced.at(width)(X), model.at(width)(X)) for width in (0.51, 1.0))


def test_a_live_batch_norm_sees_the_joined_batch_of_all_processes() -> None:
    network = network_of("residual")
    elastic = nasvit.elasticize(copy.deepcopy(network), X)
    live, processes = elastic.at(elastic.space.largest).train(), Twin()
    sync_batch_norm(live, processes)  # type: ignore[arg-type]
    whole = network.train()(torch.cat([X, X]))
    torch.testing.assert_close(live(X), whole[:4], rtol=1e-4, atol=1e-5)
    sync_batch_norm(live, None)
    assert type(copy.deepcopy(live).stem[1]) is nn.BatchNorm2d


def without_choice() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: made("residual", 0.5, 1.5), "width=1.5; a network has no more channels than it has"),
        (lambda: made("residual", 0.5, 0.5), r"widths=\[0.5, 0.5\]; a slimmable network needs at least one"),
        (lambda: made("residual", 0.5, norm="shared"), 'norm="shared" is a baseline of families'),
        (lambda: made("residual")[0].at(0.7), "width=0.7 is none of this network's switches: 0.5, 1.0"),
        (lambda: made("residual", 0.5, 1.0, norm="universal")[0].at(0.3), "width=0.3 is outside 0.5..1.0"),
        (lambda: made("residual", ElasticArchitecture(8, {"nowhere": 3})), "width.nowhere is 3; .* no such part"),
        (lambda: made("residual", ElasticArchitecture(16)), "resolution is 16; all widths of one network take 8"),
        (lambda: made("residual")[0].sort(), "sort the channels before the network is made slimmable"),
        (lambda: slimmable(without_choice(), X, (1.0,)), "nothing in Sequential can be narrower: 1: returned by"),
    ],
)
def test_what_cannot_be_is_refused_in_words(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()
