"""Find the weights in a checkpoint file, also inside nested dictionaries and wrappers."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasvit.importing.pickles import CheckpointError, read_pickled

_PREFIXES = ("module.", "_orig_mod.")
_DEEPEST = 4
_ANYWAY, _TIMES = 2**28, 4
"""Bytes that tensors may take up in memory at most, and how many times the file's size besides: parts may repeat."""


class LoadedTensor:
    """A tensor of a file, in memory or still on disk.

    Args:
        tensor: the tensor; :meth:`load` is the first to read its values.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.shape = tuple(tensor.shape)

    @property
    def bytes(self) -> int:
        """Size of a compact copy."""
        return self._tensor.numel() * self._tensor.element_size()

    def load(self) -> Tensor:
        """Return a compact copy of the tensor."""
        return self._tensor.detach().clone(memory_format=torch.contiguous_format)


Tensors = Mapping[str, LoadedTensor]


@dataclass(frozen=True)
class Weights:
    """The weights found in a file.

    Args:
        part: key of the weights in the file, such as ``model_ema``; empty if the file holds nothing else.
        tensors: tensors by name, without the prefixes of wrappers such as DistributedDataParallel.
    """

    part: str
    tensors: Tensors


def read_weights(path: Path, known: Container[str]) -> Weights:
    """Read the weights of a checkpoint file.

    A file may hold several state dicts. Averaged weights (``model_ema``) go before others, as in the releases'
    own loaders; among equals the one with the most known names is taken.

    Args:
        path: a file of ``torch.save`` or a ``.safetensors`` file.
        known: names of the tensors to look for.

    Raises:
        CheckpointError: if the file cannot be read, or holds no state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    found = [Weights("", _read_safetensors(path))] if path.suffix == ".safetensors" else list(_state_dicts(path))
    if not found:
        raise CheckpointError(f"{path.name} holds no state dict (names with tensors); save the model's state_dict()")

    def rank(weights: Weights) -> tuple[bool, bool, int]:
        matches = sum(name in known for name in weights.tensors)
        return matches > 0, "ema" in weights.part.lower(), matches or len(weights.tensors)

    weights = max(found, key=rank)
    claimed, held = sum(tensor.bytes for tensor in weights.tensors.values()), path.stat().st_size
    if claimed > _ANYWAY + _TIMES * held:
        raise CheckpointError(f"{path.name} has {held:,} bytes and claims to hold tensors of {claimed:,}")
    return weights


def plain_name(name: str) -> str:
    """Return a tensor's name without the prefixes that wrappers add."""
    for prefix in _PREFIXES:
        while name.startswith(prefix):
            name = name.removeprefix(prefix)
    return name


def _state_dicts(path: Path) -> Iterator[Weights]:
    yield from _walk("", read_pickled(path), _DEEPEST, set())


def _walk(part: str, content: Any, depth: int, seen: set[int]) -> Iterator[Weights]:
    """Look for state dicts in nested mappings; each mapping once, however often a file repeats it."""
    if not isinstance(content, Mapping) or depth == 0 or id(content) in seen:
        return
    seen.add(id(content))
    named = {plain_name(name): value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: LoadedTensor(value) for name, value in named.items() if _is_plain(value)}
    if tensors:
        yield Weights(part, tensors)
    for name, value in named.items():
        if "optim" not in name.lower():
            yield from _walk(f"{part}.{name}" if part else name, value, depth - 1, seen)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {plain_name(name): LoadedTensor(tensor) for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is no safetensors file, or truncated or damaged ({error})") from None
