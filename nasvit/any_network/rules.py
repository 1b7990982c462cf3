"""What every operation of PyTorch does with the channels of its tensors.

A rule gets the operation as it was dispatched, ties or freezes labels, and returns the labels of what came out. An
operation without a rule freezes all that goes in, and the reason names it. Operations that PyTorch calls pointwise have
the rule of elementwise ones. A rule of your own replaces one of these, or adds one for an operation of your library:

    @rule("my_norm")                       # the name of torch.ops.mine.my_norm, as the reason says it
    def my_norm(follower, done):
        image, gain = done.args[:2]
        labels = join(follower, [follower.axes(image).get(1), follower.axes(gain).get(0)], done.name)
        return [follower.axes(image)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nasvit.any_network.followed import Axes
from nasvit.any_network.following import Dispatched, Follower, Rule
from nasvit.any_network.labels import Labels
from nasvit.any_network.refusals import LooksAtNumbers

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


@rule("hardswish_", "hardswish", "hardtanh", "prelu", "rsub", "copy_", "fill_", "masked_fill", "bernoulli_")
@rule("_prelu_kernel")
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


@rule("_local_scalar_dense", "nonzero", "masked_select", "equal")
def looks_at_numbers(follower: Follower, done: Dispatched) -> list[Axes]:
    """Refuse code whose doing, or the shapes of whose tensors, may depend on the image.

    Raises:
        LooksAtNumbers: always.
    """
    raise LooksAtNumbers(
        f"{follower.path[-1] or 'the network itself'} looks at the numbers of a tensor ({done.name}), so that what it "
        "does may depend on the image; let its code depend on shapes alone"
    )


@rule("arange", "scalar_tensor", "eye", "linspace", "sym_size", "prim_layout")
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
