"""What a training will cost: a few of its steps, made on as many images as fit, and the rest by proportion."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.compute import Compute
from nasvit.experiment.made_up import MadeUpImages
from nasvit.training.learner import Learner
from nasvit.training.trainer import Trainer

LONGEST = 10.0
"""Seconds that a step may take that is made to be measured; of those that would take longer fewer images are tried."""

_MEMORY_SHARE = 0.7  # of what is free: what is kept for backward passes is not all that a step takes
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
        measured: whether the memory was measured; else it is what is kept, by proportion.
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


def try_training(name: str, trainer: Trainer, images: MadeUpImages, parts: int = 1) -> Trial:
    """Make two steps of a training, the second on as many images as fit into memory and take a few seconds at most.

    The first tells how many these are. Short steps are made several times.

    Args:
        name: what is trained.
        trainer: a trainer that has made no step.
        images: the images of its loader.
        parts: parts that a batch is split into, one after the other.

    Raises:
        ValueError: if the loss is not a number.
    """
    compute, batch_size = images.compute, trainer.recipe.batch_size
    whole = math.ceil(batch_size / parts)
    few = min(whole, _FEW)
    kept = Kept()
    with kept.counted(_tensors(trainer)):
        seconds = _seconds_of_step(name, trainer, images, few)
    fixed, each = _bytes_of(_tensors(trainer)), kept.most / few
    tried = _most(whole, few, seconds / few, each, compute.free_memory())
    if not compute.on_processor:  # where the first step of a size also prepares
        tried, _, _ = _measured(name, trainer, images, tried)
    tried, seconds, measured = _measured(name, trainer, images, tried)
    alike = measured is not None and tried == whole
    memory = measured if alike and measured is not None else round(fixed + whole * each)
    return Trial(
        name, trainer.recipe.epochs, batch_size, trainer.steps, tried, seconds * batch_size / tried, memory, alike
    )


def _measured(name: str, trainer: Trainer, images: MadeUpImages, count: int) -> tuple[int, float, int | None]:
    """Return of how many images a step was made, fewer than asked for if these do not fit; its seconds and memory."""
    while True:
        try:
            with images.compute.peak_memory() as peak:
                seconds = [_seconds_of_step(name, trainer, images, count)]
                while len(seconds) < _MOST_STEPS and sum(seconds) < _ENOUGH:
                    seconds.append(_seconds_of_step(name, trainer, images, count))
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


def _seconds_of_step(name: str, trainer: Trainer, images: MadeUpImages, count: int) -> float:
    batch = images.batch(trainer.loader, count)
    began = time.perf_counter()
    loss = trainer.try_step(batch)
    if not math.isfinite(loss) and trainer.step == 1:
        raise ValueError(f"{name}: the loss of the first step is {loss}; nothing can be learned so")
    return time.perf_counter() - began


def _tensors(trainer: Trainer) -> Iterator[Tensor]:
    """Yield what a training holds between its steps: weights, gradients, moments, averages, teachers."""
    learner = trainer.learner
    networks: list[nn.Module] = [learner.model, *trainer.averages]
    if isinstance(learner, Learner) and isinstance(teacher := getattr(learner.objective, "teacher", None), nn.Module):
        networks.append(teacher)
    for network in networks:
        yield from (*network.parameters(), *network.buffers())
    yield learner.gradients.rows
    for kept in trainer.optimizer.state.values():
        yield from (each for each in kept.values() if isinstance(each, Tensor))


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())


class Kept:
    """Counts the bytes that are kept for backward passes.

    Attributes:
        most: the most that was kept at a time.
    """

    def __init__(self) -> None:
        self.most, self._now = 0, 0
        self._held: Counter[int] = Counter()

    def counted(self, beside: Iterable[Tensor]) -> Any:
        """Return the context in which it is counted.

        Args:
            beside: tensors that are there in any case, and so do not count.
        """
        others = {each.untyped_storage().data_ptr() for each in beside}

        def pack(tensor: Tensor) -> Any:
            there = tensor.untyped_storage().data_ptr() in others
            return _Held(tensor.detach(), None if there else self)

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor)

    def add(self, tensor: Tensor, sign: int) -> None:
        """Count a tensor that is kept from now on (1) or no more (-1); what shares memory counts once."""
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        before = self._held[key]
        self._held[key] += sign
        if (before == 0) != (self._held[key] == 0):
            self._now += sign * storage.nbytes()
            self.most = max(self.most, self._now)


class _Held:
    """A tensor that is kept until nobody asks for it any more."""

    def __init__(self, tensor: Tensor, kept: Kept | None) -> None:
        self.tensor, self._kept = tensor, kept
        if kept is not None:
            kept.add(tensor, 1)

    def __del__(self) -> None:
        if self._kept is not None:
            self._kept.add(self.tensor, -1)


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
