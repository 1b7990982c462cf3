"""The largest and the smallest subnet within limits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.search.candidates import Candidates
from nasvit.search.ends import largest_within, smallest_within
from predictors.arrays import Codes
from predictors.limits import Budget
from search_spaces import Architecture


@cache
def candidates(name: str) -> Candidates:
    space = search_spaces.load(name)
    table = cost_table(space, 10)
    return Candidates(space, lambda codes: dict(table.costs(codes)))


def pools(name: str, budgets: list[str]) -> list[Codes]:
    constraints = [candidates(name).constraint(Budget(each).limits) for each in budgets]
    return [constraint.sample(256, np.random.default_rng(0)) for constraint in constraints]


def ends(name: str, budgets: list[str]) -> tuple[Architecture, Architecture]:
    limits = [Budget(each).limits for each in budgets]
    arguments = candidates(name), limits, pools(name, budgets)
    return smallest_within(*arguments), largest_within(*arguments)


def meets(name: str, architecture: Architecture, budget: str) -> bool:
    codes = candidates(name).space.encode([architecture])
    return bool(candidates(name).constraint(Budget(budget).limits).allowed(codes)[0])


def macs(name: str, architecture: Architecture) -> int:
    return int(candidates(name).costs(candidates(name).space.encode([architecture]))["macs"][0])


ONE = [
    "macs<=100K",
    "macs<=400K",
    "200K<=macs<=400K",
    "memory<=20KB",
    "params<=30K and macs<=500K",
    "macs<=400K and params>=25K",
    "macs>=900K",
]


@pytest.mark.parametrize("budget", ONE)
def test_both_ends_meet_the_budget(budget: str) -> None:
    assert all(meets("micro8", end, budget) for end in ends("micro8", [budget]))


@pytest.mark.parametrize("budget", ONE)
def test_no_decision_of_the_largest_can_be_larger_and_none_of_another_smallest_smaller(budget: str) -> None:
    space = candidates("micro8").space
    smallest, largest = ends("micro8", [budget])
    allowed = candidates("micro8").constraint(Budget(budget).limits).allowed
    for end, sign in ((largest, 1), (smallest, -1)):
        (row,) = space.encode([end])
        near = space.genome.neighbors(row)
        near = near[np.abs(near.astype(int) - row).sum(1) == 1]  # one choice farther in one decision
        falls = np.array([name.startswith("windows") for name in space.genome.names])
        moved = np.where(falls, -1, 1) * (near.astype(int) - row)
        assert not allowed(near[(sign * moved).sum(1) > 0]).any()


def test_without_a_lower_end_the_smallest_is_that_of_the_space() -> None:
    assert ends("micro8", ["macs<=400K", "900K<=macs<=1M"])[0] == candidates("micro8").space.smallest


def test_where_everything_is_allowed_the_largest_is_that_of_the_space() -> None:
    assert ends("micro8", ["macs<=2M"])[1] == candidates("micro8").space.largest


def test_of_several_budgets_it_is_the_largest_and_the_smallest_of_all() -> None:
    small, large = "150K<=macs<=200K", "600K<=macs<=700K"
    smallest, largest = ends("micro8", [large, small])
    assert macs("micro8", smallest) < 200_000 < 600_000 < macs("micro8", largest)
    assert (smallest, largest) == ends("micro8", [small, large])


@pytest.mark.parametrize("name", ["micro8", "micro32"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_largest_uses_the_limit_up_with_all_decisions_about_equally_far_up(name: str, share: float) -> None:
    space = candidates(name).space
    least, most = macs(name, space.smallest), macs(name, space.largest)
    cap = least + share * (most - least)
    _, largest = ends(name, [f"macs<={cap:.0f}"])
    assert macs(name, largest) > 0.9 * cap
    genome = space.genome
    (row,) = space.encode([largest])
    falls = np.array([each.startswith("windows") for each in genome.names])
    levels = np.where(falls, genome.cards - 1 - row, row) / (genome.cards - 1)
    fields = np.array([each.partition(".")[0] for each in genome.names])
    means = [levels[fields == field].mean() for field in ("width", "depth", "expand_ratio")]
    assert max(means) - min(means) <= 0.5


def test_the_largest_is_the_same_every_time() -> None:
    assert ends("micro8", ["macs<=400K"]) == ends("micro8", ["macs<=400K"])
