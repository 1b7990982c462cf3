"""Random numbers that are a pure function of a key, also for library code that reads the global generators."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_turn = threading.RLock()
"""Of the one thread that may use the generators that all threads share."""


def _give_back() -> None:
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):  # a worker forked meanwhile would wait for a thread that it does not have
    os.register_at_fork(after_in_child=_give_back)


def generator(*key: int) -> np.random.Generator:
    """Return the random generator of a key.

    Args:
        key: integers >= 0, for example ``(seed, epoch, batch index)``. Equal keys give equal numbers.

    Raises:
        ValueError: if a part of the key is negative.
    """
    if any(part < 0 for part in key):
        raise ValueError(f"random key {key}: every part must be an integer >= 0")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@contextmanager
def global_random_kept() -> Iterator[None]:
    """Restore the global generators of Python, numpy and torch at the end of the context.

    timm's augmentations draw from them. Inside this context they may be seeded freely (``seed_global_random``); outside
    they stay untouched, so dropout and everything else that draws from torch stays reproducible. Threads enter
    one at a time.
    """
    with _turn:
        python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_rng_state(torch_state)


def seed_global_random(seed: int, *, with_torch: bool = False) -> None:
    """Seed the global generators of Python and numpy, and that of torch for the processor if asked.

    Args:
        seed: 0 to 2**32 - 1, the range numpy accepts.
        with_torch: seed torch too; slow beside augmenting a small image, so only where library code draws from it.
    """
    random.seed(seed)
    np.random.seed(seed)
    if with_torch:
        # torch.manual_seed would seed every accelerator too, and dropout there would repeat itself.
        torch.default_generator.manual_seed(seed)
