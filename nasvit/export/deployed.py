"""Networks that :mod:`nasvit.experiment.fit` saved: named structure, weights, and what they need to know of images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from nasvit.branches.fuse import fuse
from nasvit.branches.reparameterize import reparameterize
from nasvit.export.saved import CARD, SPACE, WEIGHTS, load_network, load_structure, save_structure
from nasvit.layers.reparameterized import has_branches
from nasvit.registry import build_network
from nasvit.supernets.supernet import build
from search_spaces import Architecture, Space


def save_deployed(
    network: nn.Module,
    folder: Path,
    *,
    name: str,
    structure: tuple[Space, Architecture] | None = None,
    fused: bool,
    card: Mapping[str, Any],
) -> None:
    """Save a plain network so that :func:`load_deployed` builds it again.

    Args:
        network: what was trained, its branches fused.
        folder: made if it does not exist.
        name: see :func:`nasvit.registry.build_network`.
        structure: of a search result; it is saved too, because the files that the name tells may change.
        fused: whether convolutions had branches, and so have a bias and no batch norm now.
        card: anything that JSON holds, with the names of the ``classes`` and the ``image_channels``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # written last: who finds it finds everything
    if structure is not None:
        save_structure(folder, *structure)
    save_model(network, str(folder / WEIGHTS))
    content = {**card, "network": name, "fused": fused}
    (folder / CARD).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def is_deployed(folder: Path) -> bool:
    """Return whether a folder holds what :func:`save_deployed` wrote."""
    return (folder / CARD).exists() and "network" in json.loads((folder / CARD).read_text(encoding="utf-8"))


def load_deployed(folder: Path) -> nn.Module:
    """Load what :func:`save_deployed` saved, in evaluation mode.

    Raises:
        FileNotFoundError: if the folder holds no such network.
    """
    if not (folder / CARD).exists():
        raise FileNotFoundError(f"{folder} holds no saved network: {CARD} is missing")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    classes = len(card["classes"])
    if (folder / SPACE).exists():
        network: nn.Module = build(*load_structure(folder), classes).eval()
    else:
        network = build_network(card["network"], classes, image_channels=card["image_channels"]).eval()
    if card["fused"]:
        network = with_fused_structure(network)
    load_model(network, str(folder / WEIGHTS))
    return network.eval()


def load_saved(folder: Path) -> nn.Module:
    """Load any network that nasvit saved, by :func:`save_deployed` or :func:`nasvit.save_network`, in evaluation mode.

    Raises:
        FileNotFoundError: if the folder holds no saved network.
    """
    return load_deployed(folder) if is_deployed(folder) else load_network(folder)


def with_fused_structure(network: nn.Module) -> nn.Module:
    """Return a network of the structure that fusing branches leaves, whatever the branches were."""
    return fuse(network if has_branches(network) else reparameterize(network, 1, scale=False, identity=False))
