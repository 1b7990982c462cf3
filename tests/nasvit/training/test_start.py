"""Who takes part in the cheaper steps of a sandwich, and how large the images are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from nasvit.training.sampling import Member, Sandwich
from nasvit.training.start import Saving, Savings
from search_spaces import Architecture
from tests.nasvit.training.short import GROWING, family

STEPS = 12


@dataclass
class At:
    """The moment before a step."""

    step: int
    steps: int = STEPS
    steps_per_epoch: int = 4
    optimizer: Any = None
    averages: list[Any] = field(default_factory=list)


def members(savings: Savings, *, random: int = 2, smallest: bool = True) -> list[list[Member]]:
    """The members of every step of a training, in which each step has the same generator."""
    rule = Saving(Sandwich(GROWING, random=random, smallest=smallest), savings, GROWING.resolution)
    found = []
    for step in range(STEPS):
        rule.before_step(At(step))
        found.append(rule(np.random.default_rng(0)))
    return found


SANDWICH = Sandwich(GROWING, random=2)(np.random.default_rng(0))


def test_without_savings_every_step_is_the_whole_sandwich() -> None:
    assert members(Savings()) == [SANDWICH] * STEPS


def test_the_largest_trains_alone_in_its_share_of_the_steps_and_the_sandwich_afterwards() -> None:
    assert members(Savings(largest_first=0.25)) == [SANDWICH[:1]] * 3 + [SANDWICH] * 9


def test_one_other_subnet_takes_part_in_turn() -> None:
    largest, *others = SANDWICH
    assert members(Savings(one_other=True)) == [[largest, other] for other in others] * 4


def test_of_a_sandwich_without_random_subnets_the_smallest_is_the_one() -> None:
    assert members(Savings(one_other=True), random=0) == [SANDWICH[:2]] * STEPS
    assert members(Savings(one_other=True), random=0, smallest=False) == [SANDWICH[:1]] * STEPS


def test_the_resolution_grows_and_only_makes_larger_images_smaller() -> None:
    found = members(Savings(resolution_first=0.5))
    for step, most in enumerate([4, 4, 4, 8, 8, 8] + [12] * 6):
        for member, plain in zip(found[step], SANDWICH, strict=True):
            assert member.subnet.resolution == min(plain.subnet.resolution, most)
            kept = {**vars(member.subnet), "resolution": None}
            assert kept == {**vars(plain.subnet), "resolution": None}
            assert (member.name, member.regularized, member.fixed) == (plain.name, plain.regularized, plain.fixed)


def test_the_rule_inside_is_told_of_every_step() -> None:
    told = []

    class Listening(Sandwich):
        def before_step(self, moment: Any) -> None:
            told.append(moment.step)

    Saving(Listening(GROWING), Savings(one_other=True), GROWING.resolution).before_step(At(7))
    assert told == [7]


def test_a_sandwich_of_a_family_has_its_ends_and_draws_from_each_of_its_pools() -> None:
    own = family()
    rule, rng = Sandwich(GROWING, random=2, family=own), np.random.default_rng(0)
    drawn: list[Architecture] = []
    for _ in range(50):
        largest, smallest, *others = rule(rng)
        assert (largest.subnet, smallest.subnet) == (own.largest, own.smallest)
        drawn += [member.subnet for member in others]
    rows = {tuple(row) for row in GROWING.encode(drawn).tolist()}
    pools = [{tuple(row) for row in pool.tolist()} for pool in own.pools]
    assert rows <= pools[0] | pools[1]
    assert rows & (pools[0] - pools[1]) and rows & (pools[1] - pools[0])


def test_a_family_draws_a_pool_as_often_as_another_one_however_many_are_in_it() -> None:
    own = family()
    uneven = type(own)(own.largest, own.smallest, own.space, (own.pools[0], own.pools[1][:1]))
    drawn = uneven.sample(400, np.random.default_rng(0))
    lone = GROWING.decode(own.pools[1][:1])[0]
    assert sum(architecture == lone for architecture in drawn) == pytest.approx(200, abs=40)
    assert uneven.sample(0, np.random.default_rng(0)) == []
