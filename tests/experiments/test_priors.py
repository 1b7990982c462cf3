"""Which subnets are measured for a prior."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import search_spaces
from experiments.priors import designed, expected
from nasvit.costs.tables import cost_table

SPACE = search_spaces.load("micro8")


def macs(subnets: list[search_spaces.Architecture]) -> np.ndarray[Any, Any]:
    return cost_table(SPACE, 10).macs(SPACE.encode(subnets))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Measurements by which subnets are the better the more they cost."""
    subnets = designed(SPACE, 16)
    scores = 0.5 + 0.02 * np.log(macs(subnets) / 1e5)
    return [row("one", subnet, score) for subnet, score in zip(subnets, scores.tolist(), strict=True)]


def row(data: str, subnet: search_spaces.Architecture, score: float) -> dict[str, Any]:
    return {"data": data, "architecture": json.loads(subnet.to_json()), "score": score, "loss": 1 - score}


@pytest.mark.parametrize("count", [3, 7, 15])
def test_every_beginning_of_the_designed_subnets_is_spread_over_costs(count: int) -> None:
    subnets = designed(SPACE, count)
    assert subnets == designed(SPACE, 32)[:count]
    costs = np.log(macs([*subnets, SPACE.smallest, SPACE.largest]))
    assert np.diff(np.sort(costs)).max() < 2 * np.ptp(costs) / (count + 1)


def test_what_measurements_expect_to_be_best_keeps_the_budgets(rows: list[dict[str, Any]]) -> None:
    limits = (150_000, 300_000)
    found = expected(SPACE, rows, [f"macs<={limit}" for limit in limits])
    assert [0.8 * limit < cost <= limit for limit, cost in zip(limits, macs(found), strict=True)] == [True, True]


def test_one_subnet_for_two_budgets_is_measured_once(rows: list[dict[str, Any]]) -> None:
    assert len(expected(SPACE, rows, ["macs<=300K", "macs<=300000"])) == 1


def test_what_expectations_brought_is_known_to_the_next_round_alone(rows: list[dict[str, Any]]) -> None:
    found = expected(SPACE, rows, ["macs<=300K"])
    bad = row("one", found[0], 0.0)
    assert expected(SPACE, [*rows, bad | {"expected": 1}], ["macs<=300K"]) == found
    assert expected(SPACE, [*rows, bad | {"expected": 1}], ["macs<=300K"], round=2) != found
    assert expected(SPACE, [*rows, bad], ["macs<=300K"]) != found
