"""What every operation of PyTorch does with the channels of its tensors.

A rule gets the operation as it was dispatched, ties or freezes labels, and returns the labels of what came out. An
operation without a rule freezes all that goes in, and the reason names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasvit.any_network.following import Axes, Dispatched, Follower, Rule, Split
from nasvit.any_network.labels import Labels

_RULES: dict[str, Rule] = {}


def rule_of(func: Any) -> Rule:
    """Return the rule of an operation."""
    found = _RULES.get(func._overloadpacket.__name__)
    if found is not None:
        return found
    return elementwise if torch.Tag.pointwise in func.tags else unknown


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of some operations."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def unknown(follower: Follower, done: Dispatched) -> list[Axes]:
    """Freeze everything."""
    for tensor in done.tensors:
        follower.freeze(follower.axes(tensor), f"nothing is known of the operation {done.name}")
    return [{} for _ in done.results]


@rule("hardswish_", "hardswish", "hardtanh", "prelu", "rsub", "copy_", "fill_", "masked_fill", "bernoulli_", "_prelu_kernel")
def elementwise(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie what meets in equal places; shapes broadcast."""
    given = [tensor for tensor in done.tensors if tensor.ndim]
    axes = met(follower, given, done.results[0].shape, done.name)
    return [axes] * len(done.results)


def met(follower: Follower, given: Sequence[Tensor], shape: Sequence[int], name: str) -> Axes:
    """Tie the labels of tensors that broadcast to a shape, and return those of the result."""
    axes: dict[int, Labels] = {}
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        whole = [(each, axis - len(shape) + each.ndim) for each in given if axis - len(shape) + each.ndim >= 0]
        whole = [(each, own) for each, own in whole if each.shape[own] == size]
        labels = join(follower, [follower.axes(each).get(own) for each, own in whole], name)
        if labels is not None:
            axes[axis] = labels
    return axes


def join(follower: Follower, labels: Sequence[Labels | None], name: str) -> Labels | None:
    """Tie labels of equal places; where some of them are of fixed size, all are."""
    known = [each for each in labels if each is not None]
    if not known:
        return None
    for other in known[1:]:
        follower.store.tie(known[0], other)
    if len(known) < len(labels):
        follower.freeze({0: known[0]}, f"{name} with something of fixed size")
        return None
    return known[0]


