"""Where encoded images lie: files, members of tar files, each listed in a few bytes, and memory."""

from __future__ import annotations

import errno
import io
import os
import stat
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Indices = npt.NDArray[np.int64]

_MOST_OPEN_FILES = 128


OF_FILES = (
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG),
    errno.ENXIO,  # a pipe, a socket or a device
)
"""Failures of single files, beside those of a disk or a network."""

NO_FILE = "it is no ordinary file"
"""Why a pipe, a socket or a device is no image."""


def open_file(path: str) -> BinaryIO:
    """Open a file to read; a pipe or a device, which might keep a reader waiting for ever, is refused (ENXIO)."""
    return open(path, "rb", opener=_open_file)


def _open_file(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # which opening a pipe does not wait with
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(handle)
        raise OSError(errno.ENXIO, NO_FILE, path)
    return handle


class Store(Protocol):
    """Encoded images by number. Stores never change and can be sent to other processes."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return the encoded image."""

    def file(self, index: int) -> BinaryIO:
        """Return the encoded image as a file that can be read in parts; to be closed."""

    def name(self, index: int) -> str:
        """Return what to call the image before a user."""


class Names:
    """A list of strings in one piece of memory: a Python object for each would take three times as much."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add a string at the end."""
        self._text += os.fsencode(name)
        self._ends.append(len(self._text))

    def content(self) -> bytes:
        """Return all strings and where they end: equal for equal lists only."""
        return bytes(self._text) + self._ends.tobytes()

    def text(self, first: int, last: int) -> bytes:
        """Return the strings from ``first`` to before ``last``, one behind the other."""
        return bytes(self._text[self._ends[first] : self._ends[last]])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return os.fsdecode(bytes(self._text[self._ends[index] : self._ends[index + 1]]))


class FileStore:
    """Images in files of their own.

    Args:
        root: folder that the paths start from.
        paths: path of every image from there.
    """

    def __init__(self, root: str | Path, paths: Names) -> None:
        self._root, self._paths = str(root), paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        """Return the content of one file."""
        with open(self.name(index), "rb", buffering=0, opener=_open_file) as file:
            content: bytes = file.read()
        return content

    def file(self, index: int) -> BinaryIO:
        """Open one file."""
        return open_file(self.name(index))

    def name(self, index: int) -> str:
        """Return the path of one file."""
        return os.path.join(self._root, self._paths[index])


class MemoryStore:
    """Images of a source that has them in memory, encoded without loss there.

    Args:
        images: the images.
        source: what to call all of them before a user.
    """

    def __init__(self, images: Iterable[Image.Image], source: str) -> None:
        self._contents, self._source = [_encoded(image) for image in images], source

    def __len__(self) -> int:
        return len(self._contents)

    def read(self, index: int) -> bytes:
        """Return one encoded image."""
        return self._contents[index]

    def file(self, index: int) -> BinaryIO:
        """Open one encoded image."""
        return io.BytesIO(self._contents[index])

    def name(self, index: int) -> str:
        """Return the source, with the number of the image."""
        return f"image {index} of {self._source}"


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


class TarStore:
    """Images inside of tar files that are not compressed, read in place.

    Args:
        archives: the tar files.
        members: name of every image in its archive.
        places: int64 (N, 3), number of the archive, first byte and number of bytes of every image.
    """

    def __init__(self, archives: tuple[Path, ...], members: Names, places: Indices) -> None:
        self._archives, self._members, self._places = archives, members, places
        self._open: dict[int, BinaryIO] = {}

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> bytes:
        """Return one member."""
        archive, start, size = self._places[index].tolist()
        # Reading at a place moves no position, so that processes forked from this one may share the handle.
        return os.pread(self._handle(archive).fileno(), size, start)

    def file(self, index: int) -> BinaryIO:
        """Return one member as a file."""
        archive, start, size = self._places[index].tolist()
        handle = self._handle(archive).fileno()
        return part_of(size, lambda at, count: os.pread(handle, count, start + at))

    def name(self, index: int) -> str:
        """Return archive and member."""
        return f"{self._archives[self._places[index, 0]]}: {self._members[index]}"

    def _handle(self, archive: int) -> BinaryIO:
        if archive not in self._open:
            while len(self._open) >= _MOST_OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[archive] = open(self._archives[archive], "rb", buffering=0)  # type: ignore[assignment]
        return self._open[archive]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


class _Part(io.RawIOBase):
    """A file whose bytes lie in something larger; only what is asked for is read."""

    def __init__(self, size: int, read: Callable[[int, int], bytes | memoryview]) -> None:
        super().__init__()
        self._size, self._read, self._at = size, read, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        found = self._read(self._at, max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def part_of(size: int, read: Callable[[int, int], bytes | memoryview]) -> BinaryIO:
    """Return a file of so many bytes.

    Args:
        size: its bytes.
        read: returns the bytes from a place on, as many as are asked for.
    """
    return io.BufferedReader(_Part(size, read), 4096)
