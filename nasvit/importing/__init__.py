"""Import of released checkpoints: their names and formats are converted, and nothing in a file is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nasvit.export.card import Card
from nasvit.export.saved import Described
from nasvit.export.switchable import deploy, spec_of_widths
from nasvit.files.whole import whole
from nasvit.importing.checkpoints import LoadedTensor, Tensors, Weights, plain_name, read_weights
from nasvit.importing.conversion import Converted, LayoutError, convert, find_misfit, layout
from nasvit.importing.pickles import CheckpointError
from nasvit.importing.releases import Release
from nasvit.importing.sources import SOURCES, release_of
from nasvit.names import architecture_of
from nasvit.specs import PlannedSpec, Spec, SubnetSpec
from nasvit.supernets import AugmentedNetwork, SlimmableNetwork, Supernet
from nasvit.supernets.slimmable import Width

__all__ = [
    "SOURCES",
    "CheckpointError",
    "ImportReport",
    "LayoutError",
    "describe_imported",
    "import_checkpoint",
    "import_tensors",
    "is_imported",
    "load_imported",
    "released_layout",
]

_METADATA = "nasvit"


@dataclass(frozen=True)
class ImportReport:
    """Report of an import.

    Args:
        source: name of the release.
        checkpoint: the file that was read.
        out: the file that was written.
        part: key of the weights in the checkpoint, such as ``model_ema``.
        classes: classes of the classifier.
        tensors: number of tensors written.
        numbers: number of values in them.
        unused: released tensors that the release never computes with, left out.
        resized: position tables that were resized from another window.
    """

    source: str
    checkpoint: Path
    out: Path
    part: str
    classes: int
    tensors: int
    numbers: int
    unused: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        part = f" (its {self.part})" if self.part else ""
        lines = [
            f"imported {self.checkpoint}{part} as {self.source}: "
            f"{self.tensors} tensors, {self.numbers:,} numbers, {self.classes} classes -> {self.out}"
        ]
        if self.unused:
            lines.append(f"left out {len(self.unused)} tensors that the release stores and never computes with")
        if self.resized:
            lines.append(f"resized {len(self.resized)} position tables: {', '.join(self.resized)}")
        return "\n".join(lines)


def import_checkpoint(source: str, checkpoint: Path, out: Path) -> ImportReport:
    """Read a released checkpoint and write it as a safetensors file with our names.

    Nothing in the file is executed. Every tensor's name and shape is checked against the release's layout first.

    Args:
        source: name of the release, one of :data:`SOURCES`.
        checkpoint: a file of ``torch.save`` (today's or the old format) or of safetensors. Averaged weights
            (``model_ema``) are preferred.
        out: the file to write.

    Raises:
        ValueError: if the source is unknown.
        CheckpointError: if the file is damaged or would run code, its weights cannot be computed with, or ``out`` is
            the file itself.
        LayoutError: if the weights do not fit; it lists what is missing, unexpected or of the wrong shape.
    """
    release = release_of(source)
    if Path(checkpoint).exists() and Path(out).exists() and Path(out).samefile(checkpoint):
        raise CheckpointError(f"{out} is the checkpoint itself, which would be overwritten; give another name")
    weights = read_weights(Path(checkpoint), released_layout(source))
    converted = _convert_or_guess(release, weights.tensors)
    metadata = {_METADATA: json.dumps({"source": source, "classes": converted.classes})}
    with whole(Path(out)) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in converted.state.items()}, temporary, metadata)
    return _report(source, Path(checkpoint), Path(out), weights, converted)


def import_tensors(source: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a release from released tensors in memory.

    Args:
        source: name of the release, one of :data:`SOURCES`.
        tensors: the release's state dict.

    Returns:
        The network with these weights, float32, with stored batch-norm statistics, in evaluation mode.

    Raises:
        LayoutError: if the tensors do not fit.
    """
    release = release_of(source)
    named = {plain_name(name): LoadedTensor(tensor) for name, tensor in tensors.items()}
    converted = _convert_or_guess(release, named)
    return _network(release, converted.classes, converted.state)


def load_imported(path: Path) -> nn.Module:
    """Build the network of a file that :func:`import_checkpoint` wrote.

    Raises:
        ValueError: if another program wrote the file.
    """
    about = _about(path)
    state = {name: tensor.clone() for name, tensor in load_file(path).items()}  # no longer views of the file
    return _network(release_of(about["source"]), about["classes"], state)


def describe_imported(path: Path, which: str = "") -> Described:
    """Return a plain network of a file that :func:`import_checkpoint` wrote, with its card.

    Args:
        path: the file.
        which: the subnet of a network with shared weights: an architecture's name (see
            :func:`nasvit.names.architecture_of`) or a width; of a slimmable one empty for all widths in one
            object, of an augmented one empty for the tiny network.

    Raises:
        ValueError: if another program wrote the file, or it holds no such subnet.
    """
    about, shared = _about(path), load_imported(path)
    release = release_of(about["source"])
    network: nn.Module = shared
    spec: Spec | None = release.spec
    if isinstance(shared, Supernet):
        if not which:
            raise ValueError(f"{path} holds a supernet; say which subnet: {path}:largest, {path}:ARCHITECTURE.json")
        spec = SubnetSpec(shared.space, architecture_of(shared.space, which))
        network = shared.extract(spec.architecture)
    elif isinstance(shared, SlimmableNetwork):
        width = _width_of(path, shared, which) if which else None
        network = deploy(shared) if width is None else shared.extract(width)
        spec = spec_of_widths(shared, shared.widths)
        spec = spec if width is None else PlannedSpec(shared.fixed_family, shared.plan(width))
    elif isinstance(shared, AugmentedNetwork) and not which:
        network, spec = shared.extract(), PlannedSpec(shared.family, shared.base)
    elif which:
        raise ValueError(f"{path} holds one plain network ({release.title}), without {which!r} in it")
    assert spec is not None, "every plain release says what its network is"
    origin = {"weights": f"imported from {release.title}"}
    return Described(network.eval(), Card(spec, tuple(map(str, range(about["classes"]))), origin=origin))


def _width_of(path: Path, shared: SlimmableNetwork, which: str) -> Width:
    ends = {"smallest": shared.widths[0], "largest": shared.widths[-1]}
    try:
        width = ends[which] if which in ends else float(which)
        shared.plan(width)
    except ValueError as error:
        raise ValueError(
            f"{path} does not run at {which!r}; legal: smallest, largest, {', '.join(map(str, shared.widths))}"
        ) from error
    return width


def is_imported(path: Path) -> bool:
    """Return whether :func:`import_checkpoint` wrote a safetensors file.

    Raises:
        ValueError: if it is no whole safetensors file.
    """
    return _metadata(path) is not None


def _metadata(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(_METADATA)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error


def _about(path: Path) -> dict[str, Any]:
    """Return the metadata of an imported file: source and number of classes."""
    metadata = _metadata(path)
    if metadata is None:
        raise ValueError(f"{path} was not written by nasvit import; import the checkpoint first")
    try:
        about: dict[str, Any] = json.loads(metadata)
        release_of(about["source"])
        assert about["classes"] > 0
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata are not those that nasvit import writes: {error}") from error
    return about


def released_layout(source: str, classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors that a release computes with.

    Raises:
        ValueError: if the source is unknown.
    """
    return {entry.released: entry.shape for entry in layout(release_of(source), classes)[0]}


def _network(release: Release, classes: int, state: Mapping[str, Tensor]) -> nn.Module:
    with torch.device("meta"):
        network = release.build(classes)
    try:
        network.load_state_dict(dict(state), strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"these are not the weights of {release.title} with {classes} classes: {error}") from error
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()


def _convert_or_guess(release: Release, tensors: Tensors) -> Converted:
    """Convert released tensors; an error names the release that they fit instead, if there is one."""
    try:
        return convert(release, tensors)
    except LayoutError as error:
        hint = _other_source(release, tensors)
        raise LayoutError(release.title, error.missing, error.unexpected, error.misshapen, hint) from None


def _other_source(release: Release, tensors: Tensors) -> str:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for source, other in SOURCES.items():
        if other is not release:
            entries, _ = layout(other, other.classes(shapes))
            if find_misfit(other, entries, shapes) is None:
                return f"; they are of another release and fit {source!r}"
    return ""


def _report(source: str, checkpoint: Path, out: Path, weights: Weights, converted: Converted) -> ImportReport:
    return ImportReport(
        source=source,
        checkpoint=checkpoint,
        out=out,
        part=weights.part,
        classes=converted.classes,
        tensors=len(converted.state),
        numbers=sum(tensor.numel() for tensor in converted.state.values()),
        unused=tuple(converted.unused),
        resized=tuple(converted.resized),
    )
