"""The metrics file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasvit.training.metrics import Metrics, read_metrics


def run(path: Path, first: int, last: int, *, resume_step: int | None = None, seconds: float = 1.0) -> None:
    metrics = Metrics(path, resume_step=resume_step)
    for step in range(first, last + 1):
        metrics.append(step, {"loss": 1 / step, "seconds": seconds * step})
    metrics.close()


def test_a_killed_and_resumed_run_leaves_the_file_of_an_unbroken_one(tmp_path: Path) -> None:
    run(tmp_path / "unbroken.jsonl", 1, 9)
    run(tmp_path / "resumed.jsonl", 1, 6)
    with (tmp_path / "resumed.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # Killed in the middle of a line.
    run(tmp_path / "resumed.jsonl", 5, 9, resume_step=4)
    assert (tmp_path / "resumed.jsonl").read_bytes() == (tmp_path / "unbroken.jsonl").read_bytes()


def test_records_from_before_a_rollback_stay_in_a_resumed_file(tmp_path: Path) -> None:
    run(tmp_path / "m.jsonl", 1, 8)
    with Metrics(tmp_path / "m.jsonl", resume_step=8) as metrics:
        metrics.append(3, {"event": "rollback"})
        for step in (4, 5, 6):
            metrics.append(step, {"loss": 0.0})
    Metrics(tmp_path / "m.jsonl", resume_step=5).close()
    steps = [record["step"] for record in read_metrics(tmp_path / "m.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 5]


def test_without_wall_clock_fields_runs_of_different_speed_are_equal(tmp_path: Path) -> None:
    run(tmp_path / "a.jsonl", 1, 3, seconds=1)
    run(tmp_path / "b.jsonl", 1, 3, seconds=2)
    first, second = (read_metrics(tmp_path / name, wall_clock=False) for name in ("a.jsonl", "b.jsonl"))
    assert first == second == [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    assert read_metrics(tmp_path / "a.jsonl") != read_metrics(tmp_path / "b.jsonl")


def test_a_run_from_the_beginning_starts_the_file_anew(tmp_path: Path) -> None:
    run(tmp_path / "m.jsonl", 1, 5)
    run(tmp_path / "m.jsonl", 1, 2)
    assert [record["step"] for record in read_metrics(tmp_path / "m.jsonl")] == [1, 2]


def test_a_record_can_be_read_before_the_file_is_closed(tmp_path: Path) -> None:
    with Metrics(tmp_path / "below" / "m.jsonl") as metrics:
        metrics.append(1, {"loss": 0.5})
        assert read_metrics(tmp_path / "below" / "m.jsonl") == [{"step": 1, "loss": 0.5}]


@given(value=st.floats())
def test_any_number_comes_back_as_it_was(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("metrics") / "m.jsonl"
    with Metrics(path) as metrics:
        metrics.append(1, {"loss": value})
    with Metrics(path, resume_step=1):
        found = read_metrics(path)[0]["loss"]
    assert found == value or (math.isnan(found) and math.isnan(value))
    assert "NaN," not in path.read_text() and ": NaN" not in path.read_text()  # No JSON but Python's knows it.


def test_lists_and_texts_are_kept(tmp_path: Path) -> None:
    values = {"subnets": ["smallest", "largest"], "note": "x", "nothing": None}
    with Metrics(tmp_path / "m.jsonl") as metrics:
        metrics.append(1, values)
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, **values}]


def test_a_spoiled_line_is_refused_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl:2"):
        read_metrics(tmp_path / "m.jsonl")


def test_a_value_named_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the value otherwise"):
        Metrics(tmp_path / "m.jsonl").append(1, {"step": 2})
