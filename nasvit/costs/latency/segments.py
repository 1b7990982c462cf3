"""Networks in segments, each of which can run alone: a layer with weights, and what follows it until the next one.

So what runtimes join, such as a convolution with its norm and activation, is in one segment, and everything that the
network computes is in some segment. Blocks that may be left out begin and end segments.
"""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_map

from nasvit.costs.latency.recording import Call, Layout, Recording
from nasvit.costs.latency.timed_modules import TimedModule


@dataclass(frozen=True)
class Segment:
    """A part of a network that can run alone.

    Args:
        place: where it is in the network: the same in every subnet that has it.
        block: path of the block of a run that it is in; empty: none.
        timed: the part as a module to time, named by all that its time depends on.
    """

    place: str
    block: str
    timed: TimedModule


def segments_of(recording: Recording) -> Iterator[Segment]:
    """Yield the segments of a network in order."""
    times: Counter[str] = Counter()
    for calls in _cut(recording.calls):
        path = next(call.path for call in calls if call.depends)
        times[path] += 1
        place = path if times[path] == 1 else f"{path}[{times[path]}]"
        block = next(call.block for call in calls if call.depends)
        yield Segment(place, block, _Part(calls, recording).timed())


def _cut(calls: Sequence[Call]) -> Iterator[list[Call]]:
    """Cut calls before every layer, and where a block begins or ends; what depends on no image starts nothing."""
    current: list[Call] = []
    block: str | None = None
    for call in calls:
        if call.depends:
            if block is not None and (call.is_layer or call.block != block):
                yield current
                current = []
            block = call.block
        current.append(call)
    if block is not None:
        yield current


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor by its number."""

    number: int


@dataclass(frozen=True)
class _Outer:
    """A tensor that comes into a segment from outside."""

    layout: Layout
    dtype: torch.dtype
    is_parameter: bool
    depends: bool


class _Part:
    """Calls as a module of their own."""

    def __init__(self, calls: Sequence[Call], recording: Recording) -> None:
        self._recording = recording
        self._numbers: dict[int, int] = {}
        self.outer: dict[int, _Outer] = {}
        self.steps = [self._step(call) for call in calls]
        self.input = next(number for number, each in self.outer.items() if each.depends)
        del self._recording

    def _step(self, call: Call) -> tuple[Any, Any, Any, Any]:
        given = partial(self._given, call)
        args, kwargs = tree_map(given, (call.args, dict(call.kwargs)))
        return call.function, args, kwargs, tree_map(self._made, call.result)

    def _given(self, call: Call, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._numbers:
            found = self._recording
            own, depends = id(value) in found.own, id(value) in found.dependent
            self.outer[len(self._numbers)] = _Outer(call.layouts[id(value)], value.dtype, own, depends)
        return self._made(value)

    def _made(self, value: Any) -> Any:
        return _Slot(self._numbers.setdefault(id(value), len(self._numbers))) if isinstance(value, Tensor) else value

    def timed(self) -> TimedModule:
        """Return the part as a module to time."""
        shape, stride = self.outer[self.input].layout
        words = [f"{_name(function)}{args}{kwargs}{result}" for function, args, kwargs, result in self.steps]
        digest = hashlib.sha256("\n".join([*words, *map(str, self.outer.items())]).encode()).hexdigest()[:12]
        functions = " ".join(_name(function) for function, *_ in self.steps[:4])
        name = f"{functions} of {'x'.join(map(str, shape))} {digest}"
        return TimedModule(name, shape, self.build, stride)

    def build(self) -> GraphModule:
        """Return the part as a module of one input; what else comes in is held by it."""
        root, graph = nn.Module(), Graph()
        nodes: dict[int, Node] = {self.input: graph.placeholder("x")}
        for number, outer in self.outer.items():
            if number != self.input:
                _hold(root, f"tensor{number}", outer)
                nodes[number] = graph.get_attr(f"tensor{number}")
        unused: dict[int, Node] = {}  # what is given back, so that no exporter leaves out what made it
        for function, args, kwargs, result in self.steps:
            args, kwargs = tree_map(partial(_node_of, nodes, unused), (args, kwargs))
            node = _called(graph, function, args, kwargs)
            for number, made in _unpacked(graph, node, result):
                nodes[number] = unused[number] = made
        graph.output(tuple(unused.values()) or nodes[self.input])
        return GraphModule(root, graph).eval()


def _name(function: Any) -> str:
    """Return the name of a function, or of the attribute that it gets."""
    return str(function.__self__.__name__ if function.__name__ == "__get__" else function.__name__)


def _node_of(nodes: dict[int, Node], unused: dict[int, Node], value: Any) -> Any:
    if not isinstance(value, _Slot):
        return value
    unused.pop(value.number, None)
    return nodes[value.number]


def _called(graph: Graph, function: Any, args: Any, kwargs: Any) -> Node:
    if function.__name__ == "__get__":
        return graph.call_function(getattr, (args[0], _name(function)))
    return graph.call_function(function, args, kwargs)


def _unpacked(graph: Graph, node: Node, result: Any) -> Iterator[tuple[int, Node]]:
    """Yield the tensors of a result that may be nested, as nodes."""
    if isinstance(result, _Slot):
        yield result.number, node
    elif isinstance(result, (tuple, list)):
        for place, each in enumerate(result):
            if isinstance(each, (_Slot, tuple, list)):
                yield from _unpacked(graph, graph.call_function(operator.getitem, (node, place)), each)


def _hold(root: nn.Module, name: str, outer: _Outer) -> None:
    """Register a tensor of some numbers: positive ones, as variances must be, or the first place of a table."""
    shape, stride = outer.layout
    size = 1 + sum((length - 1) * step for length, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
    generator = torch.Generator().manual_seed(0)
    if outer.dtype.is_floating_point:
        numbers = (torch.rand(size, generator=generator) + 0.5).to(outer.dtype)
    else:
        numbers = torch.zeros(size, dtype=outer.dtype)
    tensor = numbers.as_strided(shape, stride)
    if outer.is_parameter and outer.dtype.is_floating_point:
        root.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    else:
        root.register_buffer(name, tensor)
