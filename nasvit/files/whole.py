"""Files that are there whole or not at all, and sealed by a digest where they are to be read again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from nasvit.files.owners import is_running, machine

_UNFINISHED = re.compile(r"\..*\.(\d+)-\d+-([0-9a-f]{8})\.tmp")
_LONG_AGO = 86400.0  # seconds after which nobody on another machine is still writing
_SEAL = b"\nnasvit sha256 "
_SEAL_LENGTH = len(_SEAL) + 64
_ZIP_END = b"PK\x05\x06"  # of an archive without a comment, 22 bytes before the end of the file
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG)


class CannotWriteError(OSError):
    """A file could not be written; what was there before is untouched."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"cannot write {path}: {cause.strerror or cause}{_way_out(path, cause)}")
        self.errno = cause.errno


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Let the ``with`` block write a file that takes the place of ``path`` at its end, and is on the disk then.

    A kill, a full disk or an error at any moment leaves what was there before. Several processes and threads may write
    the same file; the last one stays.

    Args:
        path: the file; its folder is created.

    Yields:
        The name to write to, in the same folder.

    Raises:
        CannotWriteError: if the disk is full, or the folder is not to be written to.
    """
    temporary = path.with_name(f".{path.stem}.{unfinished()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _open_up(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = _of_the_disk(error)
        if cause is None:
            raise
        raise CannotWriteError(path, cause) from error


def _open_up(path: Path) -> None:
    """Give a file that its writer lets nobody else read, as safetensors does, the mode of this user's other files."""
    if path.stat().st_mode & 0o077 or os.name == "nt":
        return
    other = path.with_name(f"{path.name}.mode")
    other.touch()
    path.chmod(other.stat().st_mode)
    other.unlink()


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a text file, whole or not at all; ``errors`` as in ``open``."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def unfinished() -> str:
    """Return the end of the name of a hidden file or folder of this thread; see :func:`remove_unfinished`."""
    return f"{os.getpid()}-{threading.get_ident()}-{machine()}.tmp"


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of files and folders that they were writing, at any depth of a folder."""
    for place, folders, files in os.walk(folder):  # which does not mind folders that others remove meanwhile
        for name in (*folders, *files):
            match = _UNFINISHED.match(name)
            if match is not None:
                with contextlib.suppress(OSError):
                    _remove_left(Path(place) / name, int(match[1]), match[2])


def _remove_left(path: Path, process: int, on: str) -> None:
    """Remove an unfinished file or folder, unless the process that writes it may be there still."""
    alive = is_running(process) if on == machine() else time.time() - path.stat().st_mtime <= _LONG_AGO
    if alive:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextlib.contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Let the ``with`` block write files in a hidden folder, which it moves to where they belong when they are whole.

    The hidden folder is removed at the end. Those of killed processes are removed at the beginning; several processes
    may write at the same time.

    Args:
        folder: the folder that they belong to, in which the hidden one is made.

    Yields:
        The hidden folder.
    """
    remove_unfinished(folder)
    with TemporaryDirectory(dir=folder, prefix=".", suffix=f".{unfinished()}") as hidden:
        yield Path(hidden)


def cache_folder() -> Path:
    """Return the folder of what this user keeps on this machine: ``$XDG_CACHE_HOME/nasvit``, or ``~/.cache/nasvit``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nasvit"


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    if os.name == "nt":
        return  # Windows cannot open folders.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(path: Path) -> None:
    """Add the digest of a zip archive to its end, where readers of archives do not mind it."""
    digest = sha256_of(path)
    with path.open("ab") as file:
        file.write(_SEAL + digest.encode())


def check_seal(path: Path) -> None:
    """Refuse a sealed archive that is not as it was written; one that was never sealed passes.

    Raises:
        ValueError: naming the file.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, length - _SEAL_LENGTH))
        end = file.read()
    if end[-22:].startswith(_ZIP_END):
        return  # written before there were seals
    if not end.startswith(_SEAL) or end[len(_SEAL) :].decode("latin-1") != sha256_of(path, length - _SEAL_LENGTH):
        raise ValueError(f"{path} is damaged: its content is not what was written")


def sha256_of(path: Path, length: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first bytes, as hexadecimal digits."""
    digest, left = hashlib.sha256(), path.stat().st_size if length is None else length
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _of_the_disk(error: BaseException) -> OSError | None:
    """Return what the operating system said, which libraries wrap in errors of their own; None if it said nothing."""
    said: BaseException | None = error
    while said is not None:
        if isinstance(said, OSError):
            return said
        said = said.__cause__ or said.__context__
    number = re.search(r"\(os error (\d+)\)", str(error))
    return None if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


def _way_out(path: Path, cause: OSError) -> str:
    if cause.errno in _CLOSED:
        return "; give another output folder, or make that one writable"
    if cause.errno in _NO_PLACE:
        return "; give another output folder"
    if cause.errno not in _FULL:
        return ""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free / 2**20
        return f" ({free:,.0f} MiB are free there); make space and run the same command again: it goes on"
    return "; make space and run the same command again: it goes on"
