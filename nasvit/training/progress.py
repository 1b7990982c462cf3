"""A progress bar with the time left; a line every half minute where there is no terminal.

Both also tell of the job that they are a part of; see :func:`part_of`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING

from rich import progress as rich_progress
from rich.console import Console

if TYPE_CHECKING:
    from typing_extensions import Self

LINE_SECONDS = 30.0

_JOB: ContextVar[Callable[[], str]] = ContextVar("_JOB", default=lambda: "")


@contextmanager
def part_of(job: Callable[[], str]) -> Iterator[None]:
    """Let all bars inside tell of the whole job, too.

    Args:
        job: returns a few words, such as ``stage 2 of 5, 12:31 of 1:00:00``; asked whenever something is shown.
    """
    token = _JOB.set(job)
    try:
        yield
    finally:
        _JOB.reset(token)


class Progress:
    """Progress bar of a run; use it as a context.

    Args:
        description: name of the run.
        total: units of the whole run, such as steps.
        done: units done before, by the run this one goes on from.
        visible: whether anything is printed.
        console: console to print on; standard error by default.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        description: str,
        total: int,
        *,
        done: int = 0,
        visible: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._description = description
        self._total = total
        self._done = self._done_before = done
        self._note = ""
        self._console = console or Console(stderr=True, quiet=not visible, emoji=False)
        self._clock = clock
        self._started = self._line_at = clock()
        self._bar = self._make_bar() if self._console.is_terminal else None
        self._job, self._job_at = "", -float("inf")
        self._whole_job()
        self._task = (
            None
            if self._bar is None
            else self._bar.add_task(description, total=total, completed=done, note="", job=self._job)
        )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count units as done.

        Args:
            count: number of units.
            note: a few words to show beside, such as the loss; those shown before if left out.
        """
        self._done += count
        self._note = note = note or self._note
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, note=note, job=self._whole_job())
        elif self._clock() - self._line_at >= LINE_SECONDS:
            self._line_at = self._clock()
            self._console.print(self._line(note), highlight=False, soft_wrap=True, markup=False)

    def note(self, note: str) -> None:
        """Show a few words beside the bar, such as the loss."""
        self._note = note

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _make_bar(self) -> rich_progress.Progress:
        return rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}", markup=False),
            rich_progress.TextColumn("{task.fields[job]}", style="dim", markup=False),
            console=self._console,
        )

    def _line(self, note: str) -> str:
        per_unit = (self._clock() - self._started) / max(1, self._done - self._done_before)
        left = per_unit * max(0, self._total - self._done)
        text = f"{self._description}: {self._done}/{self._total}, {_duration(left)} left"
        job = self._whole_job()
        return text + (f", {note}" if note else "") + (f" ({job})" if job else "")

    def _whole_job(self) -> str:
        """Return what is said of the whole job, asked for anew every second."""
        if self._clock() - self._job_at >= 1:
            with suppress(OSError, ValueError):  # of a file that is being replaced; no training ends for want of words
                self._job = _JOB.get()()
            self._job_at = self._clock()
        return self._job


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
