"""Who wrote something down: a process of some machine, and whether it is still there."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Owner = dict[str, Any]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> Owner:
    """Return this process, for a record that other processes read.

    Its number alone would not do: numbers are used again, and every machine and container counts for itself.
    """
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
        "token": _token(os.getpid()),
    }


def is_gone(owner: Mapping[str, Any]) -> bool | None:
    """Return whether a process is there no more; None if it ran where this process cannot see."""
    if owner["host"] != socket.gethostname() or owner.get("machine", machine()) != machine():
        return None
    number = owner["process"]
    if number == os.getpid():
        return bool(owner["token"] != _token(number))
    began = owner.get("started")
    return not is_running(number) or (began is not None and _started(number) not in (None, began))


def is_running(number: int) -> bool:
    """Return whether there is a process of a number on this machine, which has not ended."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's process
    return _started(number) != _ZOMBIE


@functools.cache
def machine() -> str:
    """Return what tells processes of another machine, container, or time before the last start apart, as 8 digits."""
    parts = [socket.gethostname()]
    try:
        parts += [_BOOT.read_text(encoding="ascii"), os.readlink("/proc/self/ns/pid")]
    except OSError:  # no Linux
        pass
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]


_ZOMBIE = -1  # it has ended, and its parent has not asked yet


def _started(number: int) -> int | None:
    """Return when a process began, in ticks since the machine did; None where nobody knows."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _ZOMBIE if fields[0] in "ZX" else int(fields[19])


@functools.cache
def _token(number: int) -> str:
    """Return a random name of this process, another one in a process forked from it."""
    del number
    return uuid.uuid4().hex
