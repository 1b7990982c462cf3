"""Processes that prepare batches ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from nasvit.data.bad import BadImageError
from nasvit.data.images import EncodedImages, ImageSet

MOST_WORKERS = 16
"""Most workers that are chosen for a process; more can be asked for."""
IN_MEMORY_WORKERS = 4
"""Workers for images in memory, which are varied, not decoded."""

T = TypeVar("T")


def choose_workers(images: ImageSet, device: torch.device) -> int:
    """Return the number of workers for these images: none, or the processors that this process has to itself.

    On the processor, training itself keeps all its cores busy. Images in memory need few workers beside a device.
    """
    if device.type == "cpu":
        return 0
    return processors() if isinstance(images.images, EncodedImages) else min(IN_MEMORY_WORKERS, processors())


def processors(*, others_wait: bool = False) -> int:
    """Return the processors that this process has to itself, 1 to ``MOST_WORKERS``.

    Args:
        others_wait: whether the other processes of this machine wait for this one, so that it has theirs too.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sharing = 1 if others_wait else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, here // sharing))


def pins(device: torch.device) -> bool:
    """Return whether copies to the device can be queued, which needs host memory that cannot be swapped out."""
    if device.type == "mps" or not torch.accelerator.is_available():
        return False
    found = torch.accelerator.current_accelerator()
    return found is not None and found.type == device.type


class Stream(Generic[T]):
    """What belongs to given keys, such as batches, in their order, prepared ahead by workers where there are any.

    Args:
        prepare: prepares what belongs to a key; with workers it is sent to them.
        keys: the keys, gone through once for every iteration.
        workers: number of worker processes; 0 prepares in this process.
        pin: bring tensors to memory that copies to a device can be queued from.
        persistent: keep the workers for the next iteration.
        prefetch: keys that each worker prepares ahead.
    """

    def __init__(
        self,
        prepare: Callable[[int], T],
        keys: Iterable[int],
        *,
        workers: int,
        pin: bool,
        persistent: bool = False,
        prefetch: int = 2,
    ) -> None:
        self._loader = DataLoader(
            _Keyed(prepare),
            batch_size=None,
            sampler=keys,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=pin,
            persistent_workers=persistent and workers > 0,
            prefetch_factor=prefetch if workers > 0 else None,
            # One of its own, or every start of the workers would move torch's global one and a resumed run differ.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[T]:
        """Yield what was prepared.

        Raises:
            BadImageError: if an image cannot be decoded; it comes from a worker as it was raised there.
        """
        for prepared in self._loader:
            if isinstance(prepared, BadImageError):
                raise prepared
            yield prepared


class _Keyed(Dataset[T | BadImageError]):
    def __init__(self, prepare: Callable[[int], T]) -> None:
        self._prepare = prepare

    def __getitem__(self, key: int) -> T | BadImageError:
        try:
            return self._prepare(key)
        except BadImageError as error:  # raised through the workers, its words would be lost in a traceback
            return error


def _as_it_is(value: T) -> T:
    return value
