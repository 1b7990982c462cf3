"""Saved networks that are sure of themselves, and the command that uses them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nasvit
from nasvit import cli
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.registry import create

HOSTILE = "</script><script>alert(1)</script>"


def classifier(
    folder: Path, name: str, side: int, channels: int, *, crop_pct: float = 1.0, source: str = "/home/somebody/photos"
) -> Path:
    """A saved network of ten classes that is sure of itself, though it was never trained."""
    network, card = create(name, 10, seed=1, image_channels=channels)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(64, channels, side, side, generator=generator)
    network = nasvit.calibrate(network, [pixels]).eval()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(3 / network(pixels).std())
    classes = tuple(map(str, range(10))) if source == "digits" else (HOSTILE, *(f"class {n}" for n in range(1, 10)))
    mean, deviation = (0.4, 0.5, 0.6)[:channels], (0.3, 0.2, 0.25)[:channels]
    origin: dict[str, Any] = {"config": {"data": {"source": source}}}
    save_network(network, folder, Card(card.spec, classes, side, mean, deviation, crop_pct=crop_pct, origin=origin))
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Run the command line."""
    monkeypatch.setattr(sys, "argv", ["nasvit", *map(str, words)])
    cli.main()