@rule("clone", "alias", "detach", "_to_copy", "contiguous", "lift_fresh", "cumsum", "native_dropout")
@rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like")
@rule("_softmax", "_safe_softmax", "_log_softmax")
def same(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep the labels: the result has the shape of the first argument."""
    return [follower.axes(done.args[0])] * len(done.results)


@rule("arange", "scalar_tensor", "eye", "linspace", "_local_scalar_dense", "sym_size", "prim_layout")
def of_fixed_size(follower: Follower, done: Dispatched) -> list[Axes]:
    """Return no labels."""
    return [{} for _ in done.results]


@rule("empty", "zeros", "ones", "full", "rand", "randn", "new_empty", "new_zeros", "new_ones", "new_full")
@rule("empty_strided", "new_empty_strided")
def of_any_size(follower: Follower, done: Dispatched) -> list[Axes]:
    """Return new labels: code makes such tensors of the sizes of others, to which they are tied where they meet."""
    return [any_size(follower, each, range(each.ndim)) for each in done.results]


def any_size(follower: Follower, tensor: Tensor, axes: Iterable[int]) -> Axes:
    """Return new labels for some axes of a tensor."""
    return {axis: follower.store.fresh(tensor.shape[axis]) for axis in axes if tensor.shape[axis] > 1}


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
    return [any_size(follower, result, widened) | kept]


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
    place = follower.place(f"reshaping into {' x '.join('1' if axis not in varying else 'n' for axis in range(labels.ndim))}")
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



@rule("cat")
def concatenation(follower: Follower, done: Dispatched) -> list[Axes]:
    """Put labels behind one another along the axis, and tie them along the others."""
    tensors, result = [each for each in done.args[0] if each.numel()], done.results[0]
    dim = (done.args[1] if len(done.args) > 1 else 0) % result.ndim
    axes = {}
    for axis in range(result.ndim):
        labels = [follower.axes(each).get(axis) for each in tensors]
        if axis != dim:
            joined = join(follower, labels, "concatenation") if result.shape[axis] > 1 else None
        else:
            joined = _behind_one_another(follower, [each.shape[dim] for each in tensors], labels)
        if joined is not None:
            axes[axis] = joined
    return [axes]


def _behind_one_another(follower: Follower, sizes: list[int], labels: list[Labels | None]) -> Labels | None:
    if all(each is None for each in labels):
        return None
    return np.concatenate(
        [fixed(follower, size) if each is None else each for size, each in zip(sizes, labels, strict=True)]
    )


def fixed(follower: Follower, size: int) -> Labels:
    """Return labels of positions that are in every subnet."""
    labels = follower.store.fresh(size)
    follower.store.freeze(labels, "of fixed size from the start")
    return labels


@rule("stack")
def stacking(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie labels of equal places, and make room for the new axis."""
    dim = (done.args[1] if len(done.args) > 1 else 0) % done.results[0].ndim
    axes = met(follower, done.args[0], done.args[0][0].shape, "stacking")
    return [{axis + (axis >= dim): labels for axis, labels in axes.items()}]


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes")
def splitting(follower: Follower, done: Dispatched) -> list[Axes]:
    """Divide channels into pieces: equal ones shrink together, others on their own if the code follows that."""
    tensor = done.args[0]
    dim = (done.args[2] if len(done.args) > 2 else done.kwargs.get("dim", 0)) % tensor.ndim
    axes = follower.axes(tensor)
    sizes = [piece.shape[dim] for piece in done.results]
    if dim not in axes or len(sizes) == 1:
        return [axes] * len(sizes)
    pieces = np.split(axes[dim], np.cumsum(sizes)[:-1])
    alone = len({*sizes}) > 1 and done.name.endswith("sizes")
    place = follower.place(f"splitting into {', '.join(map(str, sizes))}")
    options = 3 if alone else 2
    choice = min(follower.choices.get(place, 0), options - 1) + (not alone)
    if choice:
        _keep_proportions(follower, pieces, side_by_side=choice == 1)
    follower.found.splits[place] = Split(options, axes[dim])
    return [{**axes, dim: piece} for piece in pieces]


def _keep_proportions(follower: Follower, pieces: list[Labels], *, side_by_side: bool) -> None:
    """Let pieces shrink in proportion, one unit of each together; single channels among them stay.

    Args:
        follower: it.
        pieces: labels of the pieces.
        side_by_side: whether the channels of one unit lie side by side; otherwise, one of each unit follow one another.
    """
    for piece in pieces:
        if len(piece) == 1:
            follower.freeze({0: piece}, "a single channel that is split off")
    several = [piece for piece in pieces if len(piece) > 1]
    units = math.gcd(*map(len, several))
    if units == 1:
        for piece in several:
            follower.freeze({0: piece}, f"split into {', '.join(str(len(each)) for each in pieces)} channels")
        return
    grids = [piece.reshape(units, -1) if side_by_side else piece.reshape(-1, units).T for piece in several]
    for grid in grids:
        follower.store.tie(grid, grids[0][:, :1])


@rule("unbind", "select")
def picking(follower: Follower, done: Dispatched) -> list[Axes]:
    """Leave out an axis; channels along it are picked by number and freeze."""
    tensor = done.args[0]
    dim = (done.args[1] if len(done.args) > 1 else done.kwargs.get("dim", 0)) % tensor.ndim
    axes = dict(follower.axes(tensor))
    if (labels := axes.pop(dim, None)) is not None:
        follower.freeze({0: labels}, "channels picked by number")
    return [{axis - (axis > dim): each for axis, each in axes.items()}] * len(done.results)


@rule("slice", "narrow")
def slicing(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep the labels of what is left; the trial of smaller networks tells whether the code follows them."""
    tensor, result = done.args[0], done.results[0]
    dim, start, _, step = [*done.args[1:5], *_SLICE[len(done.args) - 1 :]]
    axes = dict(follower.axes(tensor))
    labels = axes.get(dim % tensor.ndim)
    if labels is not None and result.shape[dim] < tensor.shape[dim]:
        if step != 1:
            follower.freeze({0: axes.pop(dim % tensor.ndim)}, "every second channel or so")
        else:
            start = (start or 0) % tensor.shape[dim]
            axes[dim % tensor.ndim] = labels[start : start + result.shape[dim]]
    return [axes]


_SLICE: tuple[Any, ...] = (0, None, None, 1)  # what a slice has if nothing is said: axis, start, end and step


@rule("pixel_shuffle")
def pixel_shuffle(follower: Follower, done: Dispatched) -> list[Axes]:
    """Let the channels that become the places around one place be one unit."""
    axes = dict(follower.axes(done.args[0]))
    if 1 in axes and done.args[0].ndim == 4:
        grid = axes[1].reshape(done.results[0].shape[1], -1)
        follower.store.tie(grid, grid[:, :1])
        axes[1] = grid[:, 0]
        return [axes]
    return unknown(follower, done)


@rule("pixel_unshuffle")
def pixel_unshuffle(follower: Follower, done: Dispatched) -> list[Axes]:
    """Repeat the label of a channel for every place that becomes one."""
    axes = dict(follower.axes(done.args[0]))
    if 1 in axes and done.args[0].ndim == 4:
        axes[1] = np.repeat(axes[1], done.args[1] ** 2)
    return [axes]


@rule("glu")
def gating(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie the two halves of the channels."""
    tensor = done.args[0]
    dim = (done.args[1] if len(done.args) > 1 else -1) % tensor.ndim
    axes = dict(follower.axes(tensor))
    if dim in axes:
        values, gates = np.split(axes[dim], 2)
        follower.store.tie(values, gates)
        axes[dim] = values
    return [axes]


@rule("index", "index_select", "embedding", "gather")
def indexing(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep the labels of axes that are not indexed; those of indexed ones freeze."""
    if done.name == "gather":
        return unknown(follower, done)
    tensor = done.args[0]
    where: list[Tensor | None] = [None] * tensor.ndim
    if done.name == "index":
        where[: len(done.args[1])] = done.args[1]
    elif done.name == "embedding":
        where[0] = done.args[1]
    else:
        where[done.args[1] % tensor.ndim] = done.args[2]
    indexed = [axis for axis, index in enumerate(where) if index is not None]
    axes = follower.axes(tensor)
    for axis in indexed:
        if axis in axes:
            follower.freeze({0: axes[axis]}, "channels picked by number")
    if indexed != [*range(indexed[0], indexed[-1] + 1)] or any(where[axis].dtype == torch.bool for axis in indexed):  # type: ignore[union-attr]
        return unknown(follower, done)
    added = done.results[0].ndim - (tensor.ndim - len(indexed)) - len(indexed)
    kept = [axis for axis in axes if axis not in indexed]
    return [{axis + (added if axis > indexed[0] else 0): axes[axis] for axis in kept}]


@rule("avg_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_nearest2d")
@rule("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "mean_pool2d")
@rule("reflection_pad2d", "replication_pad2d", "adaptive_avg_pool2d", "max_pool2d", "avg_pool1d", "upsample_linear1d")
def over_places(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep the labels of examples and channels, which come before the places of a map."""
    axes = {axis: labels for axis, labels in follower.axes(done.args[0]).items() if axis < done.args[0].ndim - 2}
    return [axes] * len(done.results)


@rule("constant_pad_nd")
def padding(follower: Follower, done: Dispatched) -> list[Axes]:
    """Keep labels; those along an axis that grows freeze."""
    tensor, result = done.args[0], done.results[0]
    axes = dict(follower.axes(tensor))
    for axis in [axis for axis in axes if tensor.shape[axis] != result.shape[axis]]:
        follower.freeze({0: axes.pop(axis)}, "padding of channels")
    return [axes]
