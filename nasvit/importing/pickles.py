"""Read checkpoint files of PyTorch without executing anything that is in them.

A pickle is a program: it names functions and calls them. This reader knows the few names that tensors need, replaces
every class it does not know by an empty stand-in that holds data and does nothing, and refuses every other call.
Tensors stay in the file until they are asked for, so that their shapes can be checked before anything is read.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class CheckpointError(ValueError):
    """A checkpoint file that cannot be imported; the message says why."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file.

    Args:
        dtype: its data type.
        shape: its sizes.
        stride: its strides, in numbers.
        offset: where it starts in its storage, in numbers.
        storage: reads the bytes of its storage.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Callable[[], bytes]

    def load(self) -> Tensor:
        """Read the tensor.

        Raises:
            CheckpointError: if the file holds fewer numbers than the tensor needs.
        """
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        data = bytearray(self.storage())
        numbers = torch.frombuffer(data, dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if min((*self.stride, self.offset), default=0) < 0 or last >= numbers.numel():
            stored = numbers.numel()
            raise CheckpointError(f"a tensor of shape {self.shape} reaches outside its {stored} stored numbers")
        return numbers.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


def read_pickled(path: Path) -> Any:
    """Read what ``torch.save`` wrote, in today's zip format or that before PyTorch 1.6; tensors stay there.

    Raises:
        CheckpointError: if the file is damaged, truncated, of another format, or would run code.
    """
    with open(path, "rb") as file:
        start = file.read(4)
    try:
        return _read_zip(path) if start == b"PK\x03\x04" else _read_legacy(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from None
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path.name} is truncated or damaged ({error}); fetch it again") from None
    except Exception as error:  # a damaged pickle fails in any way there is
        kind = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path.name} is no checkpoint of PyTorch, or truncated or damaged ({kind})") from None


class _Name(type):
    """Class of stand-ins: they can be made empty, but never be called."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise CheckpointError(
            f"it asks to call {cls.__module__}.{cls.__qualname__}, which reading tensors never needs; "
            "refused, nothing was run"
        )


class _Inert(dict[Any, Any], metaclass=_Name):
    """An object of a class that is not known here: keeps the data stored in it and does nothing."""

    def append(self, item: Any) -> None:
        """Keep an entry of what was a list."""
        self[len(self)] = item

    def extend(self, items: Any) -> None:
        """Keep entries of what was a list."""
        for item in items:
            self.append(item)


class _Unread:
    """A value that is not read, such as a numpy scalar: nothing is made of it."""

    def __init__(self, *_: Any) -> None:
        """Take any arguments."""

    def __setstate__(self, state: Any) -> None:
        """Take any state."""


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    read: Callable[[], bytes]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    sizes, steps = tuple(map(int, shape)), tuple(map(int, stride))
    if not isinstance(storage, _Storage) or len(sizes) != len(steps):
        raise CheckpointError("it holds a tensor without a storage of plain numbers")
    return StoredTensor(storage.dtype, sizes, steps, int(offset), storage.read)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Unread,
    ("numpy.core.multiarray", "scalar"): _Unread,
    ("numpy._core.multiarray", "scalar"): _Unread,
    ("numpy", "dtype"): _Unread,
    ("_codecs", "encode"): _Unread,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Unpickler whose names are :data:`_KNOWN` or inert stand-ins; nothing is ever imported."""

    def __init__(self, file: BinaryIO, storage: Callable[[str, torch.dtype, int], bytes]) -> None:
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        return _Name(name, (_Inert,), {"__module__": module, "__qualname__": name})

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise CheckpointError("it holds a storage of a kind that is not known")
        dtype, key, numbers = pid[1], str(pid[2]), int(pid[4])
        return _Storage(dtype, lambda: self._storage(key, dtype, numbers))


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickled = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickled) != 1:
            raise CheckpointError("it is a zip file, but no checkpoint of PyTorch: there is no data.pkl in it")
        folder = pickled[0].removesuffix("data.pkl")
        if folder + "byteorder" in archive.namelist() and archive.read(folder + "byteorder") != b"little":
            raise CheckpointError("it was written on a big-endian machine; save it again on a little-endian one")

        def storage(key: str, dtype: torch.dtype, numbers: int) -> bytes:
            return _read_entry(path, f"{folder}data/{key}", numbers * dtype.itemsize)

        with archive.open(pickled[0]) as file:
            return _Unpickler(file, storage).load()  # type: ignore[arg-type]


def _read_entry(path: Path, name: str, size: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist() or archive.getinfo(name).file_size != size:
                raise CheckpointError(f"{path.name}: the numbers of a tensor are missing or cut short ({name})")
            return archive.read(name)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive fails in any way there is
        raise CheckpointError(f"{path.name} is damaged ({type(error).__name__}: {error})") from None


def _read_legacy(path: Path) -> Any:
    """Read the format before PyTorch 1.6: five pickles, then every storage as a count and its numbers."""
    positions: dict[str, int] = {}

    def storage(key: str, dtype: torch.dtype, numbers: int) -> bytes:
        with open(path, "rb") as opened:
            opened.seek(positions[key])
            data = opened.read(numbers * dtype.itemsize)
        if len(data) != numbers * dtype.itemsize:
            raise CheckpointError(f"{path.name} is truncated: the numbers of a tensor are cut short")
        return data

    kinds: dict[str, tuple[torch.dtype, int]] = {}

    class Unpickler(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            found = super().persistent_load(pid)
            kinds[str(pid[2])] = (found.dtype, int(pid[4]))
            return found

    with open(path, "rb") as file:
        if Unpickler(file, storage).load() != _LEGACY_MAGIC:
            raise CheckpointError("it is a pickle, but no checkpoint of PyTorch")
        for _ in ("protocol", "machine"):
            Unpickler(file, storage).load()
        content = Unpickler(file, storage).load()
        for key in Unpickler(file, storage).load():
            dtype, numbers = kinds[str(key)]
            if struct.unpack("<q", file.read(8))[0] != numbers:
                raise CheckpointError("it is damaged: a storage has another size than announced")
            positions[str(key)] = file.tell()
            file.seek(numbers * dtype.itemsize, 1)
    return content
