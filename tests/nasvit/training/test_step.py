"""One step of the sandwich rule: which subnets, which gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import search_spaces
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.distillation import KLDivergence
from nasvit.training.conflict import Sum
from nasvit.training.execution import SIMPLE
from nasvit.training.sampling import Member, Sandwich
from nasvit.training.step import shared_step
from tests.nasvit.filled import filled, images
from tests.nasvit.training.short import BARE, learner_of

SPACE = search_spaces.load("micro8")
X, LABELS = images(SPACE, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
SUBNETS = [SPACE.largest, SPACE.smallest, SPACE.sample(np.random.default_rng(0))]
MEMBERS = [Member(each, regularized=each is SPACE.largest) for each in SUBNETS]


def test_the_sandwich_is_the_largest_then_the_smallest_then_random_ones() -> None:
    drawn = Sandwich(SPACE, random=3)(np.random.default_rng(1))
    assert [member.subnet for member in drawn[:2]] == [SPACE.largest, SPACE.smallest]
    assert len(drawn) == 5
    assert drawn == Sandwich(SPACE, random=3)(np.random.default_rng(1))
    assert drawn != Sandwich(SPACE, random=3)(np.random.default_rng(2))
    (alone,) = Sandwich(SPACE, random=0, smallest=False)(np.random.default_rng(0))
    assert alone == Member(SPACE.largest, regularized=True, fixed=True)


def test_a_step_adds_the_gradients_of_every_subnet_taught_by_the_largest() -> None:
    supernet = filled(Supernet(SPACE, 3).double())
    expected = copy.deepcopy(supernet)
    step = shared_step(
        supernet, X, LABELS, members=MEMBERS, criterion=F.cross_entropy, distill=KLDivergence(), conflict=Sum()
    )
    logits = expected.at(SUBNETS[0])(X)
    loss = F.cross_entropy(logits, LABELS)
    loss.backward()
    others = [KLDivergence()(expected.at(subnet)(X), logits.detach()) for subnet in SUBNETS[1:]]
    for other in others:
        other.backward()
    assert torch.equal(supernet.gradients.rows, expected.gradients.rows)
    assert step.first.item() == loss.item()
    assert [each.item() for each in step.others] == [other.item() for other in others]
    assert step.conflict is None
    assert step.finite


def test_without_distillation_every_subnet_learns_from_the_targets() -> None:
    supernet = filled(Supernet(SPACE, 3).double())
    expected = copy.deepcopy(supernet)
    step = shared_step(supernet, X, LABELS, members=MEMBERS, criterion=F.cross_entropy, distill=None, conflict=Sum())
    losses = [F.cross_entropy(expected.at(subnet)(X), LABELS) for subnet in SUBNETS]
    for loss in losses:
        loss.backward()
    assert torch.equal(supernet.gradients.rows, expected.gradients.rows)
    assert [each.item() for each in (step.first, *step.others)] == [loss.item() for loss in losses]


def test_a_step_prepares_every_subnet_and_says_which_it_is() -> None:
    supernet, seen = filled(Supernet(SPACE, 3).double()), []

    def prepare(network: nn.Module, member: Member) -> None:
        assert network.training
        seen.append(member.subnet)

    shared_step(
        supernet.eval(),
        X,
        LABELS,
        members=MEMBERS,
        criterion=F.cross_entropy,
        distill=KLDivergence(),
        conflict=Sum(),
        prepare=prepare,
    )
    assert seen == SUBNETS


def test_no_gradient_flows_to_the_largest_subnet_through_the_teaching() -> None:
    supernet = filled(Supernet(SPACE, 3).double())
    shared_step(
        supernet,
        X,
        LABELS,
        members=MEMBERS[:2],
        criterion=lambda logits, _: logits.sum() * 0,
        distill=lambda student, teacher: student.sum() * 0 + teacher.square().sum() * int(teacher.requires_grad),
        conflict=Sum(),
    )
    assert not supernet.gradients.rows.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_reported(bad: float) -> None:
    supernet = filled(Supernet(SPACE, 3).double())
    step = shared_step(
        supernet,
        X,
        LABELS,
        members=MEMBERS,
        criterion=F.cross_entropy,
        distill=lambda student, teacher: student.sum() * 0 + bad,
        conflict=Sum(),
    )
    assert not step.finite


def test_a_weighted_loss_weighs_its_gradients() -> None:
    rows = []
    for weight in (0.0, 0.5, 1.0):
        supernet = filled(Supernet(SPACE, 3).double())
        members = [Member(SUBNETS[0]), Member(SUBNETS[1], weight)]
        shared_step(supernet, X, LABELS, members=members, criterion=F.cross_entropy, conflict=Sum())
        rows.append(supernet.gradients.rows.clone())
    alone, half, whole = rows
    assert (whole - alone).abs().sum() > 0
    torch.testing.assert_close(whole - alone, 2 * (half - alone))


@pytest.mark.parametrize("way", [[torch.float64], [torch.float32, torch.float64]])
@pytest.mark.parametrize("kind", ["network", "project", "switches"])
def test_a_network_that_was_moved_after_its_learner_was_made_has_the_gradients_of_each_step_alone(
    kind: str, way: list[torch.dtype]
) -> None:
    learner = learner_of(kind, BARE, torch.float64 if len(way) > 1 else torch.float32)
    for dtype in way:
        learner.model.to(dtype)
    rng = np.random.default_rng(0)
    batch = torch.rand(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    norms = []
    for _ in range(2):
        learner.zero_grad()
        learner.add_gradients(*batch, rng, SIMPLE)
        found = [parameter.grad for parameter in learner.model.parameters() if parameter.grad is not None]
        norms.append(torch.stack([each.norm() for each in found]).norm())
        assert learner.gradients.norm() == pytest.approx(norms[-1])
        rng = np.random.default_rng(0)
    assert norms[0] == pytest.approx(norms[1])
