"""What the code of a network calls, in order, without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from nasvit.any_network.shell import shell_of

Layout = tuple[tuple[int, ...], tuple[int, ...]]
"""Shape and strides of a tensor."""


@dataclass(frozen=True, eq=False)
class Call:
    """A function that a network's code called.

    Args:
        function: the function.
        args: its arguments.
        kwargs: its arguments by name.
        result: what it returned.
        path: path of the module that was running.
        block: path of the block of a run that was running; empty: none.
        layouts: id of a tensor among the arguments -> its layout before the call.
        depends: whether it depends on the image.
        is_layer: whether it brings a weight of its own to what depends on the image.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    path: str
    block: str
    layouts: Mapping[int, Layout]
    depends: bool
    is_layer: bool


@dataclass(frozen=True, eq=False)
class Recording:
    """What a network calls.

    Args:
        calls: its calls, in order.
        image: the image.
        dependent: ids of the tensors that depend on it.
        own: ids of the network's parameters.
        kept: everything whose id counts.
    """

    calls: list[Call]
    image: Tensor
    dependent: set[int]
    own: set[int]
    kept: list[Any]


def record(network: nn.Module, shape: tuple[int, ...], blocks: frozenset[str]) -> Recording:
    """Return what a network calls for images of a shape, stored channel by channel as on a processor.

    Its code runs on tensors that have a shape and a layout, but no numbers, so it takes the time of the code alone.

    Args:
        network: the network, on any device; it stays as it is.
        shape: of the images, the batch first.
        blocks: paths of the blocks of runs.

    Raises:
        ValueError: if its code does not run on such tensors.
    """
    try:
        return _recorded(network, shape, blocks)
    except Exception as error:  # whatever the code of users raises
        raise ValueError(
            f"{type(network).__name__} cannot be taken apart, as its code does not run on tensors without numbers: "
            f"{type(error).__name__}: {error}"
        ) from error


def _recorded(network: nn.Module, shape: tuple[int, ...], blocks: frozenset[str]) -> Recording:
    mode = FakeTensorMode(allow_non_fake_inputs=True)  # a constant that a module holds beside its buffers
    with mode, torch.no_grad():
        fake = shell_of(network, _empty, {}).eval()
        image = torch.empty(shape).contiguous(memory_format=torch.channels_last)
        recorder = _Recorder(fake, image, blocks)
        with recorder:
            fake(image)
    return recorder.found


def _empty(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


class _Recorder(TorchFunctionMode):
    """Records the calls of a network's code at the level of that code: a function within a function is not seen."""

    def __init__(self, network: nn.Module, image: Tensor, blocks: frozenset[str]) -> None:
        super().__init__()
        self.blocks, self.path = blocks, [""]
        own = {id(parameter) for parameter in network.parameters()}
        self.found = Recording([], image, {id(image)}, own, [network])
        for path, module in network.named_modules():
            module.register_forward_pre_hook(lambda module, args, path=path: self.path.append(path))
            module.register_forward_hook(lambda module, args, result: self._leave())

    def _leave(self) -> None:
        self.path.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        layouts = {id(each): (tuple(each.shape), each.stride()) for each in given}
        result = func(*args, **(kwargs or {}))
        made = _tensors(result)
        if given and (made or func.__name__ == "__setitem__"):
            self._note(func, args, kwargs or {}, result, layouts, given)
        self.found.kept.append((args, kwargs, result))
        return result

    def _note(
        self, func: Any, args: Any, kwargs: Any, result: Any, layouts: Mapping[int, Layout], given: list[Tensor]
    ) -> None:
        found = self.found
        depends = any(id(each) in found.dependent for each in given)
        is_layer = depends and any(isinstance(each, nn.Parameter) and each.ndim > 1 for each in given)
        if depends:
            written = given[:1] if func.__name__ == "__setitem__" else _tensors(result)
            found.dependent.update(map(id, written))
        block = next((path for path in reversed(self.path) if path in self.blocks), "")
        found.calls.append(Call(func, args, kwargs, result, self.path[-1], block, layouts, depends, is_layer))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
