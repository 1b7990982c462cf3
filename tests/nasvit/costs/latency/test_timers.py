"""Timers on a device that computes while the program goes on, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from nasvit.costs.latency.measure import NoisePolicy, in_turns
from nasvit.costs.latency.runtimes import InProcessRuntime
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timers import ClockTimer, EventTimer, WaitingEvent, current, timer_on
from nasvit.costs.latency.timing_log import Timing

MILLISECOND = 1_000_000


class Accelerator:
    """A device with a queue: launching costs the program little, and the device works the queue off.

    It can stand for ``torch.cuda`` or ``torch.xpu``.
    """

    def __init__(self, *, launching: float = 0.001, measures: bool = True) -> None:
        self.launching, self.measures = launching, measures
        self.program = self.device = 0.0  # moments in milliseconds: the program's, and when the queue will be empty
        self.launched = self.waited = 0
        self.current: list[object] = []

    def work(self, milliseconds: float) -> Callable[[], None]:
        def launch() -> None:
            self.launched += 1
            self.program += self.launching
            self.device = max(self.device, self.program) + milliseconds

        return launch

    def synchronize(self) -> None:
        self.waited += 1
        self.program = max(self.program, self.device)

    def clock(self) -> int:
        return round(self.program * MILLISECOND)

    def Event(self, enable_timing: bool = False) -> _Event:
        assert enable_timing
        return _Event(self)

    def device_context(self, device: object) -> Any:
        self.current.append(device)
        return nullcontext()


class _Event:
    """The moment at which the queue comes to it."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def record(self) -> None:
        self.moment = max(self.accelerator.device, self.accelerator.program)

    def synchronize(self) -> None:
        self.accelerator.synchronize()

    def elapsed_time(self, end: _Event) -> float:
        if not self.accelerator.measures:
            raise NotImplementedError("elapsedTime needs a newer compiler")
        return end.moment - self.moment


def events(accelerator: Accelerator) -> EventTimer:
    return EventTimer(lambda: accelerator.Event(enable_timing=True))


def test_calls_that_queue_up_are_timed_by_what_the_device_takes() -> None:
    accelerator = Accelerator()
    taken, calls = events(accelerator)(accelerator.work(0.5), 3.0)
    assert calls == 8  # 1, 2 and 4 calls take too little
    assert taken == pytest.approx(8 * 0.5, rel=0.01)
    assert accelerator.waited == 4, "the program waits at the end of every batch, and only there"


def test_a_clock_without_waiting_would_time_the_launch_alone() -> None:
    accelerator = Accelerator()
    taken, calls = ClockTimer(accelerator.clock)(accelerator.work(0.5), 0.01)
    assert taken / calls == pytest.approx(0.001)


def test_calls_that_take_longer_to_launch_than_to_compute_are_timed_by_their_launch() -> None:
    accelerator = Accelerator(launching=0.2)
    taken, calls = events(accelerator)(accelerator.work(0.01), 3.0)
    assert taken / calls == pytest.approx(0.2, rel=0.1)


def test_work_that_was_launched_before_does_not_count() -> None:
    accelerator = Accelerator()
    accelerator.work(1000.0)()
    taken, calls = events(accelerator)(accelerator.work(1.0), 3.0)
    assert taken / calls == pytest.approx(1.0, rel=0.01)


def test_a_device_whose_events_measure_no_time_is_waited_for() -> None:
    accelerator = Accelerator(measures=False)
    timer = EventTimer(lambda: WaitingEvent(accelerator.synchronize, accelerator.clock))
    taken, calls = timer(accelerator.work(0.5), 3.0)
    assert taken / calls == pytest.approx(0.5, rel=0.01)


def test_a_module_and_its_yardstick_are_timed_in_turns_on_the_device() -> None:
    accelerator = Accelerator()
    policy = NoisePolicy(warm_up=2, repeats=3, least_ms=20, turn_ms=3)
    timing = in_turns(accelerator.work(0.25), accelerator.work(2.0), policy, events(accelerator))
    assert timing.milliseconds == pytest.approx(0.25, rel=0.02)
    assert timing.yardstick == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
@pytest.mark.parametrize("measures", [True, False])
def test_accelerators_of_all_makers_are_timed_by_their_events_or_else_by_waiting(
    kind: str, measures: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = Accelerator(measures=measures)
    monkeypatch.setattr("time.perf_counter_ns", accelerator.clock)
    stands_for = SimpleNamespace(Event=accelerator.Event, synchronize=accelerator.synchronize)
    if kind != "mps":  # of which there is one at most
        stands_for.device = accelerator.device_context
    monkeypatch.setattr(torch, kind, stands_for)
    device = torch.device(kind, 0)
    module = TimedModule("block", (1, 1, 1, 1), nn.Identity)
    policy = NoisePolicy(warm_up=1, repeats=3, least_ms=20, turn_ms=3)
    runtime = InProcessRuntime(
        lambda _: accelerator.work(0.5), module, policy, timer_on(device, threads=1), threads=1, device=device
    )
    timing = runtime(module)
    assert isinstance(timing, Timing)
    assert timing.milliseconds == pytest.approx(0.5, rel=0.02)
    assert accelerator.current == ([] if kind == "mps" else [device, device])  # to try the events, and to time


def test_the_processor_needs_no_context() -> None:
    assert isinstance(current(torch.device("cpu")), nullcontext)
