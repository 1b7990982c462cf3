"""How long the stages of an experiment took, in all runs of its folder together, those that were killed included."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nasvit.compute import ALONE, Compute
from nasvit.files.records import read_json, write_record

TIMES = "times.json"
LABELS = {
    "plan": "planning",
    "train": "supernet",
    "search": "search",
    "extract": "extraction",
    "finetune": "final training",
    "compare": "comparison",
    "evaluate": "evaluation",
}
"""What users read of the stages; ``compare`` is the part of fine-tuning that trains what results are compared with."""

_BEAT = 5.0  # seconds between two records: what a kill loses at most
_writes = threading.Lock()


@dataclass(frozen=True)
class Spent:
    """Seconds that something took.

    Args:
        wall: seconds on the clock.
        processor: seconds of the first process's processors, those of its finished children included.
        work: what equally long trainings are equal in: seconds of all processes together, of the processor where
            networks run on it, else on the clock.
    """

    wall: float = 0.0
    processor: float = 0.0
    work: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.processor + other.processor, self.work + other.work)

    def to_json(self) -> dict[str, float]:
        """Return the seconds as plain JSON values, to a hundredth."""
        return {name: round(seconds, 2) for name, seconds in asdict(self).items()}


def now() -> tuple[float, float]:
    """Return the seconds on the clock and of the processors since some moment, which only differences mean."""
    finished = os.times()
    return time.monotonic(), time.process_time() + finished.children_user + finished.children_system


@contextmanager
def timed(folder: Path, name: str, compute: Compute = ALONE) -> Iterator[None]:
    """Add the seconds of what runs inside to those that ``times.json`` of a folder has under a name.

    The record is written whole every few seconds, so that what a killed run took counts as well. Of several processes
    the first one measures.

    Args:
        folder: folder of an experiment's results, or of one training.
        name: name of the stage or training. Others of the same folder may be under way at the same time.
        compute: the processes that do it together.
    """
    if not compute.is_first:
        yield
        return
    entry, over = _Entry(folder / TIMES, name, compute), threading.Event()
    beats = threading.Thread(target=entry.beat, args=(over,), daemon=True)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join()
        entry.write()


def spent(folder: Path) -> dict[str, Spent]:
    """Return what each stage took so far, in all runs, in the order in which they began; nothing if none began.

    A stage that is under way counts until a few seconds ago.

    Args:
        folder: folder of an experiment's results, or of one training.
    """
    content = read_json(folder / TIMES) if (folder / TIMES).exists() else {}
    return {name: Spent(**seconds) for name, seconds in content.items()}


def total(times: Mapping[str, Spent]) -> Spent:
    """Return the sum of some times."""
    return sum(times.values(), Spent())


def minutes(seconds: float) -> str:
    """Return seconds as text, such as ``12:31`` or ``1:05:00``."""
    whole, rest = divmod(round(seconds), 60)
    hours, whole = divmod(whole, 60)
    return f"{hours}:{whole:02d}:{rest:02d}" if hours else f"{whole}:{rest:02d}"


class _Entry:
    """One name in a record of times, while it is measured."""

    def __init__(self, path: Path, name: str, compute: Compute) -> None:
        self._path, self._name, self._compute = path, name, compute
        self._before = spent(path.parent).get(name, Spent())
        self._began = now()

    def beat(self, over: threading.Event) -> None:
        """Write every few seconds until ``over`` is set."""
        while not over.wait(_BEAT):
            self.write()

    def write(self) -> None:
        """Write what was taken so far, beside what the record has of others."""
        wall, processor = (after - before for after, before in zip(now(), self._began, strict=True))
        work = (processor if self._compute.on_processor else wall) * self._compute.count
        with _writes:
            content: dict[str, Any] = read_json(self._path) if self._path.exists() else {}
            seconds = self._before + Spent(wall, processor, work)
            write_record(self._path, content | {self._name: seconds.to_json()})
