"""A folder that one process at a time writes its results to."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nasvit.compute import ALONE, Compute
from nasvit.files.owners import Owner, is_gone, this_process
from nasvit.files.whole import CannotWriteError, remove_unfinished, unfinished

HOLDER = ".holder.json"
"""File in a folder that says which process writes there."""

_BEAT = 10.0  # seconds between two signs of life
_SILENCE = 120.0  # seconds without one after which a process of another machine counts as dead
_held: dict[Path, int] = {}
_made: set[Path] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def held(folder: Path, compute: Compute = ALONE) -> Iterator[None]:
    """Let no other process write to a folder during a ``with`` block, nor two trainings at once to the same files.

    The holder is written down, so that file systems need no locks. One that was killed is noticed: at once on its own
    machine, after two minutes without a sign of life on others. What killed writers left behind is removed.

    Args:
        folder: folder of results; it is created.
        compute: the processes that share the work; the first one holds the folder for all.

    Raises:
        ValueError: if another process holds it, in the words that say which.
    """
    compute.once(lambda: _enter(folder.absolute()))
    try:
        yield
    finally:
        if compute.is_first:
            _leave(folder.absolute())


def holder_of(folder: Path) -> dict[str, Any] | None:
    """Return what the process that writes to a folder says of itself; None if there is none, or it is no more.

    Args:
        folder: a folder of results, which is only read.

    Returns:
        Its ``command``, ``since`` when it holds the folder, and the ``owner``: ``process`` and ``host`` among others.
    """
    path = folder / HOLDER
    said = _read(path)
    if not said:
        return None
    gone = is_gone(said["owner"])
    if gone is None:
        with contextlib.suppress(FileNotFoundError):
            return None if time.time() - path.stat().st_mtime > _SILENCE else said
    return None if gone or gone is None else said


def is_used(folder: Path) -> bool:
    """Return whether anything lies in a folder but the record of who holds it."""
    return any(not path.name.startswith(HOLDER) for path in folder.glob("*"))


def _enter(folder: Path) -> None:
    with _lock:
        if _held.get(folder):
            _held[folder] += 1
            return
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _made.add(folder)
            _take(folder)
        except OSError as error:
            raise CannotWriteError(folder / HOLDER, error) from error
        _held[folder] = 1
    remove_unfinished(folder)
    threading.Thread(target=_beat, args=(folder,), daemon=True).start()


def _leave(folder: Path) -> None:
    with _lock:
        _held[folder] -= 1
        if not _held[folder]:
            del _held[folder]
            if _holder(folder / HOLDER) == this_process():
                (folder / HOLDER).unlink(missing_ok=True)
            if folder in _made:
                _made.remove(folder)
                with contextlib.suppress(OSError):  # a mistake that shows before anything is written leaves no folder
                    folder.rmdir()


def _take(folder: Path) -> None:
    """Write this process down as the holder; only one of several that do so at the same moment succeeds."""
    path, own = folder / HOLDER, folder / f"{HOLDER}.{unfinished()}"
    said = {"owner": this_process(), "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    own.write_text(json.dumps({**said, "since": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")
    try:
        while not _put(own, path):
            before = _read(path)
            if before is None:
                continue  # it was just given back
            if not _is_left(path, before, own):
                raise ValueError(_in_use(folder, before))
            _remove(path, before)
    finally:
        own.unlink()


def _put(own: Path, path: Path) -> bool:
    """Give a file a second name, unless there is a file of that name."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without second names
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(own.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _is_left(path: Path, before: dict[str, Any], own: Path) -> bool:
    """Whether the process that holds a folder is no more."""
    gone = is_gone(before["owner"]) if before else None
    if gone is not None:
        return gone
    own.touch()  # by the clock of the disk
    try:
        return own.stat().st_mtime - path.stat().st_mtime > _SILENCE
    except FileNotFoundError:
        return True


def _remove(path: Path, before: dict[str, Any]) -> None:
    """Remove the record of a process that is no more, unless another one just did and took its place."""
    aside = path.with_name(f"{path.name}.left.{unfinished()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != before:
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a holder wrote; None if there is none, nothing if it is unreadable, such as half written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_gone(content["owner"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(content)


def _holder(path: Path) -> Owner | None:
    return (_read(path) or {}).get("owner")


def _in_use(folder: Path, before: dict[str, Any]) -> str:
    way_out = f"wait until it is done, or stop it; or give another --output ({folder / HOLDER} is the record of it)"
    if not before:
        return f"{folder} is in use by another process; {way_out}"
    owner = before["owner"]
    return (
        f"{folder} is in use: `{before.get('command')}` writes there since {before.get('since')}, process "
        f"{owner['process']} on {owner['host']}; {way_out}"
    )


def _beat(folder: Path) -> None:
    """Give signs of life for as long as this process holds a folder."""
    while True:
        time.sleep(_BEAT)
        with _lock:
            if folder not in _held:
                return
            with contextlib.suppress(OSError):
                os.utime(folder / HOLDER)
