"""Copies that a network makes of its tensors only if an axis has more than one position.

``reshape`` and ``contiguous`` copy a tensor whose memory is not in order. Heads that were moved in front of places are
out of order, a single head is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasvit.any_network.agreement import slow_attention
from nasvit.any_network.following import Operation


class _Names(TorchDispatchMode):
    """Notes the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def needless_copies(small: nn.Module, image: Tensor, operations: Sequence[Operation]) -> list[int]:
    """Return the numbers of the copies that a network with one unit of every group does not make.

    Args:
        small: that network.
        image: what it gets.
        operations: what the whole network runs.
    """
    names = _Names()
    with torch.no_grad(), slow_attention(), names:
        small(image)
    ran = iter([*map(_alike, names.ran), ""])
    missing, next_one = [], next(ran)
    for number, operation in enumerate(operations):
        if _alike(operation.name) == next_one:
            next_one = next(ran, "")
        elif operation.name == "clone":
            missing.append(number)
        else:  # it goes another way from here on
            break
    return missing


def _alike(name: str) -> str:
    """Return one name for what reshapes a copy and what reshapes the original."""
    return "view" if name == "_unsafe_view" else name
