"""Rules of the operations that reduce, move, reshape and widen axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nasvit.any_network.followed import Axes, Split
from nasvit.any_network.following import Dispatched, Follower
from nasvit.any_network.labels import Labels
from nasvit.any_network.rules import any_size, rule, unknown


@rule("roll", "flip")
def moved_along(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep the labels, unless positions change places along their own axis."""
    tensor = done.args[0]
    dims = done.args[2] if done.name == "roll" and len(done.args) > 2 else done.args[1]
    axes = dict(follower.axes(tensor))
    for dim in dims:
        if (labels := axes.pop(dim % tensor.ndim, None)) is not None:
            follower.freeze({0: labels}, done.name)
    return [axes]


@rule("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "var", "std", "logsumexp", "norm")
@rule("linalg_vector_norm", "any", "all", "var_mean", "std_mean")
def reduction(follower: Follower, done: Dispatched) -> list[Axes]:
    """Leave out the axes that are reduced."""
    tensor, result = done.args[0], done.results[0]
    position = 2 if done.name in ("linalg_vector_norm", "norm") else 1
    dims = done.args[position] if len(done.args) > position else done.kwargs.get("dim")
    every = range(tensor.ndim)
    reduced = {dim % tensor.ndim for dim in ([dims] if isinstance(dims, int) else dims or every)}
    left = [axis for axis in every if axis not in reduced]
    places = left if result.ndim == tensor.ndim else range(len(left))
    axes = follower.axes(tensor)
    return [{new: axes[old] for old, new in zip(left, places, strict=False) if old in axes}] * len(done.results)


@rule("permute", "transpose", "t", "movedim", "transpose_", "t_", "swapaxes")
def permutation(follower: Follower, done: Dispatched) -> list[Axes]:
    """Let labels move with their axes."""
    tensor = done.args[0]
    order = [*range(tensor.ndim)]
    if done.name == "permute":
        order = [axis % tensor.ndim for axis in done.args[1]]
    elif tensor.ndim > 1:
        first, second = done.args[1:3] if len(done.args) > 2 else (0, 1)
        order[first], order[second] = order[second], order[first]
    axes = follower.axes(tensor)
    return [{new: axes[old] for new, old in enumerate(order) if old in axes}]


@rule("expand", "broadcast_to")
def expansion(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep labels; new axes and widened ones are as large as what they meet."""
    tensor, result = done.args[0], done.results[0]
    added = result.ndim - tensor.ndim
    widened = [axis for axis in range(result.ndim) if axis < added or tensor.shape[axis - added] < result.shape[axis]]
    kept = {axis + added: labels for axis, labels in follower.axes(tensor).items()}
    return [{**any_size(follower, result, widened), **kept}]


@rule("repeat")
def repetition(follower: Follower, done: Dispatched) -> list[Axes]:
    """Repeat labels along their axes."""
    tensor, times = done.args[0], done.args[1]
    added = len(times) - tensor.ndim
    axes = follower.axes(tensor)
    return [{axis + added: np.tile(labels, times[axis + added]) for axis, labels in axes.items()}]


@rule("unsqueeze", "unsqueeze_")
def new_axis(follower: Follower, done: Dispatched) -> list[Axes]:
    """Make room for an axis of size 1."""
    at = done.args[1] % done.results[0].ndim
    return [{axis + (axis >= at): labels for axis, labels in follower.axes(done.args[0]).items()}]


@rule("view", "_unsafe_view", "reshape", "squeeze", "_reshape_alias", "flatten", "unflatten", "squeeze_", "as_strided_")
def reshaping(follower: Follower, done: Dispatched) -> list[Axes]:
    """Let labels be merged and divided with their axes."""
    before, after = done.args[0].shape, done.results[0].shape
    if math.prod(before) != math.prod(after):
        return unknown(follower, done)
    axes, result = follower.axes(done.args[0]), {}
    for old, new in _blocks(before, after):
        flat = _merged(follower, [before[axis] for axis in old], [axes.get(axis) for axis in old])
        if flat is None:
            continue
        sizes = [after[axis] for axis in new]
        part, labels = divided(follower, flat.reshape(sizes))
        if labels is not None:
            result[new[part]] = labels
    return [result]


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return the smallest runs of axes of two shapes that hold equally many numbers, axes of size 1 left out."""
    olds = [axis for axis, size in enumerate(before) if size > 1]
    news = [axis for axis, size in enumerate(after) if size > 1]
    blocks = []
    while olds:
        old, new = [olds.pop(0)], [news.pop(0)]
        while (have := math.prod(before[axis] for axis in old)) != (want := math.prod(after[axis] for axis in new)):
            (old.append(olds.pop(0)) if have < want else new.append(news.pop(0)))
        blocks.append((old, new))
    return blocks


def _merged(follower: Follower, sizes: Sequence[int], labels: Sequence[Labels | None]) -> Labels | None:
    """Return the labels of some axes as one axis; where several have labels, those of all but one freeze."""
    known = [position for position, each in enumerate(labels) if each is not None]
    if not known:
        return None
    free = known[0]
    if len(known) > 1:
        place = follower.place(f"merging {' x '.join(map(str, sizes))}")
        free = known[min(follower.choices.get(place, 0), len(known) - 1)]
        follower.found.splits[place] = Split(len(known), labels[free])  # type: ignore[arg-type]
    for position in known:
        if position != free:
            follower.freeze({0: labels[position]}, "merged by a reshaping with other channels")  # type: ignore[dict-item]
    shape = [size if position == free else 1 for position, size in enumerate(sizes)]
    whole: Labels = np.broadcast_to(labels[free].reshape(shape), sizes).reshape(-1)  # type: ignore[union-attr]
    return whole


def divided(follower: Follower, labels: Labels) -> tuple[int, Labels | None]:
    """Return which axis of divided channels varies, and its labels; if several do, one becomes the unit."""
    roots = follower.store.roots(labels)
    varying = [axis for axis in range(labels.ndim) if (roots != roots.take([0], axis)).any()]
    if not varying:
        follower.freeze({0: labels.reshape(-1)}, "one unit that cannot become smaller")
        return 0, None
    if len(varying) == 1:
        return varying[0], _along(labels, varying[0])
    shape = " x ".join(str(size) for axis, size in enumerate(labels.shape) if axis in varying)
    place = follower.place(f"reshaping into {shape}")
    channels = math.prod(labels.shape[axis] for axis in varying)
    options: list[tuple[int, list[Labels]]] = []
    for axis in [*varying[-2:], *varying[:-2]]:  # most often, the last two are heads and the channels of one
        came_in = _what_came_in(follower, labels, channels, axis, is_inner=axis == varying[-1])
        options += [(axis, []), (axis, came_in)] if came_in else [(axis, [])]
    unit, came_in = options[min(follower.choices.get(place, 0), len(options) - 1)]
    together = np.moveaxis(labels, unit, 0).reshape(labels.shape[unit], -1)
    follower.store.tie(together, together[:, :1])
    along = _along(labels, unit)
    for each in came_in:
        follower.store.tie(each, along[: len(each), None])
    follower.found.splits[place] = Split(len(options), along, follower.path[-1], unit == varying[-2])
    return unit, along


def _what_came_in(follower: Follower, labels: Labels, channels: int, axis: int, *, is_inner: bool) -> list[Labels]:
    """Return the labels of what came in where the code may divide their number by that of the units along an axis.

    They have the shape (units, channels of one); the channels of one lie side by side, unless units are the inner part.
    Attention often divides the channels that come in by the number of heads to find how many one head has, so the two
    have to be kept in proportion. What is divided into heads holds queries, keys and values of as many channels each.
    """
    units = _period(follower, _along(labels, axis))
    channels //= labels.shape[axis] // units
    sizes = {channels // parts for parts in (1, 2, 3) if channels % parts == 0}
    fitting = [each for each in follower.came_in(labels) if len(each) in sizes and len(each) % units == 0]
    return [each.reshape(-1, units).T if is_inner else each.reshape(units, -1) for each in fitting]


def _period(follower: Follower, labels: Labels) -> int:
    """Return after how many positions labels repeat, as heads do where they are merged with the examples of a batch."""
    roots = follower.store.roots(labels)
    ends = (size for size in range(1, len(roots)) if len(roots) % size == 0)
    return next((size for size in ends if (roots.reshape(-1, size) == roots[:size]).all()), len(roots))


def _along(labels: Labels, axis: int) -> Labels:
    return np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)[:, 0]
