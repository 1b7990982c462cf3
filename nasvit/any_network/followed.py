"""What following a network through its operations finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasvit.any_network.labels import Labels, LabelStore

Axes = Mapping[int, Labels]
"""Axis of a tensor -> labels of its positions; an axis that is not here has the same size in every subnet."""

RETURNED = "returned by the network"
"""The reason why the channels of a classifier stay."""


@dataclass(frozen=True)
class Trail:
    """What is known of a tensor while it is followed.

    Args:
        number: its own number.
        axes: its labels.
        sums: numbers of the tensors that came here through additions alone, as along a residual path.
    """

    number: int
    axes: Axes
    sums: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Made:
    """A tensor that an operation made.

    Args:
        shape: its shape in the whole network.
        axes: its labels.
        memory: number of its memory; -1: that of a parameter or buffer.
        is_new: whether the memory is new.
    """

    shape: tuple[int, ...]
    axes: Axes
    memory: int
    is_new: bool


@dataclass(frozen=True)
class Product:
    """Multiply-adds of one operation: a number, times how many of some labels are kept, times a kernel's area.

    Args:
        fixed: what depends on no decision.
        factors: labels, whose counts are multiplied.
        weight: name of the weight with the kernel; empty: none.
    """

    fixed: int
    factors: tuple[Labels, ...]
    weight: str = ""


@dataclass(frozen=True)
class Operation:
    """One operation that a network ran.

    Args:
        name: PyTorch's name of it.
        path: paths of the modules that were running, from the outermost.
        made: the tensors that came out.
        macs: its multiply-adds; None: none.
        source: number of the memory that its first argument lies in; only for copies.
    """

    name: str
    path: tuple[str, ...]
    made: tuple[Made, ...]
    macs: Product | None = None
    source: int = -1


@dataclass(frozen=True)
class Step:
    """A function that a network's code called, at the level of that code, which does not depend on memory layouts.

    Args:
        name: name of the function.
        path: paths of the modules that were running, from the outermost.
        shapes: shapes of the tensors that came out.
        axes: their labels.
    """

    name: str
    path: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[Axes, ...]


@dataclass(frozen=True)
class Split:
    """A place where channels are divided, such as into heads and the channels of a head, in one of several ways.

    Args:
        options: how many ways there are.
        labels: what is free in the way that was chosen.
        path: path of the module that was running.
        into_heads: whether the free part is the last but one, as heads are before the channels of one.
    """

    options: int
    labels: Labels
    path: str = ""
    into_heads: bool = False


@dataclass(frozen=True)
class Call:
    """A call of a module whose first input is a tensor and whose output is one of the same shape.

    Args:
        path: path of the module.
        first: number of its first operation.
        last: one more than the number of its last.
        taken: labels and shape of what went in.
        given: labels and shape of what came out.
        is_sum: whether what came out is a sum with what went in.
        adds: whether something inside is added to what went in.
        memories: numbers of the memories that they lie in.
    """

    path: str
    first: int
    last: int
    taken: Axes
    given: Axes
    is_sum: bool
    adds: bool
    memories: tuple[int, int]


@dataclass
class Followed:
    """What following a network found.

    Args:
        store: the labels.
        operations: what it ran, in order.
        steps: what its code called, in order.
        tensors: name of a parameter or buffer -> its labels; those that were not used are missing.
        producers: labels of channels that weights bring into the world.
        splits: place where channels are divided -> in which way.
        calls: the calls that give what they take, of the same shape.
        freed: number of a memory -> how many operations there had been when it was freed.
    """

    store: LabelStore = field(default_factory=LabelStore)
    operations: list[Operation] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    tensors: dict[str, Axes] = field(default_factory=dict)
    producers: list[Labels] = field(default_factory=list)
    splits: dict[str, Split] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    freed: dict[int, int] = field(default_factory=dict)
