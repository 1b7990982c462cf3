"""Which tensors are alive while something runs, and how much memory they take together."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ELEMENTWISE = {
    torch.ops.aten.gelu.default,
    torch.ops.aten.hardsigmoid.default,
    torch.ops.aten.hardswish.default,
    torch.ops.aten.hardtanh.default,
    torch.ops.aten.relu.default,
    torch.ops.aten.silu.default,
}
"""Activations that PyTorch takes apart on the meta device, which is most of the time of a count, with the next."""

_NORM = torch.ops.aten.native_batch_norm.default


class AliveTensors(TorchDispatchMode):
    """Follows which tensors are made and freed inside it, on any device; tensors that share memory count once.

    It runs on the meta device where it can, which takes next to no time and memory.

    Attributes:
        alive: bytes that are taken now.
        peak: the most that were taken at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ELEMENTWISE and args[0].is_meta:
            result: Any = torch.empty_like(args[0])
        elif func is _NORM and args[0].is_meta and not args[5]:  # in evaluation; what it returns there has these shapes
            result = (torch.empty_like(args[0]), *(args[0].new_empty(args[0].shape[1]) for _ in range(2)))
        else:
            result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return result

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Leave the memory of tensors, and of views into them, out."""
        for tensor in tensors:
            self._known.add(tensor.untyped_storage())

    def hold(self, tensor: Tensor) -> None:
        """Count the memory of ``tensor`` until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = self.size(tensor)
        self._known.add(storage)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, size)

    def size(self, tensor: Tensor) -> int:
        """Return the bytes that the memory of a tensor counts for."""
        return tensor.untyped_storage().nbytes()

    def _free(self, size: int) -> None:
        self.alive -= size
