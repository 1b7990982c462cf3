"""Rows of an experiment that was killed: what is there stays, what is missing is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.rows import Rows
from nasvit.files.records import read_json


def test_what_was_killed_goes_on_with_the_rows_that_are_missing(tmp_path: Path) -> None:
    file, made = tmp_path / "results.json", list[int]()

    def measure(seed: int) -> dict[str, int]:
        made.append(seed)
        if len(made) == 2:
            raise KeyboardInterrupt
        return {"accuracy": 10 * seed}

    def run() -> None:
        rows = Rows(file, "python -m experiments.some", recipe="found")
        for seed in (1, 2, 3):
            rows.make({"seed": seed}, lambda: measure(seed))  # noqa: B023  # called at once

    with pytest.raises(KeyboardInterrupt):
        run()
    run()
    content = read_json(file)
    assert made == [1, 2, 2, 3]
    assert content["rows"] == [{"seed": seed, "accuracy": 10 * seed} for seed in (1, 2, 3)]
    assert (content["command"], content["recipe"]) == ("python -m experiments.some", "found")


def test_several_rows_of_one_training_are_made_at_once(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for _ in range(2):
        Rows(file, "").make({"seed": 0}, lambda: [{"budget": "small"}, {"budget": "large"}])
    assert read_json(file)["rows"] == [{"seed": 0, "budget": "small"}, {"seed": 0, "budget": "large"}]
