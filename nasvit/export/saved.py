"""Saved networks: one folder with the weights, and a card that is enough to build the network again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from nasvit.branches import fuse, reparameterize
from nasvit.export.card import CARD, Card, is_card, remove_card, way_out
from nasvit.export.limits import Held
from nasvit.export.program import PROGRAM, check_complete, export_program, on_processor
from nasvit.export.switchable import SwitchableModel
from nasvit.files.whole import sha256_of, whole
from nasvit.heads.dense import DenseNetwork
from nasvit.layers.reparameterized import has_branches
from nasvit.specs import WidthsSpec, functions_of
from nasvit.supernets.widths import Slimmable, names_of
from nasvit.trust import name as name_as_trusted

WEIGHTS, HUB_WEIGHTS = "network.safetensors", "model.safetensors"
"""The file of the weights, and its name where a network is shared on a hub."""

_LONGEST = 300  # characters of what is said of weights that do not fit
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Described(NamedTuple):
    """A network with its card."""

    network: nn.Module
    card: Card


def save_network(
    network: nn.Module,
    folder: Path | str,
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
    network, folder = on_processor(network), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_card(folder)  # with files of another network; the new one is written last: who finds it finds everything
    programs = _programs(network) if program else {}
    for name, each in programs.items():
        with whole(folder / name) as file:
            export_program(each, file, shape=shape or card.shape, mean=card.mean, deviation=card.deviation)
    with whole(folder / WEIGHTS) as file:
        save_model(network.shared if isinstance(network, SwitchableModel) else network, str(file))
    replace(card, weights=sha256_of(folder / WEIGHTS)).write(folder)


def _programs(network: nn.Module) -> dict[str, nn.Module]:
    """Return the networks that programs are written of, by the names of these."""
    if isinstance(network, SwitchableModel):
        return {f"program-{number}.pt2": network.export(width) for number, width in enumerate(network.widths)}
    return {PROGRAM: network}


def one_width(described: Described, name: float, where: str) -> Described:
    """Return one width of a network that runs at several as a network by itself, with its card.

    Args:
        described: the network.
        name: the width; of several that AutoSlim found, its number, from 1.
        where: name of the network, for messages.

    Raises:
        ValueError: if there is no such width.
    """
    network, card = described
    if not isinstance(network, SwitchableModel):
        raise ValueError(f"{where} has one width only")
    widths = names_of(network.widths)
    if name not in widths:
        raise ValueError(f"{where} has no width {name:g}; it has {', '.join(f'{each:g}' for each in widths)}")
    plain = network.export(widths[name]).eval()
    assert isinstance(card.spec, WidthsSpec)
    return Described(plain, replace(card, spec=card.spec.plain(widths[name]), exports={}, bundles={}, weights=""))


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds a saved network."""
    return is_card(folder)


def load_network(folder: Path | str, *, trust: bool = False) -> nn.Module:
    """Load a network that :func:`save_network` saved, in evaluation mode; see :func:`load_saved`."""
    return load_saved(folder, trust=trust).network


def load_saved(folder: Path | str, *, trust: bool = False) -> Described:
    """Load a network that :func:`save_network` saved, in evaluation mode, with its card; also as a hub has it.

    Anybody may have made the folder: nothing in it is executed, and the network is about as large as its weights.

    Args:
        folder: the folder.
        trust: import and call the function of its author's code that builds the network, if the card names one. One
            that was named before in this process is called anyway.

    Raises:
        FileNotFoundError: if the folder holds no saved network.
        ValueError: if a later version of nasvit saved it, the weights do not fit its card, or it needs trust.
    """
    folder = Path(folder)
    weights = next((folder / name for name in (WEIGHTS, HUB_WEIGHTS) if (folder / name).exists()), None)
    missing = [*([] if weights else [WEIGHTS]), *([] if is_card(folder) else [CARD])]
    if weights is None or missing:
        raise FileNotFoundError(f"{folder} holds no saved network: {', '.join(missing)} missing{way_out(folder)}")
    card, held = Card.read(folder), Held(weights)
    if card.weights and card.weights != sha256_of(weights):
        raise ValueError(f"{weights} is damaged, or of another network: its content is not what {CARD} was written for")
    if trust:
        name_as_trusted(functions_of(card.spec))
    dtype = next((_DTYPES[kind] for kind in held.kinds.values() if kind in _DTYPES), torch.float32)
    with held.bounding():
        network = _empty(card).to(dtype)
    held.check_floats(network, _DTYPES)
    try:
        load_model(network, str(weights))
    except (RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:_LONGEST]
        raise ValueError(f"{weights} does not hold the weights of the network in its card: {told}") from error
    if isinstance(network, Slimmable):
        return Described(SwitchableModel(network), card)
    return Described(network.eval(), card)


def _empty(card: Card) -> nn.Module:
    """Return the network of a card, with room for its weights."""
    if isinstance(card.spec, WidthsSpec):
        return card.spec.empty(len(card.classes))
    network = card.spec.build(len(card.classes)).eval()
    return with_fused_structure(network) if card.fused else network


def with_fused_structure(network: nn.Module) -> nn.Module:
    """Return a network with the structure after fusion of branches, whatever the branches were.

    Of a detector or segmenter the backbone had them.
    """
    if isinstance(network, DenseNetwork):
        network.backbone = with_fused_structure(network.backbone)
        return network
    return fuse(network if has_branches(network) else reparameterize(network, 1, scale=False, identity=False))
