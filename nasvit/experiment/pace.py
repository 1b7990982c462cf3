"""How long things take on this machine: measured on the very networks and images that a plan is made for."""

from __future__ import annotations

import time
from collections.abc import Callable

from nasvit.training.trainer import Trainer

Clock = Callable[[], float]
"""Seconds from any beginning: ``time.perf_counter``, or ``time.process_time`` for those of the processor alone."""

_WARM_UP, _PILOT = 2, 4
"""First steps, which also fill caches and allocate, and those after them that say how many steps are to be timed."""


def seconds_per_epoch(trainer: Trainer, least: float, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of one pass over the training images, evaluations and checkpoints not counted.

    Of several processes all call this together.

    Args:
        trainer: a trainer in a folder of its own, which is left with some steps done.
        least: measure for about so many seconds.
        clock: what measures.
    """
    trainer.run(until=_WARM_UP)
    pilot = _seconds_of_steps(trainer, _PILOT, clock) / _PILOT
    steps = trainer.compute.from_first(lambda: max(1, round(least / max(pilot, 1e-6))))
    steps = min(steps, trainer.steps - trainer.step)
    return _seconds_of_steps(trainer, steps, clock) / steps * trainer.steps_per_epoch


def _seconds_of_steps(trainer: Trainer, steps: int, clock: Clock) -> float:
    """Train so many steps on and return what they took, without what beginning and ending a training takes."""
    before, began, looked = trainer.seconds, time.perf_counter(), clock()
    trainer.run(until=trainer.step + steps)
    share = (clock() - looked) / (time.perf_counter() - began)  # of the seconds by the other clock
    return (trainer.seconds - before) * share


def seconds_of(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return how long a call takes."""
    began = clock()
    work()
    return clock() - began
