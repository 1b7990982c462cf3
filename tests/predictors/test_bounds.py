"""What limits leave of the decisions, against the list of all subnets."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search_spaces
from nasvit.costs.tables import cost_table
from predictors.blocks import unique_blocks
from predictors.bounds import Parts, admitted, admitted_by_any, everything, parts_of, span
from predictors.latency import LatencyTable, space_table
from predictors.limits import Budget, Limit, feasible
from predictors.pool import enumerate_codes
from search_spaces import Space

SPACE = replace(search_spaces.load("micro8"), resolution=(4, 8))  # two, so that a gene is in every part
GENOME = SPACE.genome
METRICS = ("macs", "params", "memory", "latency")


@cache
def latency_of(space: Space) -> LatencyTable:
    """A table in which larger blocks are not always slower."""
    rng = np.random.default_rng(0)
    known = {block.name: float(rng.uniform(0.1, 1.0)) for block in unique_blocks(space)}
    return space_table(space, known, scale=1.25, offset=0.5)


@cache
def costs_as_parts() -> dict[str, Parts]:
    return {**parts_of(cost_table(SPACE, 10)), "latency": latency_of(SPACE).parts}


@cache
def all_subnets() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Every subnet, its costs, and which of its genes count."""
    codes = enumerate_codes(GENOME)
    costs = {**cost_table(SPACE, 10).costs(codes), "latency": latency_of(SPACE).latency(codes)}
    return codes, costs, GENOME.active(codes)


def values_by_listing(limits: list[Limit]) -> list[list[int]]:
    """For every gene the values that some feasible subnet has, by looking at all of them."""
    codes, costs, active = all_subnets()
    meets = feasible(costs, limits)
    return [sorted({*codes[meets & active[:, gene], gene].tolist()}) for gene in range(len(GENOME))]


@st.composite
def limits_on(draw: st.DrawFn, metric: str, ends: str) -> Limit:
    """A limit with ends among the costs that there are; ``ends`` is low, high or both."""
    costs = np.sort(all_subnets()[1][metric])
    low, high = sorted(float(costs[draw(st.integers(0, len(costs) - 1))]) for _ in range(2))
    return Limit(metric, low if ends != "high" else -np.inf, high if ends != "low" else np.inf)


@pytest.mark.parametrize("ends", ["low", "high"])
@pytest.mark.parametrize("metric", METRICS)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_limit_leaves_exactly_the_values_that_a_subnet_within_it_has(
    metric: str, ends: str, data: st.DataObject
) -> None:
    limit = data.draw(limits_on(metric, ends))
    kept = admitted(GENOME, costs_as_parts(), [limit])
    assert kept is not None
    for gene, values, wanted in zip(GENOME.genes, kept, values_by_listing([limit]), strict=True):
        assert values.tolist() == (wanted or [0]), gene.name


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_ranges_and_joined_limits_of_several_budgets_leave_every_value_that_is_needed(data: st.DataObject) -> None:
    budgets = []
    for _ in range(data.draw(st.integers(1, 3))):
        metrics = data.draw(st.lists(st.sampled_from(METRICS), min_size=1, max_size=3, unique=True))
        ends = st.sampled_from(["low", "high", "both"])
        budgets.append([data.draw(limits_on(metric, data.draw(ends))) for metric in metrics])
    kept = admitted_by_any(GENOME, costs_as_parts(), budgets)
    wanted = [values_by_listing(limits) for limits in budgets]
    for gene in range(len(GENOME)):
        needed = {value for values in wanted for value in values[gene]}
        assert needed <= {*([] if kept is None else kept[gene].tolist())}


def test_joined_limits_leave_less_than_each_of_them_alone() -> None:
    macs, params = Budget("macs>=200K").limits, Budget("params<=12K").limits
    kept = [admitted(GENOME, costs_as_parts(), limits) for limits in (macs, params, macs + params)]
    alone, other, joined = ([each.size for each in values] for values in kept if values is not None)
    assert all(size <= min(sizes) for size, *sizes in zip(joined, alone, other, strict=True))
    # what the parameters rule out leaves cheaper subnets, and this rules out more
    assert any(size < min(sizes) for size, *sizes in zip(joined, alone, other, strict=True))


def test_a_limit_that_no_subnet_meets_leaves_nothing_and_one_beside_it_is_no_worse_for_it() -> None:
    nothing, some = Budget("macs<=1K").limits, Budget("macs<=200K").limits
    assert admitted(GENOME, costs_as_parts(), nothing) is None
    assert admitted_by_any(GENOME, costs_as_parts(), [nothing]) is None
    both, alone = (admitted_by_any(GENOME, costs_as_parts(), each) for each in ([nothing, some], [some]))
    assert both is not None and alone is not None
    assert all(map(np.array_equal, both, alone))


def test_without_a_limit_everything_is_left() -> None:
    kept = admitted(GENOME, costs_as_parts(), [])
    assert kept is not None
    assert all(map(np.array_equal, kept, everything(GENOME)))


def test_a_limit_on_what_is_not_known_is_refused_in_words() -> None:
    with pytest.raises(
        ValueError, match="the limit latency<=2ms needs latency, but only macs, params, memory, int8 size is known"
    ):
        admitted(GENOME, parts_of(cost_table(SPACE, 10)), Budget("latency<=2ms").limits)


@pytest.mark.parametrize("metric", METRICS)
def test_the_span_of_a_cost_is_that_of_all_subnets(metric: str) -> None:
    costs = all_subnets()[1][metric]
    assert span(costs_as_parts()[metric], GENOME) == pytest.approx((costs.min(), costs.max()), rel=1e-12)
