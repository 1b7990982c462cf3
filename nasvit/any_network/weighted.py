"""Rules of the operations with weights: convolutions, matrix products and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from nasvit.any_network.following import Axes, Dispatched, Follower, Product
from nasvit.any_network.labels import Labels
from nasvit.any_network.rules import join, met, rule, unknown


@rule("convolution", "_convolution", "cudnn_convolution")
def convolution(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie what is read to the weight's input channels; its output channels are new."""
    image, weight, bias = done.args[:3]
    if done.args[6]:
        return _transposed(follower, done)
    groups = done.args[8]
    given, held = follower.axes(image).get(1), follower.axes(weight)
    written = held.get(0)
    kernel = {axis: labels for axis, labels in held.items() if axis > 1}
    follower.freeze(kernel, "the kernel's side")
    if groups == 1:
        factors = [join(follower, [given, held.get(1)] if image.shape[1] > 1 else [], done.name)]
    else:
        factors = []
        _in_groups(follower, groups, given, written, held.get(1))
    if bias is not None and written is not None:
        join(follower, [written, follower.axes(bias).get(0)], done.name)
    axes: Axes = {} if written is None else {1: written}
    follower.note_made(written, factors[0] if factors else None)
    _count(follower, done.results[0], axes, weight.shape[1:], factors, follower.name(weight))
    return [axes]


def _in_groups(
    follower: Follower, groups: int, given: Labels | None, written: Labels | None, inner: Labels | None
) -> None:
    """Let each group of a grouped convolution be one unit, from what it reads to what it writes."""
    if inner is not None:
        follower.freeze({1: inner}, "channels inside the groups of a convolution")
    if given is None or written is None:
        known = {0: each for each in (given, written) if each is not None}
        follower.freeze(known, "a grouped convolution with something of fixed size")
        return
    reads, writes = given.reshape(groups, -1), written.reshape(groups, -1)
    follower.store.tie(reads, reads[:, :1])
    follower.store.tie(writes, reads[:, :1])


def _transposed(follower: Follower, done: Dispatched) -> list[Axes]:
    image, weight, bias = done.args[:3]
    if done.args[8] != 1:
        return unknown(follower, done)
    held = follower.axes(weight)
    follower.freeze({axis: labels for axis, labels in held.items() if axis > 1}, "the kernel's side")
    read = join(follower, [follower.axes(image).get(1), held.get(0)], done.name)
    written = held.get(1)
    if bias is not None and written is not None:
        join(follower, [written, follower.axes(bias).get(0)], done.name)
    follower.note_made(written, read)
    axes: Axes = {} if written is None else {1: written}
    _count(follower, image, {1: read} if read is not None else {}, (weight.shape[1], *weight.shape[2:]), [written])
    return [axes]


def _count(
    follower: Follower,
    places: Tensor,
    axes: Axes,
    times: Sequence[int],
    factors: Sequence[Labels | None],
    weight: str = "",
) -> None:
    """Note the multiply-adds of a convolution: numbers of a tensor, times what each takes."""
    labels = [*axes.values(), *(each for each in factors if each is not None)]
    whole = places.numel() * math.prod(times)
    follower.macs = Product(whole // math.prod(map(len, labels)), tuple(labels), weight)


@rule("mm", "addmm", "bmm", "baddbmm")
def product(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie what is summed over; the outer axes stay."""
    *bias, left, right = done.args[: 3 if done.name in ("addmm", "baddbmm") else 2]
    first, second = follower.axes(left), follower.axes(right)
    rows, columns = left.ndim - 2, left.ndim - 1
    inner = [first.get(columns), second.get(rows)] if left.shape[columns] > 1 else []
    summed = join(follower, inner, "a matrix product")
    axes = {}
    if left.ndim == 3 and left.shape[0] > 1:
        axes[0] = join(follower, [first.get(0), second.get(0)], "a matrix product")
    axes |= {rows: first.get(rows), columns: second.get(columns)}
    result = {axis: labels for axis, labels in axes.items() if labels is not None}
    labels = [*result.values(), *([] if summed is None else [summed])]
    whole = done.results[0].numel() * left.shape[columns]
    follower.macs = Product(whole // math.prod(map(len, labels)), tuple(labels))
    follower.note_made(result.get(columns), summed)
    if bias and bias[0].ndim:
        _add_bias(follower, bias[0], result, done.results[0])
    return [result]


def _add_bias(follower: Follower, bias: Tensor, axes: Axes, result: Tensor) -> None:
    for axis, size in enumerate(result.shape):
        own = axis - result.ndim + bias.ndim
        if own >= 0 and bias.shape[own] == size > 1:
            join(follower, [axes.get(axis), follower.axes(bias).get(own)], "a bias")


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
@rule("_batch_norm_with_update", "batch_norm")
def batch_norm(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie channels to gains, biases and statistics."""
    image = done.args[0]
    axes = follower.axes(image)
    own = [each for each in done.args[1:5] if each is not None and each.ndim == 1]
    if image.shape[1] > 1:
        join(follower, [axes.get(1), *(follower.axes(each).get(0) for each in own)], "batch norm")
    own_axes: Axes = {0: axes[1]} if 1 in axes else {}
    statistics = [own_axes if each.shape == image.shape[1:2] else {} for each in done.results[1:]]
    return [axes, *statistics]


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie the last axes to gains and biases."""
    image, axes = done.args[0], follower.axes(done.args[0])
    own = [each for each in done.args[2:4] if isinstance(each, Tensor)]
    normalized = image.shape[image.ndim - len(done.args[1]) :]
    if own:
        met_there = met(follower, own, normalized, "layer norm")
        for axis, labels in met_there.items():
            join(follower, [axes.get(axis + image.ndim - len(normalized)), labels], "layer norm")
    return [axes, *({} for _ in done.results[1:])]


@rule("native_group_norm")
def group_norm(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie channels to gains and biases; all groups shrink alike."""
    image, axes = done.args[0], follower.axes(done.args[0])
    own = [each for each in done.args[1:3] if isinstance(each, Tensor)]
    labels = join(follower, [axes.get(1), *(follower.axes(each).get(0) for each in own)], "group norm")
    groups = done.args[6]
    if labels is not None and groups > 1:
        grid = labels.reshape(groups, -1)
        follower.store.tie(grid, grid[:1])
    return [axes, *({} for _ in done.results[1:])]


@rule("_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention")
@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_cudnn_attention")
def attention(follower: Follower, done: Dispatched) -> list[Axes]:
    """Tie the heads of queries, keys and values, and the channels of the first two."""
    query, key, value = (follower.axes(each) for each in done.args[:3])
    several = [axes.get(1) for axes, each in zip((query, key, value), done.args[:3]) if each.shape[1] > 1]
    heads = join(follower, several, "attention")
    join(follower, [query.get(3), key.get(3)], "attention")
    axes = {1: heads, 3: value.get(3)}
    result = {axis: labels for axis, labels in axes.items() if labels is not None}
    return [result, *({} for _ in done.results[1:])]

