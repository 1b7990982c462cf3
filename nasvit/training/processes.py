"""Several processes, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that ``torchrun`` started; do nothing without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def is_first_process() -> bool:
    """Return whether this process is the only one, or the one that writes files."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def once(work: Callable[[], object]) -> None:
    """Let the first process do ``work`` while the others wait."""
    if is_first_process():
        work()
    wait_for_all()


def wait_for_all() -> None:
    """Wait until every process came here; alone, do nothing."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
