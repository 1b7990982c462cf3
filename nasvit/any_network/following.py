"""Follow the channels of a network through every operation that it runs.

Channels hang together where operations pair them: what is added has the channels of what it is added to, a convolution
reads those that the one before wrote. Source of the idea: Fang et al., DepGraph (2023),
https://arxiv.org/abs/2301.12900. Here they are followed while the network's own code runs on the meta device: every
operation that PyTorch dispatches passes by, under the module that called it. That takes a fraction of a second, needs
no graph, and works wherever the code does.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasvit.any_network.followed import RETURNED, Axes, Call, Followed, Made, Operation, Product, Step, Trail
from nasvit.any_network.labels import Labels

_TRAIL = "_nasvit_trail"


@dataclass
class _Entered:
    """A module that runs: where it began, what is known of what came in, that one's shape and the number of its memory.

    ``is_added_to``: whether something was added to what came in.
    """

    first: int
    taken: Trail | None
    shape: tuple[int, ...]
    memory: int
    is_added_to: bool = False


Rule = Callable[["Follower", "Dispatched"], list[Axes]]


@dataclass(frozen=True)
class Dispatched:
    """An operation as PyTorch dispatched it.

    Args:
        name: its name without the overload.
        args: its arguments.
        kwargs: its arguments by name.
        results: the tensors that it returned.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    results: list[Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]


