"""Processes that prepare batches ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from nasvit.data.images import EncodedImages, ImageSet
from nasvit.data.preparation import Prepared

MOST_WORKERS = 16
"""Most workers that are chosen for a process; more can be asked for."""

T = TypeVar("T")


def choose_workers(images: ImageSet, device: torch.device) -> int:
    """Return the number of workers for these images: none, or the processors that this process has to itself.

    Images in memory need none. On the processor, training itself keeps all its cores busy.
    """
    if device.type == "cpu" or not isinstance(images.images, EncodedImages):
        return 0
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def pins(device: torch.device) -> bool:
    """Return whether copies to the device can be queued, which needs host memory that cannot be swapped out."""
    if device.type == "mps" or not torch.accelerator.is_available():
        return False
    found = torch.accelerator.current_accelerator()
    return found is not None and found.type == device.type


class Stream:
    """Batches of given keys, in their order, prepared ahead by workers where there are any.

    Args:
        prepare: prepares the batch of a key; with workers it is sent to them.
        keys: the keys, gone through once for every iteration.
        workers: number of worker processes; 0 prepares in this process.
        pin: bring batches to memory that copies to a device can be queued from.
        persistent: keep the workers for the next iteration.
        prefetch: batches that each worker prepares ahead.
    """

    def __init__(
        self,
        prepare: Callable[[int], Prepared],
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

    def __iter__(self) -> Iterator[Prepared]:
        yield from self._loader


class _Keyed(Dataset[Prepared]):
    def __init__(self, prepare: Callable[[int], Prepared]) -> None:
        self._prepare = prepare

    def __getitem__(self, key: int) -> Prepared:
        return self._prepare(key)


def _as_it_is(value: T) -> T:
    return value
