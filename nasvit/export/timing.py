"""How long one image takes in several runtimes: timed in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_INT8 = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""Names that Linux gives to a processor's instructions for products of 8-bit integers."""

_FLOATS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
)
"""Its names for wide instructions on floating-point numbers."""

_WARM_UP = 5


@dataclass(frozen=True)
class Taken:
    """Milliseconds of one call, by the clock on the wall.

    Args:
        median: half of the calls are faster.
        p90: nine of ten calls are faster.
        calls: calls that were timed.
    """

    median: float
    p90: float
    calls: int


def time_in_turns(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 50,
    turn_ms: float = 3.0,
    after_round: Callable[[], object] = bool,
) -> dict[str, Taken]:
    """Time functions in turns: in every round each of them runs for a turn, in a new random order.

    Args:
        runs: the functions by name.
        rounds: turns of each.
        turn_ms: milliseconds of a turn, at least; every call in it is timed, and the first one is not counted.
        after_round: called after every round, to show how far it is.
    """
    rng, names = np.random.default_rng(0), list(runs)
    for run in runs.values():
        for _ in range(_WARM_UP):
            run()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for place in rng.permutation(len(names)):
            taken[names[place]] += _turn(runs[names[place]], turn_ms)
        after_round()
    return {name: _summary(milliseconds) for name, milliseconds in taken.items()}


def _turn(run: Callable[[], object], turn_ms: float) -> list[float]:
    run()  # whose caches are cold after the others
    found: list[float] = []
    while sum(found) < turn_ms:
        began = time.perf_counter_ns()
        run()
        found.append((time.perf_counter_ns() - began) / 1e6)
    return found


def _summary(milliseconds: list[float]) -> Taken:
    median, p90 = np.quantile(milliseconds, (0.5, 0.9))
    return Taken(float(median), float(p90), len(milliseconds))


def processor() -> tuple[str, tuple[str, ...]]:
    """Return the name of this machine's processor, and its instructions for products of 8-bit integers."""
    name, flags = _told()
    return name, tuple(each for each in _INT8 if each in flags)


def instructions() -> tuple[str, ...]:
    """Return the processor's instruction sets that networks are faster with, by the names that Linux gives them."""
    _, flags = _told()
    return tuple(each for each in (*_FLOATS, *_INT8) if each in flags)


def _told() -> tuple[str, set[str]]:
    """Return what Linux tells of the processor: its name, and the names of all that it can do."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags |= set(value.split()) if key.strip() in ("flags", "Features") else set()
    return name, flags


def sums_saturate() -> bool:
    """Return whether sums of two products of 8-bit integers may not fit where this processor puts them (16 bits)."""
    return platform.machine().lower() in ("x86_64", "amd64") and not processor()[1]
