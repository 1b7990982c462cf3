"""How much memory loading and running a network adds to a process, looked at in a copy of this one."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from nasvit import allocator

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LONGEST = 120.0  # seconds


def added_memory(prepare: Callable[[], Callable[[], object]]) -> int | None:
    """Return the bytes that something adds to the resident memory of a process at its peak; None where none can tell.

    Linux tells it. It is done once before it is looked at, so that what a runtime loads of its own does not count. The
    process that calls this must not have computed with several threads before, whose copies would wait forever.

    Args:
        prepare: loads it and returns what runs it once.
    """
    if not _RESET.exists():
        return None
    forking = multiprocessing.get_context("fork")  # so that all that is imported here is there already
    ours, theirs = forking.Pipe(duplex=False)
    child = forking.Process(target=_look, args=(prepare, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        return int(ours.recv()) if ours.poll(_LONGEST) else None
    except EOFError:  # it ended without a word
        return None
    finally:
        child.kill()
        child.join()


def _look(prepare: Callable[[], Callable[[], object]], answer: Connection) -> None:
    with suppress(OSError):
        prepare()()
        gc.collect()
        allocator.give_back()
        before = _kilobytes("VmRSS")
        _RESET.write_text("5", encoding="ascii")  # forgets the peak
        run = prepare()
        for _ in range(2):
            run()
        answer.send(1024 * max(0, _kilobytes("VmHWM") - before))


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} does not tell {name}")
