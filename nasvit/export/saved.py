"""Networks on disk: weights with their architecture, and programs that need PyTorch alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_model, save_model
from torch import nn

from nasvit.elastic import is_live
from nasvit.layers import BatchNorm2d, Network, Normalize
from nasvit.supernets.supernet import build
from search_spaces import Architecture, Space, load

WEIGHTS, ARCHITECTURE, SPACE, CARD, PROGRAM = (
    "network.safetensors",
    "architecture.json",
    "space.yaml",
    "card.json",
    "program.pt2",
)


def save_network(
    network: Network, folder: Path, *, space: Space, architecture: Architecture, card: Mapping[str, Any]
) -> None:
    """Save a plain network: weights, architecture, its space and a card that says where it comes from.

    Args:
        network: an extracted network; its weights must be its own.
        folder: made if it does not exist.
        space: the space that the architecture belongs to.
        architecture: what the network is.
        card: anything that JSON holds; ``classes`` are their names (numbers if left out).

    Raises:
        ValueError: if the network still shares its weights with a supernet, or its batch norms have no statistics.
    """
    _check_complete(network)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # written last: who finds it finds everything
    save_structure(folder, space, architecture)
    save_model(network, str(folder / WEIGHTS))
    head: Any = network.head
    classes = [str(number) for number in range(head.classifier.out_features)]
    full_card = {"classes": classes, **card, "resize": network.resize is not None}
    (folder / CARD).write_text(json.dumps(full_card, indent=1) + "\n", encoding="utf-8")


def save_structure(folder: Path, space: Space, architecture: Architecture) -> None:
    """Write an architecture with the part of its space that it needs."""
    content = yaml.safe_dump(_plain(asdict(space.restrict(architecture))), sort_keys=False)
    (folder / SPACE).write_text(content, encoding="utf-8")
    architecture.save(folder / ARCHITECTURE)


def load_structure(folder: Path) -> tuple[Space, Architecture]:
    """Read what :func:`save_structure` wrote."""
    return load(folder / SPACE), Architecture.load(folder / ARCHITECTURE)


def _check_complete(network: nn.Module) -> None:
    if is_live(network):
        raise ValueError("this subnet shares its weights with a supernet; save supernet.extract(architecture) instead")
    if any(isinstance(module, BatchNorm2d) and module.running_mean is None for module in network.modules()):
        raise ValueError("this network has no batch-norm statistics; call nasvit.calibrate(network, batches) first")


def load_network(folder: Path) -> Network:
    """Load what :func:`save_network` saved, in evaluation mode.

    Raises:
        FileNotFoundError: if the folder holds no saved network.
    """
    missing = [name for name in (WEIGHTS, ARCHITECTURE, SPACE, CARD) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(f"{folder} holds no saved network: {', '.join(missing)} missing")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    network = build(*load_structure(folder), len(card["classes"]))
    load_model(network, str(folder / WEIGHTS))
    if not card["resize"]:
        network.resize = None
    return network.eval()


def export_program(
    network: nn.Module,
    path: Path,
    *,
    shape: Sequence[int],
    mean: Sequence[float] = (),
    deviation: Sequence[float] = (),
) -> None:
    """Write a network as a ``torch.export`` program, which runs with PyTorch alone, at any batch size.

    Args:
        network: a calibrated or trained plain network.
        path: the file, as a rule ``program.pt2``.
        shape: of one image, such as ``(3, 32, 32)``.
        mean: of each channel; if given, the program takes pixels from 0 to 1 and normalizes them itself.
        deviation: goes with ``mean``.
    """
    parts = [Normalize(mean, deviation), network] if mean else [network]
    images = torch.rand(2, *shape)
    program = torch.export.export(
        nn.Sequential(*parts).eval(), (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
    )
    torch.export.save(program, path)


def _plain(value: Any) -> Any:
    """Tuples as lists, and nothing that is empty or None: what a space file holds."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None and entry != ()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
