"""The timing log survives kills and refuses to mix devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasvit.costs.latency.timing_log import Timing, TimingLog

CONDITIONS = {"device": "pi", "threads": 1, "versions": {"torch": "2.14.1"}}


def test_a_timing_log_remembers_measurements_of_earlier_runs(tmp_path: Path) -> None:
    log = TimingLog(tmp_path / "deep" / "journal.jsonl", CONDITIONS)
    log.add("a", 1, Timing(0.5, 2.0))
    log.add("a", 0, Timing(0.25))
    again = TimingLog(tmp_path / "deep" / "journal.jsonl", CONDITIONS)
    assert again.rounds("a") == [Timing(0.25, None), Timing(0.5, 2.0)]
    assert again.has("a", 1)
    assert not again.has("a", 2)
    assert not again.has("b", 0)
    assert again.rounds("b") == []


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_timing_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    log = TimingLog(path, CONDITIONS)
    log.add("a", 0, Timing(1.0))
    log.add("b", 0, Timing(2.0))
    path.write_bytes(path.read_bytes()[:-9])
    cut = TimingLog(path, CONDITIONS)
    assert not cut.has("b", 0)
    cut.add("b", 0, Timing(3.0))
    assert TimingLog(path, CONDITIONS).rounds("b") == [Timing(3.0)]
    assert TimingLog(path, CONDITIONS).rounds("a") == [Timing(1.0)]


def test_a_timing_log_that_nothing_was_added_to_leaves_no_file(tmp_path: Path) -> None:
    assert not TimingLog(tmp_path / "journal.jsonl", CONDITIONS).has("a", 0)
    assert not list(tmp_path.iterdir())


def test_measurements_under_other_conditions_are_not_mixed_in(tmp_path: Path) -> None:
    TimingLog(tmp_path / "journal.jsonl", CONDITIONS).add("a", 0, Timing(1.0))
    with pytest.raises(ValueError, match=r"journal\.jsonl were made with threads 1, now it is 2; .*delete that file"):
        TimingLog(tmp_path / "journal.jsonl", {**CONDITIONS, "threads": 2})
