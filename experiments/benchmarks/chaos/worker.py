"""A process that tries cases one by one, with a limit of time and memory for each."""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.benchmarks.chaos.outcomes import CRASH, HANG, Outcome

C = TypeVar("C")


class Worker(Generic[C]):
    """A process that tries cases; one that hangs or dies is replaced.

    Args:
        attempt: tries a case in a folder; a function of a module.
        folder: folder to work in.
        seconds: after which a case that has not ended is a hang.
        memory: gigabytes that it may take.
    """

    def __init__(self, attempt: Callable[[C, Path], Outcome], folder: Path, seconds: float, memory: float) -> None:
        self._attempt, self._folder, self._seconds, self._memory = attempt, folder, seconds, memory
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> Worker[C]:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, case: C) -> Outcome:
        """Return how a case ended."""
        try:
            self._pipe.send(case)
            if self._pipe.poll(self._seconds):
                return self._pipe.recv()  # type: ignore[no-any-return]
            outcome = Outcome(HANG, f"more than {self._seconds:g} seconds", "hang")
        except (EOFError, OSError):
            self._process.join(5)
            outcome = Outcome(CRASH, f"exit status {self._process.exitcode}", f"crash {self._process.exitcode}")
        self._stop()
        self._start()
        return outcome

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        given = theirs, self._attempt, self._folder, self._memory
        self._process = self._context.Process(target=_work, args=given, daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready: what it needs is imported

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection, attempt: Callable[[Any, Path], Outcome], folder: Path, memory: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory * 2**30), resource.RLIM_INFINITY))
    pipe.send(None)
    while True:
        pipe.send(attempt(pipe.recv(), folder))


def write(path: Path, content: dict[str, Any]) -> None:
    """Write figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
