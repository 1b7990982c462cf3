"""Rounds of timing, the summary of a module's timings, and the test for noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np

from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timers import Timer
from nasvit.costs.latency.timing_log import Timing, TimingLog
from search_spaces.ranges import Checked, Range

_Rounds = Annotated[int, Range(1, 100_000)]
_MoreRounds = Annotated[int, Range(0, 100_000)]
_Milliseconds = Annotated[float, Range(0, 1e6)]

UNDISTURBED = 0.1
"""Quantile of all timings of the yardstick that stands for its time on the undisturbed machine."""


@dataclass(frozen=True)
class NoisePolicy(Checked):
    """Compare with a yardstick, measure in rounds, take the median, measure again what is not steady.

    A block is timed in turns with a yardstick, which is one fixed block of the space; what counts is the ratio of their
    times, times the milliseconds of the yardstick on the undisturbed machine. So what slows both down (a busy
    neighbor, heat) cancels. With one thread, time is that thread's processor time, so waiting for a turn does not
    count; with more it is time on the wall, and on an accelerator the time between two events there. A round measures
    everything once in a new random order, and the median over rounds counts. A command of the user's has no yardstick:
    its milliseconds count as they are.

    Args:
        rounds: measurements of everything.
        warm_up: runs before the timed ones, each time.
        repeats: timed runs of a measurement, at least.
        least_ms: milliseconds that the timed runs of a measurement take together, at least.
        turn_ms: milliseconds of a turn, at least: shorter ones would measure how cold the caches are after the change.
        tolerance: interquartile range over median of the rounds that is still steady.
        again: more rounds, at most, for what is not; what still is not is marked as noisy.

    Raises:
        ValueError: if a number is out of its range, such as one that is too small to measure anything.
    """

    rounds: _Rounds = 5
    warm_up: _MoreRounds = 3
    repeats: _Rounds = 10
    least_ms: _Milliseconds = 30.0
    turn_ms: _Milliseconds = 3.0
    tolerance: Annotated[float, Range(0, 1000)] = 0.1
    again: _MoreRounds = 4


class Measure(Protocol):
    """Measures the latency of one module once."""

    def __call__(self, module: TimedModule) -> Timing:
        """Return the milliseconds of one call, and of one call of the yardstick in turns with it."""


@dataclass(frozen=True)
class Measurement:
    """Summary of the rounds of one module.

    Args:
        milliseconds: median over the rounds.
        spread: interquartile range over that median.
        rounds: number of rounds.
        noisy: whether the spread is above the tolerance of the policy.
    """

    milliseconds: float
    spread: float
    rounds: int
    noisy: bool


def in_turns(
    run: Callable[[], object],
    yardstick: Callable[[], object],
    policy: NoisePolicy,
    timer: Timer,
) -> Timing:
    """Time two functions in turns, so that both run under the same disturbances.

    Args:
        run: the function to measure.
        yardstick: the function to compare with; the one of the two that has run for less time has the next turn.
        policy: warm-up, repeats and length of a turn.
        timer: runs a function for a turn.
    """
    runs = (run, yardstick)
    for _ in range(policy.warm_up):
        run()
        yardstick()
    taken, calls = [0.0, 0.0], [0, 0]
    while min(calls) < policy.repeats or min(taken) < policy.least_ms:
        which = int(taken[1] < taken[0])
        milliseconds, times = timer(runs[which], policy.turn_ms)
        taken[which] += milliseconds
        calls[which] += times
    return Timing(taken[0] / calls[0], taken[1] / calls[1])


def yardstick_milliseconds(log: TimingLog) -> float | None:
    """Return the time of the yardstick on the undisturbed machine, or None where there is no yardstick."""
    timings = [timing.yardstick for timing in log.timings() if timing.yardstick is not None]
    return float(np.quantile(timings, UNDISTURBED)) if timings else None


def summarize(rounds: Sequence[Timing], yardstick: float | None, tolerance: float) -> Measurement:
    """Summarize the rounds of one module.

    Args:
        rounds: timings of the module.
        yardstick: milliseconds of the yardstick on the undisturbed machine.
        tolerance: largest spread of a steady module.
    """
    values = [_undisturbed(timing, yardstick) for timing in rounds]
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    spread = float((high - low) / median)
    return Measurement(float(median), spread, len(values), spread > tolerance)


def _undisturbed(timing: Timing, yardstick: float | None) -> float:
    if timing.yardstick is None or yardstick is None:
        return timing.milliseconds
    return timing.milliseconds / timing.yardstick * yardstick


def measure_all(
    modules: Sequence[TimedModule],
    measure: Measure,
    policy: NoisePolicy,
    log: TimingLog,
    on_measured: Callable[[TimedModule], None] = lambda module: None,
) -> dict[str, Measurement]:
    """Measure every module in interleaved rounds, and the noisy ones again; what the log holds is not repeated.

    Args:
        modules: the modules to measure.
        measure: measures one module once.
        policy: number of rounds, and tolerance of noise.
        log: keeps every measurement as soon as it is made.
        on_measured: called after every measurement that was not in the timing log.

    Returns:
        The measurement of every module by its name.
    """
    left = list(modules)
    for number in range(policy.rounds + policy.again):
        if number >= policy.rounds:
            measured = _summaries(left, log, policy, before=number)
            left = [module for module in left if measured[module.name].noisy]
        for position in np.random.default_rng(number).permutation(len(left)):
            module = left[position]
            if not log.has(module.name, number):
                log.add(module.name, number, measure(module))
                on_measured(module)
    return _summaries(modules, log, policy)


def _summaries(
    modules: Sequence[TimedModule], log: TimingLog, policy: NoisePolicy, before: int | None = None
) -> dict[str, Measurement]:
    """Summarize the rounds (those ``before`` a number, if given) of every module."""
    yardstick = yardstick_milliseconds(log)
    return {module.name: summarize(log.rounds(module.name)[:before], yardstick, policy.tolerance) for module in modules}
