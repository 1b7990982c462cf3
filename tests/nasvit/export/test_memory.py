"""Memory that loading and running something adds to a process."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from nasvit.compute import Compute
from nasvit.export.memory import added_memory

_OWN = 2**16  # bytes that the interpreter itself may give back between the two looks: small pieces of its heap


def holding(megabytes: int, freed: int = 0) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        held = np.ones(megabytes * 2**17)
        return lambda: (held.sum(), np.ones(freed * 2**17).sum())

    return prepare


def test_what_is_held_counts_and_what_is_needed_for_a_moment_too() -> None:
    if (little := added_memory(holding(1))) is None:
        pytest.skip("this system does not tell")
    assert 2**20 - _OWN <= little < 2**24
    assert 64 * 2**20 - _OWN <= (held := added_memory(holding(64)) or 0) < 80 * 2**20
    assert (added_memory(holding(64, freed=32)) or 0) >= held + 31 * 2**20


def test_what_the_allocator_held_before_counts_as_well() -> None:
    Compute().hold_memory()
    found: list[int | None] = []

    def look() -> None:  # the heap of a thread keeps what was freed, in pieces or at its end
        for before in (20, 40):
            np.ones(before * 2**17).sum()
            found.extend(added_memory(holding(64, freed=freed)) for freed in (0, 32))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    if None not in found:
        (held, more), (held_again, more_again) = ((a or 0, b or 0) for a, b in (found[:2], found[2:]))
        assert more >= held + 31 * 2**20 and more_again >= held_again + 31 * 2**20


def test_what_is_loaded_once_and_for_all_does_not_count() -> None:
    kept = []

    def prepare() -> Callable[[], object]:
        if not kept:
            kept.append(np.ones(64 * 2**17))  # as a runtime loads its own parts
        return lambda: None

    if (added := added_memory(prepare)) is not None:
        assert added < 16 * 2**20


def test_a_failure_is_no_number() -> None:
    def fails() -> Callable[[], object]:
        raise MemoryError

    assert added_memory(fails) is None
