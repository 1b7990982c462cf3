"""What is known of the time that stages took."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from nasvit.compute import Compute
from nasvit.experiment import clock
from nasvit.experiment.clock import Spent, minutes, spent, timed, total


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds on the clock and of the processors, which a test moves."""
    now = [100.0, 40.0]
    monkeypatch.setattr(clock, "now", lambda: (now[0], now[1]))
    return now


def test_a_stage_takes_what_all_its_runs_took_together_and_stages_stand_beside_each_other(
    tmp_path: Path, seconds: list[float]
) -> None:
    for stage, wall, processor in (("train", 10, 4), ("search", 2, 1), ("train", 5, 3)):
        with timed(tmp_path, stage):
            seconds[0] += wall
            seconds[1] += processor
        seconds[0] += 1000  # between two runs
    assert spent(tmp_path) == {"train": Spent(15, 7, 7), "search": Spent(2, 1, 1)}
    assert list(spent(tmp_path)) == ["train", "search"]
    assert total(spent(tmp_path)) == Spent(17, 8, 8)


def test_nothing_was_spent_in_a_new_folder(tmp_path: Path) -> None:
    assert spent(tmp_path / "none") == {}
    assert total({}) == Spent()


def test_a_stage_that_fails_or_is_interrupted_took_its_time_all_the_same(tmp_path: Path, seconds: list[float]) -> None:
    def interrupted() -> None:
        with timed(tmp_path, "train"):
            seconds[0] += 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert spent(tmp_path)["train"].wall == 3


def test_what_a_killed_run_took_is_written_while_it_runs(
    tmp_path: Path, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_BEAT", 0.01)
    with timed(tmp_path, "train"):
        seconds[0] += 7
        until = time.monotonic() + 60
        while spent(tmp_path).get("train", Spent()).wall != 7 and time.monotonic() < until:
            time.sleep(0.01)
        assert spent(tmp_path)["train"].wall == 7


def test_of_several_processes_the_first_one_measures_and_counts_their_work(
    tmp_path: Path, seconds: list[float]
) -> None:
    for name, device, rank in (("cpu", "cpu", 0), ("gpu", "cuda", 0), ("other", "cpu", 1)):
        with timed(tmp_path, name, Compute(torch.device(device), rank, count=2)):
            seconds[0] += 10
            seconds[1] += 6
    assert spent(tmp_path) == {"cpu": Spent(10, 6, 12), "gpu": Spent(10, 6, 20)}


def test_processors_are_those_of_the_process_and_of_its_finished_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 9.0)
    monkeypatch.setattr(time, "process_time", lambda: 4.0)
    monkeypatch.setattr(os, "times", lambda: os.times_result((0, 0, 0.5, 0.25, 0)))
    assert clock.now() == (9.0, 4.75)


def test_seconds_are_written_as_minutes_and_hours() -> None:
    assert [minutes(seconds) for seconds in (0.4, 59.6, 751, 3900)] == ["0:00", "1:00", "12:31", "1:05:00"]
