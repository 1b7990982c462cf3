"""How long things take on this machine: measured on the very networks and images that a plan is made for."""

from __future__ import annotations

import time
from collections.abc import Callable

from nasvit.training.trainer import Trainer

Clock = Callable[[], float]
"""Seconds from any beginning: ``time.perf_counter``, or ``time.process_time`` for those of the processor alone."""

_WARM_UP = 2  # first steps, which also fill caches and allocate


def seconds_per_epoch(trainer: Trainer, least: float, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of one pass over the training images, evaluations not counted.

    Of several processes all call this together.

    Args:
        trainer: a trainer in a folder of its own, which is left with some steps done.
        least: measure for so many seconds at least.
        clock: what measures.
    """
    trainer.run(until=_WARM_UP)
    began, steps, spent = clock(), _WARM_UP, 0.0
    while spent < least and trainer.step < trainer.steps:
        trainer.run(until=trainer.step + steps)
        steps *= 2
        spent = trainer.compute.from_first(lambda: clock() - began)  # all go on, or none
    return spent / (trainer.step - _WARM_UP) * trainer.steps_per_epoch


def seconds_of(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return how long a call takes."""
    began = clock()
    work()
    return clock() - began
