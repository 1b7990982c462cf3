"""Tensors and plain values in files of PyTorch, written whole, sealed, and checked when they are read."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from nasvit.compute import Compute
from nasvit.files.whole import check_seal, seal, whole

_LONGEST = 300  # characters of what PyTorch says of weights that do not fit
_PLAIN = (str, int, float, bool, type(None), torch.Tensor, torch.nn.Parameter)


def write_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain values to a file that ``torch.load`` reads, whole or not at all.

    Args:
        path: the file.
        content: tensors, numbers, texts, None, and dicts, lists and tuples of these.

    Raises:
        ValueError: if it holds any other value; the message gives its path.
        CannotWriteError: if the disk is full, or the folder is not to be written to.
    """
    _check_plain(content, path.name)
    with whole(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(_in_main_memory(content), file)
        seal(temporary)


def read_tensors(path: Path) -> Any:
    """Read a file that :func:`write_tensors` wrote, into main memory, without executing anything in it.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read, or is not as it was written; the message names it.
    """
    check_seal(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files raise almost anything
        raise ValueError(f"{path} is damaged: {str(error).partition(chr(10))[0] or type(error).__name__}") from error


def load_state(network: torch.nn.Module, state: Any, path: Path) -> None:
    """Load a state dict into a network.

    Raises:
        ValueError: if it is that of another one; ``path`` is the file that the message names.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:  # the latter where values are no tensors
        told = " ".join(str(error).split())[:_LONGEST]
        raise ValueError(f"{path} holds the weights of another network: {told}") from error


def _in_main_memory(value: Any) -> Any:
    """Return plain values whose tensors are in main memory, so that a file is read where there is no such device."""
    if isinstance(value, torch.Tensor):
        return value if value.device.type == "cpu" else Compute.host(value)
    if isinstance(value, dict):
        moved = copy.copy(value)  # with what PyTorch notes beside a state dict
        moved.update({key: _in_main_memory(each) for key, each in value.items()})
        return moved
    return type(value)(map(_in_main_memory, value)) if type(value) in (list, tuple) else value


def _check_plain(value: Any, where: str) -> None:
    if type(value) in (dict, OrderedDict):
        for key, each in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(each, f"{where}[{key!r}]")
    elif type(value) in (list, tuple, torch.Size):
        for index, each in enumerate(value):
            _check_plain(each, f"{where}[{index}]")
    elif type(value) not in _PLAIN:
        raise ValueError(
            f"{where} is a {type(value).__name__}; legal are tensors, numbers, texts, None, and "
            "dicts, lists and tuples of them, so that reading a checkpoint cannot run code"
        )