class Follower(TorchDispatchMode):
    """Follows the labels of every tensor while it is active.

    Args:
        network: the network, where it will run.
        rules: what each operation does with labels.
        choices: place where channels are divided in one of several ways -> the number of the way; 0 is the first.
    """

    def __init__(self, network: nn.Module, rules: Callable[[Any], Rule], choices: Mapping[str, int]) -> None:
        super().__init__()
        self.rules, self.choices, self.found = rules, choices, Followed()
        self.store = self.found.store
        self.made_from: dict[int, Labels] = {}
        self.path: list[str] = []
        self._names = {id(tensor): name for name, tensor in _tensors(network)}
        self._kept = [tensor for _, tensor in _tensors(network)]  # no other tensor can take over their ids
        self._memories: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        for tensor in self._kept:
            self._memories[tensor.untyped_storage()] = -1
        self._made = self._held = 0
        self._places: list[Counter[str]] = []
        self._paths = {module: name for name, module in network.named_modules()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        results = tensors_in(result)
        dispatched = Dispatched(func._overloadpacket.__name__, args, kwargs or {}, results)
        sums = self._sums(dispatched)
        if dispatched.name in ("add", "add_"):
            self._note_sum(sums)
        self.macs: Product | None = None
        axes = self.rules(func)(self, dispatched)
        made = [self._note(tensor, each, sums) for tensor, each in zip(results, axes, strict=True)]
        source = self._memory(args[0])[0] if dispatched.name == "clone" else -1
        operation = Operation(dispatched.name, tuple(self.path), tuple(made), self.macs, source)
        self.found.operations.append(operation)
        return result

    def trail(self, tensor: Tensor) -> Trail:
        """Return what is known of a tensor."""
        known: Trail | None = tensor.__dict__.get(_TRAIL)
        if known is None:
            name = self._names.get(id(tensor))
            axes: Axes = {}
            if name is not None:
                axes = {axis: self.store.fresh(size) for axis, size in enumerate(tensor.shape) if size > 1}
                self.found.tensors[name] = axes
            known = self._mark(tensor, axes)
        return known

    def axes(self, tensor: Tensor) -> Axes:
        """Return the labels of a tensor."""
        return self.trail(tensor).axes

    def name(self, tensor: Tensor) -> str:
        """Return the name of a parameter or buffer; empty: it is none."""
        return self._names.get(id(tensor), "")

    def place(self, kind: str) -> str:
        """Return a name for the place in the code that runs; it is the same in the next run."""
        self._places[-1][kind] += 1
        return f"{kind} {self._places[-1][kind]} of {self.path[-1] or 'the network itself'}"

    def came_in(self, labels: Labels) -> list[Labels]:
        """Return labels of what came into the module that runs, and of what the layer that made these channels read."""
        taken = self._entered[-1].taken
        read = self.made_from.get(int(labels.flat[0]))
        return [*(() if taken is None else taken.axes.values()), *(() if read is None else (read,))]

    def note_made(self, written: Labels | None, read: Labels | None) -> None:
        """Note the labels of channels that a layer writes, and of those that it reads."""
        if written is not None:
            self.found.producers.append(written)
            if read is not None:
                self.made_from[int(written[0])] = read

    def freeze(self, axes: Axes, reason: str) -> None:
        """Freeze all labels of a tensor, or one of its axes."""
        for labels in axes.values():
            self.store.freeze(labels, f"{reason} in {self.path[-1] or 'the network itself'}")

    @contextmanager
    def watching(self, network: nn.Module, image: Tensor) -> Iterator[Followed]:
        """Follow what the network does with an image inside this context."""
        hooks = []
        for module in network.modules():
            hooks.append(module.register_forward_pre_hook(self._enter))
            hooks.append(module.register_forward_hook(self._leave))
        self._memory(image)  # the first one, which is not made by any operation
        self._entered: list[_Entered] = []
        try:
            with torch.no_grad(), self, _Steps(self):
                yield self.found
        finally:
            for hook in hooks:
                hook.remove()
            for tensor in self._kept:
                tensor.__dict__.pop(_TRAIL, None)

    def finish(self, outputs: Iterable[Tensor]) -> None:
        """Freeze the channels of what the network returns."""
        for tensor in outputs:
            for labels in self.axes(tensor).values():
                self.store.freeze(labels, RETURNED)

    def _enter(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.path.append(self._paths[module])
        self._places.append(Counter())
        tensor = given[0] if given and isinstance(given[0], Tensor) else None
        trail = None if tensor is None else self.trail(tensor)
        shape = () if tensor is None else tuple(tensor.shape)
        memory = -1 if tensor is None else self._memory(tensor)[0]
        self._entered.append(_Entered(len(self.found.operations), trail, shape, memory))

    def _leave(self, module: nn.Module, given: Any, result: Any) -> None:
        entered = self._entered.pop()
        taken, path = entered.taken, self.path.pop()
        self._places.pop()
        if taken is None or not isinstance(result, Tensor) or tuple(result.shape) != entered.shape:
            return
        last, trail = len(self.found.operations), self.trail(result)
        memories = (entered.memory, self._memory(result)[0])
        is_sum, adds = taken.number in trail.sums, entered.is_added_to
        self.found.calls.append(Call(path, entered.first, last, taken.axes, trail.axes, is_sum, adds, memories))

    def _note_sum(self, sums: frozenset[int]) -> None:
        for entered in self._entered:
            if entered.taken is not None and entered.taken.number in sums:
                entered.is_added_to = True

    def _mark(self, tensor: Tensor, axes: Axes, sums: frozenset[int] = frozenset()) -> Trail:
        self._made += 1
        trail = tensor.__dict__[_TRAIL] = Trail(self._made, axes, sums)
        return trail

    def _note(self, tensor: Tensor, axes: Axes, sums: frozenset[int]) -> Made:
        self._mark(tensor, {axis: labels for axis, labels in axes.items() if tensor.shape[axis] > 1}, sums)
        memory, is_new = self._memory(tensor)
        return Made(tuple(tensor.shape), self.axes(tensor), memory, is_new)

    def _memory(self, tensor: Tensor) -> tuple[int, bool]:
        storage = tensor.untyped_storage()
        known = self._memories.get(storage)
        if known is not None:
            return known, False
        number = self._memories[storage] = self._held
        self._held += 1
        weakref.finalize(storage, self._free, number)
        return number, True

    def _free(self, number: int) -> None:
        self.found.freed[number] = len(self.found.operations)

    def _sums(self, dispatched: Dispatched) -> frozenset[int]:
        """Return the numbers of the tensors that come through this operation by additions alone."""
        if dispatched.name not in _PASSING:
            return frozenset()
        trails = [self.trail(tensor) for tensor in dispatched.tensors]
        return frozenset().union(*({trail.number} | trail.sums for trail in trails))


class _Steps(TorchFunctionMode):
    """Notes what the code of a network calls."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = tensors_in(result)
        if tensors and self.follower.path:
            axes = tuple(self.follower.axes(tensor) for tensor in tensors)
            shapes = tuple(tuple(tensor.shape) for tensor in tensors)
            self.follower.found.steps.append(Step(name_of(func), tuple(self.follower.path), shapes, axes))
        return result


def name_of(func: Any) -> str:
    """Return the name of a function that a network's code called."""
    return str(getattr(func, "__name__", func))


def tensors_in(result: Any) -> list[Tensor]:
    """Return the tensors in what a function returned."""
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


_PASSING = frozenset(
    "add add_ relu relu_ hardtanh hardtanh_ view _unsafe_view permute transpose clone alias detach _to_copy roll "
    "cat slice split split_with_sizes native_batch_norm".split()
)
"""Operations that keep a residual path: additions, what changes no number that comes out of them, what moves it, and
batch norm, as re-parameterizable blocks have one on their shortcut."""


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]
