"""Suggestions: the subnet that is expected to be best, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.experiment.suggest import suggest
from nasvit.report.suggest import show_suggestions
from predictors.limits import Budget
from search_spaces import Architecture

SPACE = search_spaces.load("micro8")


@pytest.mark.parametrize("budget", ["macs<=200K", "macs<=600K and params<=30K", "300K<=macs<=400K", "memory<=20KB"])
def test_what_is_suggested_keeps_within_the_budget_and_is_expected_to_be_better_than_a_random_subnet(
    budget: str,
) -> None:
    (found,) = suggest(Budget(budget), ["micro8"])
    costs = cost_table(SPACE, 10).costs(SPACE.encode([found.architecture]))
    assert {name: int(values[0]) for name, values in costs.items()} == found.costs
    assert all(limit.violation(costs[limit.metric])[0] == 0 for limit in Budget(budget).limits)
    assert found.gain > 0


def test_no_random_subnet_within_the_budget_is_expected_to_be_better() -> None:
    (found,) = suggest(Budget("macs<=400K"), ["micro8"])
    codes = SPACE.genome.sample(20_000, np.random.default_rng(1))
    codes = codes[cost_table(SPACE, 10).macs(codes) <= 400_000]
    expected = found.prior.predict(np.concatenate([SPACE.encode([found.architecture]), codes]))[0]
    assert expected[0] >= expected.max() - 1e-9


def test_every_measured_space_that_meets_the_budget_answers() -> None:
    found = suggest(Budget("macs<=800K"))
    assert [each.space for each in found] == ["micro8"]
    larger = suggest(Budget("macs<=20M"))
    assert [each.space for each in larger][-1] == "micro128"
    assert len(larger) > 1


def test_a_budget_that_nothing_meets_and_a_space_without_measurements_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="micro8: no candidate meets macs<=1K; the closest feasible value"):
        suggest(Budget("macs<=1K"), ["micro8"])
    with pytest.raises(ValueError, match="nothing was measured of space nasvit; measured are"):
        suggest(Budget("macs<=400M"), ["nasvit"])
    with pytest.raises(ValueError, match="no space is called 'micro9'"):
        suggest(Budget("macs<=400M"), ["micro9"])


def test_the_command_shows_and_writes_the_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_suggestions("macs<=400K", ["micro8"], 10, tmp_path / "found.json")
    printed = capsys.readouterr().out
    assert "micro8" in printed
    assert "carries over" in printed
    written = Architecture.from_json((tmp_path / "found.json").read_text(encoding="utf-8"))
    SPACE.check(written)
    assert f"width {list(written.width)}" in printed
    assert "int8 size" not in printed


def test_a_budget_for_the_size_of_integers_is_answered_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_suggestions("int8 size<=20KB", ["micro8"], 10, None)
    (found,) = suggest(Budget("int8 size<=20KB"), ["micro8"])
    table, printed = f"{found.costs['int8_size'] / 1e3:,.0f} kB", capsys.readouterr().out
    assert "int8 size" in printed.partition("over a random subnet")[0].partition("\n")[2]
    assert table in printed and table != f"{found.costs['memory'] / 1e3:,.0f} kB"
