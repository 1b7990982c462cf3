"""How much there is to measure, and about how long that will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from nasvit.costs.latency.plan import Build
from nasvit.costs.latency.subjects import Subject

PROBES = 3
"""Subjects of each kind that are tried out for an estimate."""


def first_measurements(build: Build, *, done: bool) -> int:
    """Return how many measurements of the rounds that everything gets are made already, or are left."""
    log, rounds = build.timing_log(), range(build.settings.policy.rounds)
    subjects = [*build.blocks, *build.networks]
    return sum(log.has(subject.name, number) == done for subject in subjects for number in rounds)


def estimate_seconds(build: Build, clock: Callable[[], float] = time.monotonic) -> float:
    """Return about how long the measurements that are left will take, from trying out a few of them.

    Nothing is written but exported files, which are used again.

    Args:
        build: what is to be measured.
        clock: seconds that only grow.

    Raises:
        ValueError: if a command that measures fails.
    """
    share = first_measurements(build, done=False) / (len(build.blocks) + len(build.networks))
    return share * sum(_seconds_a_round(build, subjects, clock) for subjects in (build.blocks, build.networks))


def _seconds_a_round(build: Build, subjects: Sequence[Subject], clock: Callable[[], float]) -> float:
    """Time a few evenly spread subjects; the first time, which may export them, is spread over the rounds."""
    chosen = [subjects[place] for place in np.linspace(0, len(subjects) - 1, PROBES).round().astype(int)]
    moments = [clock()]
    for _ in range(2):
        for subject in chosen:
            build.measure(subject)
        moments.append(clock())
    first, again = np.diff(moments) / len(chosen)
    return float(len(subjects) * (again + max(first - again, 0) / build.settings.policy.rounds))
