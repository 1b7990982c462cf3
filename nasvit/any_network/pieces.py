"""Rules of the operations that put tensors together, take them apart, and pick positions of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasvit.any_network.followed import Axes, Split
from nasvit.any_network.following import Dispatched, Follower
from nasvit.any_network.labels import Labels
from nasvit.any_network.rules import join, met, rule, unknown


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
