"""The pace of a training, measured on some of its steps."""

from __future__ import annotations

import time
from typing import Any

import pytest

from nasvit.compute import ALONE
from nasvit.experiment.pace import seconds_of, seconds_per_epoch
from nasvit.training.trainer import Trainer


class Steady(Trainer):
    """A trainer whose steps take half a second each by its own count, and whose beginnings take ten."""

    def __init__(self) -> None:
        self.step, self.seconds, self.runs = 0, 0.0, 0
        self.steps, self.now = 10_000, 0.0

    @property
    def steps_per_epoch(self) -> int:
        return 20

    @property
    def compute(self) -> Any:  # type: ignore[override]
        return ALONE

    def run(self, *, until: int | None = None) -> Any:
        assert until is not None
        self.runs += 1
        self.now += 10 + 0.5 * (until - self.step)
        self.seconds += 0.5 * (until - self.step)
        self.step = until


@pytest.mark.parametrize("least", [2.0, 30.0])
def test_an_epoch_is_timed_by_its_steps_and_not_by_what_it_takes_to_begin(
    least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Steady()
    monkeypatch.setattr(time, "perf_counter", lambda: trainer.now)
    assert seconds_per_epoch(trainer, least, lambda: trainer.now) == pytest.approx(10.0)
    assert trainer.step == 6 + least / 0.5


def test_another_clock_counts_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Steady()
    monkeypatch.setattr(time, "perf_counter", lambda: trainer.now)
    assert seconds_per_epoch(trainer, 5.0, lambda: trainer.now / 4) == pytest.approx(2.5)


def test_a_call_is_timed_by_the_clock() -> None:
    ticks = iter([3.0, 7.5])
    assert seconds_of(lambda: None, lambda: next(ticks)) == 4.5
