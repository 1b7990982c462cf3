"""What the kinds of compact models have in common: weights by rule, imported the way a user imports them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.importing.checkpoints import LoadedTensor
from nasvit.importing.conversion import convert, find_misfit
from nasvit.importing.releases import Release
from tests.parity import streams
from tests.parity.rows import Comparison

TOLERANCE = 1e-8
Layout = Mapping[str, tuple[int, ...]]


def read_layout(rows: Iterable[Any]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a case file's layout, in its order."""
    return {name: tuple(shape) for name, shape, *_ in rows}


def weights(content: Mapping[str, Any], layout: Layout) -> dict[str, Tensor]:
    """Return the tensors of a layout, filled by rule."""
    return {name: streams.compact_tensor(name, shape, content["gain"]) for name, shape in layout.items()}


def load(
    release: Release, tensors: Mapping[str, Tensor], classes: int, dtype: torch.dtype = torch.float64
) -> nn.Module:
    """Import released tensors into a new network of ours.

    Raises:
        LayoutError: if names or shapes do not fit.
    """
    converted = convert(release, {name: LoadedTensor(tensor) for name, tensor in tensors.items()})
    network = release.build(classes)
    network.load_state_dict(converted.state)
    network.to(dtype)
    return network.eval()


def check_layout(comparison: Comparison, release: Release, layout: Layout, classes: int) -> None:
    """Compare every released name and shape with those that our network has a place for."""
    with torch.device("meta"):
        entries = list(release.entries(release.build(classes)))
    misfit = find_misfit(release, entries, layout)
    comparison.exact(f"layout ({misfit})" if misfit else "layout", misfit is None, True)


def sha256(tensors: Mapping[str, Tensor], layout: Layout) -> str:
    """Return the checksum of tensors in a layout's order, as the rule file defines it."""
    digest = hashlib.sha256()
    for name in layout:
        tensor = tensors[name].detach()
        digest.update(f"{name}|{'x'.join(map(str, tensor.shape))}|".encode())
        tensor = tensor if tensor.dtype == torch.int64 else tensor.float()
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def images(given: Mapping[str, Any]) -> Tensor:
    """Return the batch of ``{"tag": ..., "shape": ...}``."""
    return streams.compact_input(given["tag"], given["shape"])


def released_names(release: Release, network: nn.Module) -> dict[str, str]:
    """Return the released name of every tensor of ours."""
    return {entry.ours: entry.released for entry in release.entries(network)}


def gradients(release: Release, network: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by released names."""
    names = released_names(release, network)
    return {names[name]: p.grad for name, p in network.named_parameters() if p.grad is not None}


def compare_picks(comparison: Comparison, found: Mapping[str, Tensor], picks: Mapping[str, Any]) -> None:
    """Compare some gradients: norm, sum, first four numbers."""
    for name, expected in picks.items():
        gradient = found[name]
        comparison.values(f"{name} l2", gradient.norm(), expected["l2"])
        comparison.total(f"{name} sum", gradient.sum(), expected["sum"], expected["l2"])
        comparison.values(f"{name} first", gradient.flatten()[: len(expected["first4"])], expected["first4"])
