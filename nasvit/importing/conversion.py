"""Conversion of released tensors to our state dicts: every name and shape is checked first."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasvit.importing.checkpoints import Tensors
from nasvit.importing.pickles import CheckpointError
from nasvit.importing.releases import Release, ReleasedTensor

_SHOWN = 12


class LayoutError(CheckpointError):
    """Tensors that do not fit the layout of a release.

    Args:
        title: title of the release.
        missing: released names that are not there.
        unexpected: names that the release does not have.
        misshapen: names with the shape found and the shape needed.
        hint: a guess at what the file is instead.
    """

    def __init__(
        self,
        title: str,
        missing: Sequence[str],
        unexpected: Sequence[str],
        misshapen: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
        hint: str = "",
    ) -> None:
        self.missing, self.unexpected, self.misshapen = list(missing), list(unexpected), list(misshapen)
        shapes = [f"{name}: {_size(found)} instead of {_size(needed)}" for name, found, needed in misshapen]
        kinds = (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", shapes))
        lines = [_listing(kind, names) for kind, names in kinds if names]
        super().__init__("\n".join([f"the weights do not fit {title}{hint}", *lines]))


@dataclass(frozen=True)
class Converted:
    """Weights with our names.

    Args:
        classes: number of classes of the classifier.
        state: our state dict.
        unused: released names that the release stores but never computes with.
        resized: our names of position tables that were resized from another window.
    """

    classes: int
    state: dict[str, Tensor]
    unused: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)


@functools.lru_cache(maxsize=64)
def layout(release: Release, classes: int) -> tuple[tuple[ReleasedTensor, ...], dict[str, Tensor]]:
    """Return the tensors of a release, and our state dict without values."""
    with torch.device("meta"):
        network = release.build(classes)
    return tuple(release.entries(network)), network.state_dict()


def convert(release: Release, tensors: Tensors) -> Converted:
    """Convert released tensors to our names and shapes.

    Raises:
        LayoutError: listing everything that is missing, unexpected or of the wrong shape.
        CheckpointError: listing what cannot be computed with; see :func:`check_usable`.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    classes = release.classes(shapes)
    entries, ours = layout(release, classes)
    misfit = find_misfit(release, entries, shapes)
    if misfit is not None:
        raise misfit
    unused = [name for name in tensors if release.is_unused(name)]
    converted = Converted(classes, {}, unused)
    for entry in entries:
        converted.state[entry.ours] = _convert(entry, tensors, converted).reshape(ours[entry.ours].shape)
    released = {entry.ours: entry.released for entry in entries}
    check_usable({released[name]: (tensor, ours[name]) for name, tensor in converted.state.items()})
    return converted


def check_usable(tensors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Refuse weights that no network computes with, although their names and shapes fit.

    Args:
        tensors: tensors by name, each with the one of the network that it is for.

    Raises:
        CheckpointError: listing tensors that are not of floating-point numbers where the network's are, those with
            numbers that are not finite, and variances below 0.
    """
    found: dict[str, list[str]] = {}
    for name, (tensor, wanted) in tensors.items():
        reason = _objection(name, tensor, wanted)
        if reason:
            found.setdefault(reason, []).append(name)
    if found:
        lines = [_listing(reason, names) for reason, names in found.items()]
        raise CheckpointError("\n".join(["the weights have the right names and shapes, but cannot be used", *lines]))


def _objection(name: str, tensor: Tensor, wanted: Tensor) -> str | None:
    if not wanted.is_floating_point():
        return None
    if not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')}, not of floating-point numbers"
    if tensor.is_meta:
        return None  # it has no values
    if not bool(torch.isfinite(tensor.float()).all()):
        return "with NaN or infinite numbers"
    return "of variances below 0" if name.endswith("running_var") and bool((tensor < 0).any()) else None


def find_misfit(
    release: Release, entries: Sequence[ReleasedTensor], shapes: Mapping[str, tuple[int, ...]], hint: str = ""
) -> LayoutError | None:
    """Compare names and shapes with a release's layout; return the error to raise, or None."""
    known = {entry.released for entry in entries}
    missing = [entry.released for entry in entries if entry.released not in shapes]
    unexpected = [name for name in shapes if name not in known and not release.is_unused(name)]
    misshapen = [
        (entry.released, shapes[entry.released], entry.shape)
        for entry in entries
        if entry.released in shapes and not _fits(entry, shapes[entry.released])
    ]
    if missing or unexpected or misshapen:
        return LayoutError(release.title, missing, unexpected, misshapen, hint)
    return None


def _fits(entry: ReleasedTensor, shape: tuple[int, ...]) -> bool:
    if shape == entry.shape:
        return True
    return entry.resize is not None and entry.resize(torch.zeros(shape), entry.shape) is not None


def _convert(entry: ReleasedTensor, tensors: Tensors, converted: Converted) -> Tensor:
    tensor = tensors[entry.released].load()
    if tuple(tensor.shape) == entry.shape:
        return tensor if entry.rows is None else tensor[: entry.rows]
    assert entry.resize is not None
    resized = entry.resize(tensor, entry.shape)
    assert resized is not None
    converted.resized.append(entry.ours)
    return resized


def _listing(kind: str, names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"  {len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
