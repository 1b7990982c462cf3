"""What a slimmable network is, apart from its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nasvit.models.family import Family
from nasvit.supernets.slimmable import NormKind, SlimmableNetwork, Width


@dataclass(frozen=True)
class Description:
    """What a slimmable network is, apart from its weights; arguments as in :class:`SlimmableNetwork`."""

    family: Family
    widths: tuple[Width, ...]
    classes: int
    norm: NormKind
    head_norm: NormKind
    image_channels: int

    def build(self) -> SlimmableNetwork:
        """Return a frozen network of these sizes whose weights and statistics are all zero."""
        with torch.device("meta"):
            network = SlimmableNetwork(
                self.family,
                self.widths,
                self.classes,
                norm=self.norm,
                head_norm=self.head_norm,
                image_channels=self.image_channels,
            )
            network.requires_grad_(False)  # first of all, so that there never are gradients
            network.reset_statistics()
        network.to_empty(device="cpu")
        for tensor in network.state_dict().values():
            tensor.zero_()
        return network

    def to_json(self) -> str:
        """Return the description as JSON text, which :func:`search_spaces.reading.load_yaml` reads."""
        return json.dumps(_without_empty(asdict(self)), indent=1) + "\n"


def description_of(network: SlimmableNetwork, widths: Sequence[Width]) -> Description:
    """Return what a network of some of the widths of ``network`` is, which computes the same at them."""
    return Description(
        network.fixed_family,
        tuple(widths),
        network.classes,
        network.norm,
        network.head_norm,
        network.stem.image_channels,
    )


def _without_empty(value: Any) -> Any:
    """Leave out what is empty or None: those are the defaults, and a description that is read must not hold such."""
    if isinstance(value, dict):
        return {key: _without_empty(entry) for key, entry in value.items() if entry is not None and entry != ()}
    return [_without_empty(entry) for entry in value] if isinstance(value, tuple) else value
