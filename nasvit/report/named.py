"""Networks that have only a name, to be timed: built with random weights, in the formats of the runtimes asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from nasvit.costs.counting import Cost, count
from nasvit.export.card import Card
from nasvit.export.formats import Format
from nasvit.export.saved import save_network
from nasvit.export.shipping import Shipping, with_shipped
from nasvit.layers.calibration import calibrate
from nasvit.models.tiny import TARGETS
from nasvit.names import FAMILIES, GHOST
from nasvit.registry import create
from search_spaces import published

_WIDTHS = {
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.0),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.0),
    "mnasnet": (0.35, 0.5, 0.75, 1.0),
    "shufflenet_v1": (0.5, 1.0, 1.5, 2.0),
    "shufflenet_v2": (0.5, 1.0, 1.5, 2.0),
    GHOST: (0.5, 1.0, 1.3, 1.6),
}
"""Widths of families that were published; others have one."""

EVERY = "named"
"""The word for all names that are known here."""


def every_name() -> tuple[str, ...]:
    """Return the names of all networks that are known here: published ones, families at their widths, tiny ones."""
    families = [
        f"{family}-{width:g}" if width != 1 else family
        for family in (*FAMILIES, GHOST)
        for width in _WIDTHS.get(family, (1.0,))
    ]
    return (*published.names(), *families, *TARGETS)


def build_named(name: str, formats: Sequence[Format], folder: Path) -> tuple[Path, Cost]:
    """Save the network of a name, with random weights and its batch norms calibrated on noise, in several formats.

    Args:
        name: its name; see :mod:`nasvit.registry`.
        formats: formats that it is written in besides.
        folder: where the folder of the network is made.

    Returns:
        The folder of the network, and what it costs.

    Raises:
        ValueError: if there is no network of that name, or a format cannot hold it.
    """
    network, card = create(name)
    generator = torch.Generator().manual_seed(0)
    network = calibrate(network, [torch.randn(4, *card.shape, generator=generator)])
    saved = folder / re.sub(r"\W", "_", name)
    save_network(network, saved, card)
    shipping = Shipping(network, Card.read(saved), saved, compared=1)
    for format in formats:
        with_shipped(Card.read(saved), [shipping.ship(format)]).write(saved)
    return saved, count(network, *card.shape)
