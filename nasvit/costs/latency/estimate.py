"""Number of measurements, and an estimate of the time that they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from nasvit.costs.latency.plan import MeasurementPlan
from nasvit.costs.latency.timed_modules import TimedModule

PROBES = 3
"""Number of blocks, and of networks, that are timed for an estimate."""


def first_measurements(plan: MeasurementPlan, *, done: bool) -> int:
    """Return the number of measurements that are done, or left, in the rounds that measure every module."""
    log, rounds = plan.timing_log(), range(plan.settings.policy.rounds)
    modules = [*plan.blocks, *plan.networks]
    return sum(log.has(module.name, number) == done for module in modules for number in rounds)


def estimate_seconds(plan: MeasurementPlan, clock: Callable[[], float] = time.monotonic) -> float:
    """Estimate the seconds that the measurements left will take, by timing a few modules.

    Nothing is written but exported files, which are used again.

    Args:
        plan: the modules to measure.
        clock: monotonic clock, in seconds.

    Raises:
        ValueError: if a command that measures fails.
    """
    share = first_measurements(plan, done=False) / (len(plan.blocks) + len(plan.networks))
    return share * sum(_seconds_a_round(plan, modules, clock) for modules in (plan.blocks, plan.networks))


def _seconds_a_round(plan: MeasurementPlan, modules: Sequence[TimedModule], clock: Callable[[], float]) -> float:
    """Time a few evenly spread modules; the first time, which may export them, is spread over the rounds."""
    chosen = [modules[place] for place in np.linspace(0, len(modules) - 1, PROBES).round().astype(int)]
    moments = [clock()]
    for _ in range(2):
        for module in chosen:
            plan.measure(module)
        moments.append(clock())
    first, again = np.diff(moments) / len(chosen)
    return float(len(modules) * (again + max(first - again, 0) / plan.settings.policy.rounds))
