"""A pretend device: tensors on ``meta``, where nothing may be read back and devices may not mix."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Watched(TorchDispatchMode):
    """Refuses to read tensors of the device and to mix devices, and counts copies to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args, *(kwargs or {}).values()]
        tensors = [each for value in given for each in (value if isinstance(value, (list, tuple)) else (value,))]
        tensors = [each for each in tensors if isinstance(each, torch.Tensor)]
        there = any(each.device.type == "meta" for each in tensors)
        if there and func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host reads a number of the device")
        if there and func not in COPIES and any(each.device.type == "cpu" and each.dim() for each in tensors):
            raise RuntimeError(f"{func} mixes devices")
        made = func(*args, **(kwargs or {}))
        if func in COPIES and len({each.device.type for each in (*tensors, made)}) == 2:
            self.copies += 1
        return made
