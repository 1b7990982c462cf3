"""A pretend accelerator: the real code with its tensors on ``meta``, watched for what would be wrong or slow on a GPU.

It proves that devices are not mixed and that the host does not wait; numbers, autocast and fused optimizers it has not.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nasvit.compute import Compute

DEVICE = torch.device("meta")
ROOT = str(Path(__file__).parents[2] / "nasvit")

aten = torch.ops.aten
_COPIES = (aten._to_copy.default, aten.copy_.default)
_READS = (aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default)

READING = "compute.py:host"
"""The one place of the library where the host waits for the device."""


class _PretendCompute(Compute):
    def place(self, network: Any) -> Any:
        """Move a network; a parameter that is used twice stays one, as on real devices."""
        moved = {id(each): torch.nn.Parameter(each.to(DEVICE), each.requires_grad) for each in network.parameters()}
        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = moved[id(parameter)]
        return network.to(DEVICE)


PRETEND = _PretendCompute(DEVICE)


class WaitedError(AssertionError):
    """The host waited for the device."""


class MixedDevicesError(AssertionError):
    """An operation got tensors of main memory and of the device."""


class PretendDevice(TorchDispatchMode):
    """Refuses operations that mix devices, and reads and copies that make the host wait.

    Args:
        waiting: places of the library that may wait, as ``file.py:function``.
        uploads: places that may copy to the device; None: all, as while networks are built.
    """

    def __init__(self, waiting: tuple[str, ...] = (), uploads: tuple[str, ...] | None = ("compute.py:put",)) -> None:
        super().__init__()
        self.waiting, self.uploads = waiting, uploads
        self.waits: Counter[str] = Counter()  # by who asked for them
        self.copies = 0  # to the device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors([*args, *kwargs.values()]))
        there = any(each.device.type == DEVICE.type for each in tensors)
        here = any(each.device.type == "cpu" and each.dim() for each in tensors)
        if there and func not in _COPIES and _is_composite(func):
            with self:  # inference mode hands these over whole
                return func.decompose(*args, **kwargs)
        if there and func in _READS:
            self._wait(str(func))
            return {aten.equal.default: True}.get(func, 1)
        if there and here and func not in _COPIES:
            raise MixedDevicesError(f"{func} mixes devices {_place()}")
        if func is aten._to_copy.default and there and torch.device(kwargs.get("device") or DEVICE).type == "cpu":
            self._wait("a copy to main memory")
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is aten.copy_.default and args[0].device.type == "cpu" and args[1].device.type == DEVICE.type:
            self._wait("a copy to main memory")
            return args[0].fill_(1)
        out = func(*args, **kwargs)
        if func in _COPIES and here and out.device.type == DEVICE.type:
            self.copies += 1
            if self.uploads is not None and _place() not in self.uploads:
                raise WaitedError(f"a copy to the device from pageable memory, {_place()}")
        return out

    def _wait(self, what: str) -> None:
        place = _place()
        if place not in self.waiting:
            raise WaitedError(f"{what}, {place}")
        self.waits[_place(beside="compute.py")] += 1


@contextmanager
def generators_on_the_host() -> Iterator[None]:
    """Let random generators of the pretend device, which timm's moving average makes, be the processor's."""
    made = torch.Generator
    torch.Generator = lambda device=None: made()  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        torch.Generator = made  # type: ignore[misc]


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


@functools.cache
def _is_composite(func: Any) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def _place(beside: str = "no file") -> str:
    """The innermost place of the library that is running, as ``file.py:function``, outside of one file."""
    frame = sys._getframe()
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(ROOT) and not file.endswith(beside) and name != "<genexpr>":
            return f"{file[len(ROOT) + 1 :]}:{name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside the library"
