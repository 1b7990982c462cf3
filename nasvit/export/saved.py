"""Saved networks: one folder with the weights, and a card that is enough to build the network again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from nasvit.branches import fuse, reparameterize
from nasvit.export.card import CARD, Card, is_card, remove_card
from nasvit.export.program import PROGRAM, check_complete, export_program, on_processor
from nasvit.export.switchable import SwitchableModel
from nasvit.heads.dense import DenseNetwork
from nasvit.layers.reparameterized import has_branches
from nasvit.specs import WidthsSpec

WEIGHTS, HUB_WEIGHTS = "network.safetensors", "model.safetensors"
"""The file of the weights, and its name where a network is shared on a hub."""

_LONGEST = 300  # characters of what is said of damaged weights
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Described(NamedTuple):
    """A network with its card."""

    network: nn.Module
    card: Card


def save_network(
    network: nn.Module,
    folder: Path,
    card: Card,
    *,
    program: bool = False,
    shape: tuple[int, int, int] | None = None,
) -> None:
    """Save a plain network, or a switchable one, with its card.

    Args:
        network: the network; it must own its weights, and its batch norms must have statistics.
        folder: folder to write, created if missing.
        card: card of the network.
        program: also write a ``torch.export`` program that takes pixels from 0 to 1 and needs PyTorch alone; of a
            switchable network one for each width.
        shape: of one image that the program takes; the card's, a square, if left out.

    Raises:
        ValueError: if the network still shares its weights with a supernet, or its batch norms have no statistics.
    """
    check_complete(network)
    network = on_processor(network)
    folder.mkdir(parents=True, exist_ok=True)
    remove_card(folder)  # with files of another network; the new one is written last: who finds it finds everything
    if program:
        plain = {PROGRAM: network}
        if isinstance(network, SwitchableModel):
            plain = {f"program-{number}.pt2": network.export(width) for number, width in enumerate(network.widths)}
        for name, each in plain.items():
            export_program(each, folder / name, shape=shape or card.shape, mean=card.mean, deviation=card.deviation)
    save_model(network.shared if isinstance(network, SwitchableModel) else network, str(folder / WEIGHTS))
    card.write(folder)


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds a saved network."""
    return is_card(folder)


def load_network(folder: Path | str) -> nn.Module:
    """Load a network that :func:`save_network` saved, in evaluation mode; see :func:`load_saved`."""
    return load_saved(folder).network


def load_saved(folder: Path | str) -> Described:
    """Load a network that :func:`save_network` saved, in evaluation mode, with its card; also as a hub has it.

    Raises:
        FileNotFoundError: if the folder holds no saved network.
        ValueError: if a later version of nasvit saved it, or the weights do not fit its card.
    """
    folder = Path(folder)
    weights = next((folder / name for name in (WEIGHTS, HUB_WEIGHTS) if (folder / name).exists()), None)
    missing = [*([] if weights else [WEIGHTS]), *([] if is_card(folder) else [CARD])]
    if weights is None or missing:
        raise FileNotFoundError(f"{folder} holds no saved network: {', '.join(missing)} missing")
    card = Card.read(folder)
    try:
        return Described(_loaded(card, weights), card)
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, SafetensorError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        raise ValueError(
            f"{folder} is damaged: {weights.name} does not hold the network that {CARD} describes: {told}"
        ) from error


def _loaded(card: Card, weights: Path) -> nn.Module:
    """Return the network of a card with the weights of a file."""
    dtype = _dtype(weights)
    if isinstance(card.spec, WidthsSpec):
        shared = card.spec.empty(len(card.classes)).to(dtype)
        load_model(shared, str(weights))
        return SwitchableModel(shared)
    network = card.spec.build(len(card.classes)).eval()
    network = (with_fused_structure(network) if card.fused else network).to(dtype)
    load_model(network, str(weights))
    return network.eval()


def _dtype(weights: Path) -> torch.dtype:
    """Return the data type of the floating-point weights of a file."""
    with safe_open(weights, "pt") as file:
        kinds = [file.get_slice(name).get_dtype() for name in file.keys()]
    return next((_DTYPES[kind] for kind in kinds if kind in _DTYPES), torch.float32)


def with_fused_structure(network: nn.Module) -> nn.Module:
    """Return a network with the structure after fusion of branches, whatever the branches were.

    Of a detector or segmenter the backbone had them.
    """
    if isinstance(network, DenseNetwork):
        network.backbone = with_fused_structure(network.backbone)
        return network
    return fuse(network if has_branches(network) else reparameterize(network, 1, scale=False, identity=False))
