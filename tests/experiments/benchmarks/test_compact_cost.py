from __future__ import annotations

from pathlib import Path

import pytest

import experiments
from experiments.benchmarks.compact_cost import Settings, fusing_gain, netaug_cost
from nasvit.costs.counting import count
from nasvit.registry import create

TINY32 = str(Path(experiments.__file__).parent / "compact" / "tiny32.yaml")
SETTINGS = Settings(batch_size=2, repeats=1, draws=2)


def test_a_netaug_step_costs_more_than_a_step_and_most_while_widths_are_augmented() -> None:
    row = netaug_cost(TINY32, SETTINGS)
    assert row["macs"] == count(create(TINY32, 10).network, 3, 32, 32).macs
    assert row["step_macs_ratio"]["widths"] > row["step_macs_ratio"]["expand_only"] > 2


def test_fusing_leaves_the_costs_of_the_plain_network_and_the_same_output() -> None:
    row = fusing_gain(TINY32, SETTINGS)
    assert row["macs"][1] == count(create(TINY32, 10).network, 3, 32, 32).macs < row["macs"][0]
    assert row["largest_difference"] == pytest.approx(0, abs=1e-12)
