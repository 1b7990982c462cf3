"""A small slimmable network for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.supernets.slimmable import SlimmableNetwork

FAMILY = Family(
    "tiny",
    "a test",
    StemSpec(16),
    ((BlockSpec("inverted", 16),), (BlockSpec("inverted", 24, 2, expand=3), BlockSpec("inverted", 24, expand=3))),
    HeadSpec(32, fixed=True),
)


def images(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny(*widths: Any, norm: Any = "switchable", family: Family = FAMILY) -> SlimmableNetwork:
    """A network in float64, its statistics taken from one batch."""
    network = SlimmableNetwork(family, widths or (0.5, 1.0), 5, norm=norm).double()
    network.calibrate([images(8, 9)])
    return network
