"""Read checkpoint files of PyTorch without executing anything in them, in memory that their size bounds.

A pickle is a program: it names functions and calls them. Here the few names that tensors need are known, some that
stand beside tensors in released files make empty objects, every other name stands for an empty class that holds data
and does nothing, and every call of one is refused. That is narrower than ``torch.load(weights_only=True)``, whose names
include some that make as much memory as they are asked for, such as ``bytearray``.
"""

from __future__ import annotations

import functools
import pickle
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch


class CheckpointError(ValueError):
    """A checkpoint file that cannot be imported; the message says why."""


def read_pickled(path: Path) -> Any:
    """Read a file of ``torch.save``, in the zip format or that before PyTorch 1.6.

    Tensors of the zip format stay in the file until they are used, so that their shapes can be checked first.

    Raises:
        CheckpointError: if the file is damaged, truncated, of another format, or would run code.
    """
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        if is_zip:
            _check_archive(path)
        elif _is_tar(path):
            raise CheckpointError("it is of PyTorch before 0.1.10; load and save it there again")
        return _load(path, mmap=is_zip)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from None
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path.name} is truncated or damaged ({error}); fetch it again") from None
    except Exception as error:  # a damaged pickle fails in any way there is
        kind = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path.name} is no checkpoint of PyTorch, or truncated or damaged ({kind})") from None


def _check_archive(path: Path) -> None:
    """Raise if a zip file is damaged, which PyTorch does not notice, or holds something else."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type for part in parts) or sum(part.file_size for part in parts) > path.stat().st_size:
            raise CheckpointError("its parts are compressed or larger than the file, which PyTorch never writes")
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        if "data.pkl" not in names:
            raise CheckpointError("it is a zip file, but no checkpoint of PyTorch: there is no data.pkl in it")
        if "constants.pkl" in names:
            raise CheckpointError("it is a TorchScript program, which runs code; save the model's state_dict()")
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _is_tar(path: Path) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except tarfile.TarError:
        return False
    return True


def _load(path: Path, mmap: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of other versions, which are read or refused all the same
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mmap, pickle_module=_INERT)


class _Name(type):
    """Class of stand-ins: they can be made empty, but never be called."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise CheckpointError(
            f"it asks to call {cls.__module__}.{cls.__qualname__}, which reading tensors never needs; "
            "refused, nothing was run"
        )


class _Data(dict[Any, Any]):
    """An object that keeps data and does nothing."""

    def append(self, item: Any) -> None:
        """Keep one item, as a list would."""
        self[len(self)] = item

    def extend(self, items: Any) -> None:
        """Keep several items, as a list would."""
        for item in items:
            self.append(item)


class _StandIn(_Data, metaclass=_Name):
    """An object of an unknown class."""


class _Unread(_Data):
    """A value that is not read, such as a numpy scalar, whatever it is made of."""

    def __init__(self, *_: Any) -> None:
        """Take any arguments."""

    def __setstate__(self, state: Any) -> None:
        """Take any state."""


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    **{
        ("torch._utils", name): getattr(torch._utils, name)
        for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
    },
}
"""What a pickle may call, and gets."""

_NOT_READ = {
    ("torch", "device"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "complex", "slice")),
}
"""What a pickle may call, and gets an empty object of."""


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]  # that in C makes room for any index
    """Unpickler whose names are :data:`_KNOWN`, :data:`_NOT_READ` or inert stand-ins; nothing is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is None:
            base = _Unread if (module, name) in _NOT_READ else _StandIn
            told = {"__module__": module, "__qualname__": name}
            return types.new_class(name, (base,), exec_body=lambda attributes: attributes.update(told))
        # A pickle can set attributes of what it names, so no function of PyTorch's is handed to it.
        return known if isinstance(known, type) else functools.partial(known)


def _load_pickle(file: BinaryIO, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_INERT = types.SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load_pickle)
"""The part of the ``pickle`` module that ``torch.load`` uses, made harmless."""
