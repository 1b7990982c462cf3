"""The noise policy, with a clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from nasvit.costs.latency.measure import NoisePolicy, in_turns, measure_all, summarize, yardstick_milliseconds
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timers import ClockTimer
from nasvit.costs.latency.timing_log import Timing, TimingLog

MILLISECOND = 1_000_000


class Machine:
    """A processor whose clock only moves when something runs on it."""

    def __init__(self) -> None:
        self.now = 0
        self.slower = 1.0
        self.ran: list[str] = []

    @property
    def timer(self) -> ClockTimer:
        return ClockTimer(lambda: self.now)

    def work(self, name: str, milliseconds: float) -> Callable[[], None]:
        def run() -> None:
            self.ran.append(name)
            self.now += round(milliseconds * self.slower * MILLISECOND)

        return run


def module(name: str) -> TimedModule:
    return TimedModule(name, (1, 1, 1, 1), nn.Identity)


def test_the_shorter_of_two_runs_oftener_so_that_both_get_the_same_time() -> None:
    machine = Machine()
    policy = NoisePolicy(warm_up=2, repeats=3, least_ms=100, turn_ms=0)
    timing = in_turns(machine.work("short", 1), machine.work("long", 10), policy, machine.timer)
    assert timing == Timing(1.0, 10.0)
    counted = Counter(machine.ran)
    assert counted["long"] == 2 + 10
    assert 2 + 100 <= counted["short"] <= 2 + 110


def test_a_turn_is_long_enough_for_warm_caches() -> None:
    machine = Machine()
    policy = NoisePolicy(warm_up=0, repeats=2, least_ms=9, turn_ms=2.5)
    in_turns(machine.work("a", 1), machine.work("b", 1), policy, machine.timer)
    assert "".join(machine.ran) == "aaabbbaaabbbaaabbb"


def test_warm_up_runs_do_not_count() -> None:
    machine = Machine()
    policy = NoisePolicy(warm_up=4, repeats=5, least_ms=0, turn_ms=0)
    first = machine.work("first", 1)

    def run() -> None:
        first()
        if machine.ran.count("first") <= 4:
            machine.now += 1000 * MILLISECOND

    assert in_turns(run, machine.work("yardstick", 1), policy, machine.timer) == Timing(1.0, 1.0)


def timing_log(tmp_path: Path) -> TimingLog:
    return TimingLog(tmp_path / "table.journal.jsonl", {"device": "fake"})


def test_a_machine_that_slows_everything_down_changes_no_result(tmp_path: Path) -> None:
    machine = Machine()
    policy = NoisePolicy(rounds=5, again=0)
    times = {"a": 2.0, "b": 6.0}
    calls = iter([1.0, 3.0, 2.0, 1.0, 5.0, 1.5, 1.0, 2.0, 4.0, 2.5])

    def measure(which: TimedModule) -> Timing:
        machine.slower = next(calls)
        works = machine.work(which.name, times[which.name]), machine.work("yardstick", 0.5)
        return in_turns(*works, policy, machine.timer)

    measured = measure_all([module("a"), module("b")], measure, policy, timing_log(tmp_path))
    assert {name: round(one.milliseconds, 6) for name, one in measured.items()} == times
    assert not any(one.noisy for one in measured.values())


def test_what_is_not_steady_is_measured_again_and_marked_if_it_stays_so(tmp_path: Path) -> None:
    counted: Counter[str] = Counter()

    def measure(which: TimedModule) -> Timing:
        counted[which.name] += 1
        jump = {"steady": 1.0, "settles": 2.0 if counted["settles"] < 3 else 1.0, "wild": 1.5 ** counted["wild"]}
        return Timing(jump[which.name], 1.0)

    policy = NoisePolicy(rounds=4, again=3, tolerance=0.3)
    measured = measure_all(
        [module(name) for name in ("steady", "settles", "wild")], measure, policy, timing_log(tmp_path)
    )
    assert counted == {"steady": 4, "settles": 7, "wild": 7}
    assert {name: one.noisy for name, one in measured.items()} == {"steady": False, "settles": True, "wild": True}
    assert measured["settles"].milliseconds == 1.0
    assert measured["wild"].rounds == 7


def test_a_round_measures_everything_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    order: list[str] = []

    def measure(which: TimedModule) -> Timing:
        order.append(which.name)
        return Timing(1.0, 1.0)

    names = [f"block {number}" for number in range(12)]
    measure_all([module(name) for name in names], measure, NoisePolicy(rounds=3), timing_log(tmp_path))
    rounds = [order[start : start + 12] for start in (0, 12, 24)]
    assert all(sorted(one) == sorted(names) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 3


def test_without_a_yardstick_milliseconds_count_as_they_are(tmp_path: Path) -> None:
    log = timing_log(tmp_path)
    log.add("a", 0, Timing(3.0))
    assert yardstick_milliseconds(log) is None
    assert summarize([Timing(3.0), Timing(5.0), Timing(4.0)], None, 0.1).milliseconds == 4.0


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"repeats": 0}, {"warm_up": -1}, {"tolerance": -0.1}])
def test_a_policy_that_measures_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: .* is illegal; legal: .*numbers from"):
        NoisePolicy(**wrong)  # type: ignore[arg-type]
