"""What a training will cost: a few of its steps, made on as many images as fit, and the rest by proportion."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from nasvit.compute import Compute
from nasvit.experiment.made_up import batch_of_noise
from nasvit.training.memory import step_memory
from nasvit.training.trainer import Trainer

LONGEST = 10.0
"""Seconds that a step may take that is made to be measured; of those that would take longer fewer images are tried."""

_MEMORY_SHARE = 0.7  # of what is free
_FEW = 2
_MOST_STEPS, _ENOUGH = 9, 1.0  # short steps are made again until so many seconds are measured


@dataclass(frozen=True)
class Trial:
    """What a training costs.

    Args:
        name: what is trained.
        epochs: its epochs.
        batch_size: images of a step.
        steps: its steps, all together.
        tried: images of the step that was measured.
        seconds: seconds of a whole step.
        memory: bytes that a whole step takes.
        measured: whether the memory was measured; else it is foreseen.
    """

    name: str
    epochs: int
    batch_size: int
    steps: int
    tried: int
    seconds: float
    memory: int
    measured: bool

    @property
    def images(self) -> int:
        """Images seen, all together."""
        return self.steps * self.batch_size

    @property
    def hours(self) -> float:
        """Hours of all steps."""
        return self.steps * self.seconds / 3600


def try_training(name: str, trainer: Trainer, parts: int = 1) -> Trial:
    """Make two steps of a training, the second on as many images as fit into memory and take a few seconds at most.

    The first tells how many these are. Short steps are made several times.

    Args:
        name: what is trained.
        trainer: a trainer that has made no step.
        parts: parts that a batch is split into, one after the other.

    Raises:
        ValueError: if the loss is not a number.
    """
    compute, batch_size = trainer.compute, trainer.recipe.batch_size
    expected = step_memory(trainer, batch_of_noise(trainer.loader, 1), parts)
    whole = expected.at_once
    few = min(whole, _FEW)
    seconds = _seconds_of_step(name, trainer, few)
    tried = _most(whole, few, seconds / few, expected.activations / whole, compute.free_memory())
    if not compute.on_processor:  # where the first step of a size also prepares
        tried, _, _ = _measured(name, trainer, tried)
    tried, seconds, measured = _measured(name, trainer, tried)
    alike = measured is not None and tried == whole
    memory = measured if alike and measured is not None else expected.whole
    return Trial(
        name, trainer.recipe.epochs, batch_size, trainer.steps, tried, seconds * batch_size / tried, memory, alike
    )


def _measured(name: str, trainer: Trainer, count: int) -> tuple[int, float, int | None]:
    """Return of how many images a step was made, fewer than asked for if these do not fit; its seconds and memory."""
    while True:
        try:
            with trainer.compute.peak_memory() as peak:
                seconds = [_seconds_of_step(name, trainer, count)]
                while len(seconds) < _MOST_STEPS and sum(seconds) < _ENOUGH:
                    seconds.append(_seconds_of_step(name, trainer, count))
                return count, median(seconds), peak()
        except torch.OutOfMemoryError:
            if count <= _FEW:
                raise
            count = _even(count // 2)


def _most(whole: int, few: int, seconds: float, kept: float, free: int | None) -> int:
    """Return how many images are tried: the whole batch, or half, a quarter and so on until it is little enough."""
    room = math.inf if free is None else _MEMORY_SHARE * free
    count = whole
    while count > few and (count * seconds > LONGEST or count * kept > room):
        count = _even(count // 2)
    return max(count, few)


def _even(count: int) -> int:
    """Return an even number: images may be mixed in pairs."""
    return max(_FEW, count // 2 * 2)


def _seconds_of_step(name: str, trainer: Trainer, count: int) -> float:
    batch = batch_of_noise(trainer.loader, count)
    began = time.perf_counter()
    loss = trainer.try_step(batch)
    if not math.isfinite(loss) and trainer.step == 1:
        raise ValueError(f"{name}: the loss of the first step is {loss}; nothing can be learned so")
    return time.perf_counter() - began


def seconds_of_images(network: Callable[[Tensor], Tensor], images: Tensor, compute: Compute) -> float:
    """Return the seconds that a network takes for an image, without a backward pass.

    Args:
        network: the network, on the device.
        images: a batch on the device.
        compute: the device.
    """
    with torch.no_grad():
        compute.host(network(images))
        began = time.perf_counter()
        compute.host(network(images))
        return (time.perf_counter() - began) / len(images)
