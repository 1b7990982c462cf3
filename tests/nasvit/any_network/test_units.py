"""Which channels hang together, by what operations do with them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasvit.any_network import elasticize
from nasvit.any_network.attributes import _DECLARED, declare
from nasvit.any_network.groups import heads_of
from nasvit.any_network.plan import Plan, plan_of
from nasvit.any_network.rules import _RULES, join, rule
from nasvit.costs.any_network import ElasticCosts
from nasvit.costs.counting import count
from tests.nasvit.any_network import networks


def plan(middle, channels=8, out=None):
    return plan_of(networks.Classifying(middle, channels, out).eval(), torch.zeros(1, 3, 8, 8))


def units(plan: Plan) -> dict[str, int]:
    return {group.name.removeprefix("middle."): group.units for group in plan.groups}


def reasons(plan: Plan) -> dict[str, str]:
    return {fixed.name.removeprefix("middle."): fixed.reason for fixed in plan.fixed}


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (networks.Residual(8, 6), {"stem.0": 8, "expand.0": 6}),
        (networks.Grouped(4), {"stem.0": 8, "before.0": 4, "after.0": 8}),
        (networks.PixelShuffled(), {"stem.0": 8, "before.0": 6, "after.0": 8, "last.0": 8}),
        (networks.Gated(), {"stem.0": 8, "before": 6, "after.0": 8}),
        (networks.UNet(), {"stem.0": 8, "down.0": 12, "deep.0": 10, "up": 6, "join.0": 8}),
        (networks.Einsum(), {"stem.0": 8, "linear": 12, "middle": 12, "last": 8}),
        (networks.Twice(), {"stem.0": 8, "block.expand.0": 6}),
        (networks.OverWholeMaps(), {"stem.0": 8, "before": 6, "between": 4, "after": 8}),
        (networks.Looked(), {"stem.0": 8, "before": 6, "after": 8}),
        (networks.Attending(12, 3), {"stem.0": 8, "before": 3, "after.0": 8}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_channels_that_operations_pair_are_one_group(middle, expected):
    assert units(plan(middle)) == expected


def test_channels_that_change_places_in_groups_are_kept_in_whole_groups():
    assert units(plan(networks.Shuffle(8, 2), out=6)) == {"stem.0": 8, "before.0": 2, "after.0": 6}


def test_code_with_a_number_of_channels_written_out_keeps_those():
    found = plan(networks.Constant())
    assert "before.0" not in units(found)
    assert reasons(found)["before.0"].startswith("the code of middle does not follow it: __getitem__ gives 2x")


def test_code_that_does_something_else_for_fewer_channels_keeps_all():
    assert units(plan(networks.Branching())) == {"stem.0": 8}


def test_what_the_network_returns_stays_and_says_so():
    assert reasons(plan(networks.Residual(8, 6))) == {"head": "returned by the network"}


def test_heads_are_told_from_other_channels():
    found = plan(networks.Attending(12, 3))
    assert [group.name for group in heads_of(found.groups, found.found)] == ["middle.before"]


class Sorted(nn.Module):
    """An operation without a rule."""

    def __init__(self):
        super().__init__()
        self.inner, self.after = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)

    def forward(self, x):
        return self.after(self.inner(x).sort(dim=1).values)


def test_an_operation_without_a_rule_fixes_what_it_reads_and_is_named():
    found = plan(Sorted())
    assert units(found) == {"stem.0": 8, "after": 8}
    assert reasons(found)["inner"] == "nothing is known of the operation sort in middle"


def test_a_rule_can_be_added(monkeypatch):
    monkeypatch.setitem(_RULES, "sort", None)

    @rule("sort")
    def sort(follower, done):
        return [{axis: each for axis, each in follower.axes(done.args[0]).items()}] * 2

    assert units(plan(Sorted())) == {"stem.0": 8, "inner": 6, "after": 8}


class Private(nn.Module):
    """Code that reads a private attribute."""

    def __init__(self):
        super().__init__()
        self._inner, self.shape = 6, (1, 6)
        self.before, self.after = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)

    def forward(self, x):
        n, _, h, w = x.shape
        return self.after(F.relu(self.before(x)).reshape(n, self._inner, h, w))


def test_a_private_attribute_follows_channels_if_declared(monkeypatch):
    assert "before" not in units(plan(Private()))
    monkeypatch.setattr("nasvit.any_network.attributes._DECLARED", {**_DECLARED})
    declare(Private, "_inner")
    found = plan(Private())
    assert units(found)["before"] == 6
    assert [(each.path, each.name) for each in found.attributes] == [("middle", "_inner")]


@pytest.mark.parametrize(
    ("compute", "name"),
    [
        (nn.utils.parametrizations.weight_norm, "_WeightNorm"),
        (nn.utils.parametrizations.spectral_norm, "_SpectralNorm"),
        (nn.utils.spectral_norm, "SpectralNorm"),
    ],
)
def test_computed_weights_are_refused_in_words(compute, name):
    network = networks.Classifying(networks.Residual(8, 6))
    compute(network.middle.project)
    with pytest.raises(ValueError, match=f"middle.project computes its weights? by {name}"):
        elasticize(network, torch.zeros(3, 8, 8))


class Looking(nn.Module):
    def forward(self, x):
        return x * x.mean().item()


def test_a_network_that_looks_at_numbers_is_refused_in_words():
    with pytest.raises(
        ValueError, match=r"shape 3x8x8: middle looks at the numbers of a tensor \(_local_scalar_dense\)"
    ):
        elasticize(networks.Classifying(Looking()), torch.zeros(3, 8, 8))


class OnProcessor(nn.Module):
    """Runs where there are numbers alone, as code does with an operation that is not defined on the meta device."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        if x.device.type == "meta":
            raise NotImplementedError("no kernel on the meta device")
        return self.inside(x)


def test_a_network_that_does_not_run_on_meta_is_followed_on_the_processor():
    network = networks.Classifying(networks.Residual(8, 6))
    there, here = (elasticize(each, torch.zeros(3, 8, 8)) for each in (network, OnProcessor(network)))
    assert (there.plan.device, here.plan.device) == ("meta", "cpu")
    assert [group.units for group in here.plan.groups] == [group.units for group in there.plan.groups]
    rng, costs = np.random.default_rng(0), ElasticCosts(here.network, here.plan, here.space)
    subnets = [here.space.largest, here.space.smallest, *(here.space.sample(rng) for _ in range(8))]
    found = costs.costs(here.space.encode(subnets))
    for number, architecture in enumerate(subnets):
        cost = count(here.extract(architecture), 3, 8, 8)
        assert {name: int(values[number]) for name, values in found.items()} == asdict(cost)


def test_a_network_that_runs_nowhere_is_refused_with_both_reasons():
    with pytest.raises(ValueError, match=r"3x8x8: .*\(on the meta device: NotImplementedError: no kernel"):
        elasticize(networks.Classifying(OnProcessor(nn.Linear(3, 5))), torch.zeros(3, 8, 8))


def test_join_freezes_what_meets_something_of_fixed_size():
    from nasvit.any_network.followed import Followed

    class Holding:
        store = Followed().store
        path = ("here",)

        def freeze(self, axes, reason):
            for labels in axes.values():
                self.store.freeze(labels, reason)

    holding = Holding()
    labels = holding.store.fresh(3)
    assert join(holding, [labels, None], "add") is None
    assert holding.store.is_frozen(labels).all()
