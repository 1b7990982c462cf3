"""Timers of functions: a clock for the processor, events for a device that computes while the program goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Clock = Callable[[], int]
"""Monotonic clock, in nanoseconds."""


class Timer(Protocol):
    """Runs a function again and again for some time."""

    def __call__(self, run: Callable[[], object], least_ms: float, /) -> tuple[float, int]:
        """Return the milliseconds, more than ``least_ms``, that some calls took together, and the number of calls."""


@dataclass(frozen=True)
class ClockTimer:
    """Times every call by a clock, for functions that return when they are done.

    Args:
        clock: monotonic clock, in nanoseconds.
    """

    clock: Clock

    def __call__(self, run: Callable[[], object], least_ms: float, /) -> tuple[float, int]:
        """Run until the calls have taken long enough."""
        taken, calls = 0, 0
        while taken <= least_ms * 1e6:
            start = self.clock()
            run()
            taken += self.clock() - start
            calls += 1
        return taken / 1e6, calls


class Event(Protocol):
    """A mark in the queue of a device, as ``torch.cuda.Event``."""

    def record(self) -> None:
        """Queue the mark behind everything that was launched."""

    def synchronize(self) -> None:
        """Wait until the device has come to the mark."""

    def elapsed_time(self, end: Any, /) -> float:
        """Return the milliseconds until the device came to another mark."""


@dataclass(frozen=True)
class EventTimer:
    """Times batches of calls by two events, for functions that only launch work on a device.

    The calls of a batch queue up on the device, and only its end is waited for. So what is measured is the time of a
    call on a device that is kept busy; where launching takes longer than computing, it is the time of launching, as in
    use. Batches double until one is long enough, and it alone counts: in it the wait for the first call is little.

    Args:
        new_event: makes an event that measures time.
    """

    new_event: Callable[[], Event]

    def __call__(self, run: Callable[[], object], least_ms: float, /) -> tuple[float, int]:
        """Run batches until one takes long enough."""
        calls = 1
        while (taken := self.batch(run, calls)) <= least_ms:
            calls *= 2
        return taken, calls

    def batch(self, run: Callable[[], object], calls: int) -> float:
        """Return the milliseconds that some calls take together."""
        start, end = self.new_event(), self.new_event()
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


class WaitingEvent:
    """Stands for an event on a device whose events measure no time: waits for the device and looks at the clock.

    Args:
        wait: waits until the device has nothing left to do.
        clock: monotonic clock, in nanoseconds.
    """

    def __init__(self, wait: Callable[[], object], clock: Clock) -> None:
        self.wait, self.clock, self.moment = wait, clock, 0

    def record(self) -> None:
        """Wait for everything that was launched, and take the time."""
        self.wait()
        self.moment = self.clock()

    def synchronize(self) -> None:
        """Do nothing: recording waited already."""

    def elapsed_time(self, end: WaitingEvent, /) -> float:
        """Return the milliseconds until another event."""
        return (end.moment - self.moment) / 1e6


def timer_on(device: torch.device, threads: int) -> Timer:
    """Return the timer for functions that run on a device.

    Args:
        device: the processor, or an accelerator.
        threads: threads of the processor; one thread is timed by its processor time, more by the clock on the wall.
    """
    if device.type == "cpu":
        return ClockTimer(time.thread_time_ns if threads == 1 else time.perf_counter_ns)
    accelerator = getattr(torch, device.type)
    timer = EventTimer(lambda: accelerator.Event(enable_timing=True))
    try:
        with current(device):
            timer.batch(lambda: None, 1)
    except NotImplementedError:  # events of XPU measure no time in builds by an old compiler
        clock = time.perf_counter_ns
        return EventTimer(lambda: WaitingEvent(accelerator.synchronize, clock))
    return timer


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which events belong to a device: in the queue of the current one they are recorded."""
    if device.type in ("cuda", "xpu"):
        context: AbstractContextManager[Any] = getattr(torch, device.type).device(device)
        return context
    return nullcontext()
