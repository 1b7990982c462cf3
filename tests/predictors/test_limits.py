from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.limits import Budget, Limit, feasible, parse_limits, require_feasible, violation
from search_spaces.reading import from_node, read_text
from search_spaces.saved import to_json_value


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("macs<=300M", Limit("macs", high=300e6)),
        ("200M <= macs <= 300M", Limit("macs", 200e6, 300e6)),
        ("params>=2.5m", Limit("params", low=2.5e6)),
        ("memory<=64MiB", Limit("memory", high=64 * 2**20)),
        ("int8 size<=300KB", Limit("int8_size", high=300e3)),
        ("100KB <= int8_size <= 1MiB", Limit("int8_size", 100e3, 2**20)),
        ("latency<=20ms", Limit("latency", high=20.0)),
        ("latency<=0.02s", Limit("latency", high=20.0)),
        ("macs<=1e8", Limit("macs", high=1e8)),
    ],
)
def test_a_limit_reads_as_it_is_written(text: str, limit: Limit) -> None:
    parsed = Limit.parse(text)
    assert parsed.metric == limit.metric
    assert (parsed.low, parsed.high) == pytest.approx((limit.low, limit.high))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs<300M", "cannot read the limit"),
        ("macs<=300M, params<=2M", "a share like 'macs<=60%'.*joined by 'and'"),
        ("flops<=300M", "unknown cost 'flops'.*legal: macs.*multiply-adds, which many call FLOPs"),
        ("macs<=300X", "unknown suffix 'X'"),
        ("macs<=300ms", "belongs to latency"),
        ("params<=300KB", "belongs to memory and int8 size, not to 'params'"),
        ("int4 size<=300", "unknown cost 'int4 size'.*legal: macs, params, memory, int8 size, latency"),
        ("300M<=macs<=200M", "holds for no value"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("macs<=2.5M and params<=1M", "macs-2.5M_params-1M"),
        ("300K<=macs<=600K", "300K-macs-600K"),
        ("latency >= 5ms and params==4M", "latency+5ms_params=4M"),
        ("int8 size<=300KB", "int8size-300KB"),
        ("", "best"),
    ],
)
def test_a_budget_knows_its_text_its_limits_and_its_folder(text: str, name: str) -> None:
    budget = Budget.parse(text)
    assert (budget.text, str(budget), budget.name) == (text, text, name)
    assert budget.limits == parse_limits(text.split(" and ") if text else [])
    assert bool(budget) == bool(text)
    assert budget == Budget(text) != Budget("macs<=1") and len({budget, Budget(text)}) == 1
    assert Budget.from_json(budget.to_json()) == budget


def test_a_budget_that_means_nothing_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="cannot read the limit 'params<3'"):
        Budget.parse("macs<=3M and params<3")


@dataclass(frozen=True)
class Search:
    budgets: tuple[Budget, ...]


def test_budgets_are_read_from_files_and_written_as_text() -> None:
    search = from_node(Search, read_text("budgets: [macs<=3M, 'macs<=1M and params<=2K']", "s.yaml"))
    assert search.budgets == (Budget("macs<=3M"), Budget("macs<=1M and params<=2K"))
    assert to_json_value(search) == {"budgets": ["macs<=3M", "macs<=1M and params<=2K"]}
    with pytest.raises(ValueError, match=r"s\.yaml:2: budgets\[1\]: cannot read the limit 'macs<3'"):
        from_node(Search, read_text("budgets:\n  [macs<=3M, macs<3]", "s.yaml"))


@given(st.floats(1, 1e9), st.floats(1, 1e9), st.lists(st.floats(1, 1e9), min_size=1))
def test_violation_is_zero_exactly_where_a_candidate_is_feasible(one: float, other: float, values: list[float]) -> None:
    limit = Limit("macs", min(one, other), max(one, other))
    costs = {"macs": np.array(values)}
    inside = (costs["macs"] >= limit.low) & (costs["macs"] <= limit.high)
    np.testing.assert_array_equal(feasible(costs, [limit]), inside)
    np.testing.assert_array_equal(violation(costs, [limit]) == 0, inside)


def test_an_infeasible_limit_is_refused_with_the_closest_feasible_value() -> None:
    costs = {"macs": np.array([203e6, 500e6]), "params": np.array([4e6, 9e6])}
    with pytest.raises(ValueError, match="no candidate meets macs<=100M; the closest feasible value is macs 203M"):
        require_feasible(costs, parse_limits(["macs<=100M"]))
    require_feasible(costs, parse_limits(["macs<=300M", "params<=4M"]))


def test_a_limit_on_a_cost_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs latency, but only macs is known"):
        violation({"macs": np.ones(2)}, parse_limits(["latency<=5ms"]))


def test_a_cost_that_could_not_be_measured_is_not_feasible() -> None:
    assert not feasible({"latency": np.array([np.nan])}, parse_limits(["latency<=5ms"]))[0]


def test_a_share_is_one_of_the_largest_networks_cost() -> None:
    budget = Budget("macs<=50% and latency<=8ms")
    assert budget.is_share
    resolved = budget.of({"macs": 1000.0, "latency": 20.0})
    assert resolved.limits == (Limit("macs", high=500.0), Limit("latency", high=8.0))
    assert (resolved, resolved.name) == (budget, "macs-50%_latency-8ms")
    assert str(budget.limits[0]) == "macs<=50%"
    assert Limit.parse("25%<=params<=50 %").of({"params": 8}) == Limit("params", 2.0, 4.0)
    assert not resolved.is_share


def test_a_share_of_nothing_known_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="needs latency, but only macs is known"):
        Budget("latency<=50%").of({"macs": 1.0})
    with pytest.raises(ValueError, match="is a share, and it is not known of what"):
        Limit.parse("macs<=50%").violation(np.array([1.0]))
    with pytest.raises(ValueError, match="has a share at one end only"):
        Limit.parse("25%<=macs<=50M")
