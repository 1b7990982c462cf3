"""The table of the slimmable experiment."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.slimmable_table import KINDS, summarize


def test_the_table_holds_every_seed_and_marks_widths_that_never_trained(capsys: pytest.CaptureFixture[str]) -> None:
    results: dict[str, dict[str, Any]] = {
        f"{kind}-{seed}": {"test": {"accuracy_0.5": 0.5 + seed / 10, "accuracy_1.0": 0.7}}
        for kind in KINDS
        for seed in (0, 1)
    }
    for seed in (0, 1):
        results[f"naive-{seed}"]["test_recalibrated"] = {"accuracy_0.5": 0.4, "accuracy_1.0": 0.4}
    content = summarize(results, (0, 1), {"0.5": 1_000_000, "1.0": 4_000_000}, ["0.5"])
    assert content["accuracy"]["joint"] == {"0.5": [0.5, 0.6], "1.0": [0.7, 0.7]}
    assert content["accuracy"]["naive, recalibrated"]["1.0"] == [0.4, 0.4]
    printed = capsys.readouterr().out
    assert printed.count("55.0* (50.0-60.0)") == 1
    assert "4.00 MMACs" in printed
