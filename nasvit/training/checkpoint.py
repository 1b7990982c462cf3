"""Checkpoints that survive a kill: written to a temporary file, then renamed; earlier ones are kept."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasvit.compute import Compute
from nasvit.tasks.task import Metric

State = dict[str, Any]

_GOOD, _BEST = "good.pt", "best.pt"
_LONGEST = 300  # characters of what PyTorch says of weights that do not fit
_PLAIN = (str, int, float, bool, type(None), torch.Tensor, torch.nn.Parameter)
_UNREADABLE = (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError, KeyError)


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Args:
        step: optimizer steps done when it was written.
        state: the saved state.
        path: the file.
    """

    step: int
    state: State
    path: Path


class Checkpoints:
    """The checkpoints of one run, in a folder of their own: the last ones, the last good one, and the best.

    Args:
        folder: folder of the checkpoints, created if missing.
        keep: number of last checkpoints kept, at least 2 so that there is one to fall back to.

    Raises:
        ValueError: if ``keep`` is below 2.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        if keep < 2:
            raise ValueError(f"keep {keep} checkpoints: at least 2, the last and one to fall back to")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: State, *, good: bool = True) -> Path:
        """Write a checkpoint; a kill in the middle leaves earlier ones untouched.

        Args:
            step: optimizer steps done.
            state: tensors, numbers, texts, None, and dicts, lists and tuples of these.
            good: whether training was healthy here, so that a collapse later may go back to this step.

        Raises:
            ValueError: if the state holds any other value; the message gives its path.
        """
        _check_plain(state, "state")
        path = self._folder / f"step-{step:09d}.pt"
        write_whole(path, {"step": step, "state": state})
        if good:
            _put_in_place(path, self._folder / _GOOD)
        for old in self._files()[: -self._keep]:
            old.unlink()
        return path

    def save_best(self, step: int, state: State, score: float, metric: Metric) -> None:
        """Keep ``state`` as the best if it scores better than the best so far; the earlier of equals stays.

        The best is kept apart from the last ones, score included, so that a run that goes on from an earlier
        checkpoint comes to the same best.

        Args:
            step: optimizer steps done.
            state: as in :meth:`save`.
            score: the score of ``state``.
            metric: decides which score is better.
        """
        best = self.load_best()
        if best is None or metric.better(score, best.state["score"]):
            _check_plain(state, "state")
            write_whole(self._folder / _BEST, {"step": step, "state": {**state, "score": score}})

    def load_best(self) -> Checkpoint | None:
        """Read the best checkpoint; None if there is none.

        Raises:
            ValueError: if it cannot be read.
        """
        best = self._folder / _BEST
        return self._load_first([best] if best.exists() else [])

    def load_last(self) -> Checkpoint | None:
        """Read the newest checkpoint that can be read, warning of every newer one that cannot; None if there is none.

        Raises:
            ValueError: if there are checkpoints and none can be read.
        """
        good = self._folder / _GOOD
        return self._load_first([*reversed(self._files()), *([good] if good.exists() else [])])

    def load_good(self) -> Checkpoint | None:
        """Read the last good checkpoint; None if there is none.

        Raises:
            ValueError: if it cannot be read.
        """
        good = self._folder / _GOOD
        return self._load_first([good] if good.exists() else [])

    def forget_after(self, step: int) -> None:
        """Remove checkpoints of later steps, after going back to ``step``."""
        for path in self._files():
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))

    def _load_first(self, paths: list[Path]) -> Checkpoint | None:
        for path in paths:
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
                return Checkpoint(content["step"], content["state"], path)
            except _UNREADABLE as error:
                warnings.warn(
                    f"checkpoint {path} cannot be read ({error}); falling back to the one before", stacklevel=3
                )
        if paths:
            raise ValueError(
                f"no checkpoint in {self._folder} can be read; remove the folder to start from the beginning"
            )
        return None


def read_state(path: Path) -> State:
    """Return the state dict in a file that :func:`write_whole` wrote.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # which PyTorch does not notice
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it holds no state dict")
    except _UNREADABLE as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read ({told}); remove it, and what is in it is made anew") from error
    return state


def load_state(network: torch.nn.Module, state: State, path: Path) -> None:
    """Load a state dict into a network.

    Raises:
        ValueError: if it is that of another one; ``path`` is what the message calls it.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:  # the latter where values are no tensors
        told = " ".join(str(error).split())[:_LONGEST]
        raise ValueError(f"{path} holds the weights of another network: {told}") from error


def write_whole(path: Path, content: State) -> None:
    """Write tensors and plain values to a file, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(_in_main_memory(content), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _in_main_memory(value: Any) -> Any:
    """Return plain values whose tensors are in main memory, so that a file is read where there is no such device."""
    if isinstance(value, torch.Tensor):
        return value if value.device.type == "cpu" else Compute.host(value)
    if isinstance(value, dict):
        moved = copy.copy(value)  # with what PyTorch notes beside a state dict
        moved.update({key: _in_main_memory(each) for key, each in value.items()})
        return moved
    return type(value)(map(_in_main_memory, value)) if type(value) in (list, tuple) else value


def _put_in_place(source: Path, target: Path) -> None:
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)  # A second name for the same file costs no space.
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open folders.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
            f"checkpoint: {where} is a {type(value).__name__}; legal are tensors, numbers, texts, None, and "
            "dicts, lists and tuples of them, so that reading a checkpoint cannot run code"
        )
