"""What a card says, in words: the names and numbers that pages and model cards show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from nasvit.data.annotated import BOX_SOURCES, MASKS
from nasvit.export.card import Card
from nasvit.specs import (
    CodeSpec,
    DenseSpec,
    DenseWidthsSpec,
    ElasticSpec,
    FBNetV3Spec,
    GhostNetSpec,
    PlannedSpec,
    Spec,
    SubnetSpec,
    SwitchableSpec,
    TimmSpec,
    TorchvisionSpec,
)


def name_of(spec: Spec) -> str:
    """Return what people call a network."""
    if isinstance(spec, SubnetSpec):
        return f"subnet of {spec.space.name.removesuffix(f'-{spec.architecture.key}')}"
    if isinstance(spec, ElasticSpec):
        return f"subnet of {name_of(spec.base)}"
    if isinstance(spec, PlannedSpec):
        return _planned(spec)
    if isinstance(spec, (DenseSpec, DenseWidthsSpec)):
        return f"{spec.head.kind} on {name_of(spec.base)}"
    if isinstance(spec, SwitchableSpec):
        return spec.family.name
    if isinstance(spec, GhostNetSpec):
        return f"ghostnet_v3-{spec.width:g}"
    if isinstance(spec, FBNetV3Spec):
        return f"fbnetv3_{spec.design}"
    if isinstance(spec, (TimmSpec, TorchvisionSpec)):
        return f"{spec.model} of {spec.kind}"
    return spec.function if isinstance(spec, CodeSpec) else spec.kind


def _planned(spec: PlannedSpec) -> str:
    """Return the name of a network of a family, with its width unless that is 1."""
    width = spec.family.width_of(spec.plan)
    if width is None:
        return f"{spec.family.name} with channels of its own"
    return spec.family.name if width == 1 else f"{spec.family.name}-{width:g}"


def source_of(card: Card) -> str | None:
    """Return what images a network was trained on; of a folder only its name, since the rest tells of a machine."""
    source = card.origin.get("config", {}).get("data", {}).get("source")
    return None if source is None else without_folders(str(source))


def without_folders(value: Any) -> Any:
    """Return plain JSON values in which paths that begin at a root are their last part only."""
    if isinstance(value, Mapping):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(each) for each in value]
    if not isinstance(value, str):
        return value
    kind, colon, rest = value.partition(":")
    if kind in (*BOX_SOURCES, MASKS):
        return f"{kind}{colon}{without_folders(rest)}"
    return next((path(value).name for path in (PurePosixPath, PureWindowsPath) if path(value).is_absolute()), value)


def files_at(card: Card, saved: Path, width: float | None, *formats: str) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the exported files that are there, by name.

    Anybody may have written a card, so entries with names that lead out of the folder are left out.

    Args:
        card: card of a saved network.
        saved: its folder.
        width: width of a network with several.
        formats: names of formats; none: of any.
    """
    return {
        name: entry
        for name, entry in card.exports.items()
        if entry.get("width") == width  # which an earlier version did not write
        and (not formats or entry["format"] in formats)
        and all(map(_is_plain, (name, entry["file"], *entry["files"])))
        and all(_is_inside(saved / file, saved) for file in (name, *entry["files"]))
    }


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether a file is there, and no link to one elsewhere; the cache of a hub links to its own blobs."""
    places = (folder.resolve(), *(above / "blobs" for above in folder.resolve().parents[1:2]))
    return path.is_file() and any(map(path.resolve().is_relative_to, places))


def _is_plain(name: str) -> bool:
    """Return whether a name is that of a file in a folder, on every system, and leads nowhere else."""
    return name not in ("", "..") and all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))


def size_of(entry: Mapping[str, Any]) -> str:
    """Return the size of an exported file in words."""
    return f"{entry['bytes'] / 1e3:,.0f} kB" if entry["bytes"] < 1e6 else f"{entry['bytes'] / 1e6:,.1f} MB"


def accuracy_of(entry: Mapping[str, Any], metric: str = "accuracy") -> str:
    """Return the accuracy of an exported file in percent, or another metric; empty if it was not measured."""
    accuracy = entry["parity"][metric]
    return "" if accuracy is None else f"{accuracy:.2%}"


def compared(entry: Mapping[str, Any]) -> str:
    """Return what images an exported file was compared with the network on."""
    images = entry["parity"]["images"]
    if entry["compared_on"] == "noise":
        return f"{images} images of noise, since no others were given"
    return f"{images} test images of {without_folders(entry['compared_on'])}"
