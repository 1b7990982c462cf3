"""What a card may ask for: a network no larger than its weights say, and images of a size that there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from nasvit.specs import ElasticSpec, Spec, TimmSpec, specs_below

LARGEST_SIDE = 4096
"""Largest side of images, in pixels."""

_ANYWAY, _TIMES = 2**25, 16
"""Numbers that a network may have while it is built, and how many more for every byte of its weights: a subnet of any
network is cut out of the whole one."""

_MODULES_ANYWAY, _MODULES_TIMES = 4000, 16


class Held:
    """What a file of weights says that it holds.

    Args:
        path: a safetensors file.

    Raises:
        ValueError: if it is no whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}
                self.kinds = {name: each.get_dtype() for name, each in slices.items()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is no whole safetensors file: {error}") from error
        self.path, self.bytes = path, path.stat().st_size

    def check_floats(self, network: nn.Module, floats: Mapping[str, Any]) -> None:
        """Refuse other numbers where a network has floating-point ones.

        Args:
            network: the network that the weights are for.
            floats: names of formats of floating-point numbers.

        Raises:
            ValueError: naming a tensor.
        """
        for name, tensor in network.state_dict().items():
            kind = self.kinds.get(name)
            if kind is not None and tensor.is_floating_point() and kind not in floats:
                raise ValueError(f"{self.path}: {name} is of {kind}, and {', '.join(floats)} are legal")

    @contextmanager
    def bounding(self) -> Iterator[None]:
        """Refuse to build a network that is much larger than these weights.

        Raises:
            ValueError: before the first tensor beyond is used, so that no memory is.
        """
        numbers, modules = _ANYWAY + _TIMES * self.bytes, _MODULES_ANYWAY + _MODULES_TIMES * len(self.kinds)
        count, thread = {"numbers": 0, "modules": 0}, threading.get_ident()

        def add(kind: str, amount: int, limit: int) -> None:
            count[kind] += amount
            if count[kind] > limit and threading.get_ident() == thread:
                raise ValueError(
                    f"{self.path}: the card beside it describes a network of more than {limit:,} {kind}, and these "
                    f"weights have {self.bytes:,} bytes"
                )

        def of_tensor(owner: nn.Module, name: str, tensor: Tensor | None) -> None:
            add("numbers", 0 if tensor is None else tensor.numel(), numbers)

        def of_module(owner: nn.Module, name: str, module: nn.Module | None) -> None:
            add("modules", 1, modules)

        handles = [
            hooks.register_module_parameter_registration_hook(of_tensor),
            hooks.register_module_buffer_registration_hook(of_tensor),
            hooks.register_module_module_registration_hook(of_module),
        ]
        try:
            yield
        except (MemoryError, RuntimeError, TypeError, ArithmeticError, LookupError, AssertionError) as error:
            raise ValueError(f"{self.path}: the network of the card beside it cannot be built: {error}") from error
        finally:
            for handle in handles:
                handle.remove()


def check_sides(spec: Spec, where: str) -> None:
    """Refuse a network of images that are larger than any, or have no pixels.

    Args:
        spec: spec of the network.
        where: the file that tells it, for messages.

    Raises:
        ValueError: naming the side.
    """
    for each in specs_below(spec):
        sides = [*each.image_size, *([each.resizes_to] if each.resizes_to is not None else [])]
        sides += [each.image_side] if isinstance(each, ElasticSpec) else []
        sides += [each.built_for] if isinstance(each, TimmSpec) and each.built_for is not None else []
        for side in sides:
            if not 1 <= side <= LARGEST_SIDE:
                raise ValueError(f"{where}: images of {side} pixels; legal are sides from 1 to {LARGEST_SIDE}")
