"""A folder that several processes write their results to, and must all see."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from nasvit.compute import Compute

TOKEN = ".shared-"
"""Start of the names of files that processes look for; a killed one may leave its own behind."""

_PATIENCE = 5.0  # seconds that a network's disk may take to show a new file


def require_shared(folder: Path, compute: Compute, *, patience: float = _PATIENCE) -> None:
    """Refuse a folder that not all processes see, such as one on the own disk of each of several machines.

    All processes call this together, before anything is read from the folder.

    Args:
        folder: folder of the results; it is created.
        compute: the processes.
        patience: seconds that the first process's file may take to show in the others.

    Raises:
        ValueError: in the first process, naming the machines that do not see its file.
        StoppedElsewhere: in the others then.
    """
    if compute.count == 1:
        return
    token = compute.from_first(lambda: _leave_token(folder))
    seen = compute.gather((socket.gethostname(), _appears(folder / token, patience)))
    compute.once(lambda: _conclude(folder, token, seen))


def _leave_token(folder: Path) -> str:
    token = f"{TOKEN}{socket.gethostname()}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / token).touch()
    return token


def _appears(path: Path, patience: float) -> bool:
    until = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def is_there(path: Path, compute: Compute) -> bool:
    """Return whether there is a file that another process may just have written, which takes a while to show."""
    return _appears(path, _PATIENCE if compute.count > 1 else 0.0)


def _conclude(folder: Path, token: str, seen: list[tuple[str, bool]]) -> None:
    (folder / token).unlink()
    blind = [f"{rank} on {host}" for rank, (host, sees) in enumerate(seen) if not sees]
    if blind:
        raise ValueError(
            f"{folder}: process {', '.join(blind)} does not see what process 0 on {seen[0][0]} writes there; all "
            "processes need one folder: give --output a folder that all machines share"
        )
