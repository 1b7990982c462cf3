"""Released supernets with weights by rule, imported the way a user imports them."""

from __future__ import annotations

import functools
import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasvit import importing
from nasvit.importing.attentive import released_name
from nasvit.layers import BatchNorm2d, Network
from nasvit.supernets.supernet import Supernet
from search_spaces import Architecture
from tests.parity import streams
from tests.parity.rows import Comparison, Row

FILLS: dict[str, streams.Fill] = {"nasvit": streams.nasvit_tensor, "alphanet": streams.alphanet_tensor}


class Release:
    """A supernet in float64 that holds the weights of a golden folder.

    Args:
        source: the release's name, as for ``nasvit import``.
        folder: where a layout file may lie; without one, the importer's own layout says which tensors there are.
    """

    def __init__(self, source: str, folder: Path) -> None:
        self.layout = read_layout(folder) or importing.released_layout(source)
        network = importing.import_tensors(source, streams.state_dict(self.layout, FILLS[source]))
        assert isinstance(network, Supernet)
        self.supernet = network.double()
        self.space = network.space

    def architecture(self, config: dict[str, Any]) -> Architecture:
        """Return the architecture of a release's configuration, whose field names are ours."""
        return self.space.architecture(config)

    def train(self, architecture: Architecture) -> Network:
        """Return a subnet that normalizes by the batch and moves no statistics."""
        return on_batch_statistics(self.supernet.at(architecture))

    def eval(self, architecture: Architecture) -> Network:
        """Return a subnet that normalizes by the supernet's stored statistics."""
        return self.supernet.at(architecture).eval()

    def block(self, prefix: str) -> nn.Module:
        """Return the elastic block that the release calls ``blocks.<number>``."""
        number = int(prefix.removeprefix("blocks."))
        for stage in self.supernet.stages:
            assert isinstance(stage, nn.ModuleList)
            if number < len(stage):
                return stage[number]
            number -= len(stage)
        raise ValueError(f"there is no {prefix} in {self.space.name}")

    def parameter_names(self) -> list[str]:
        """Return the released names of the supernet's parameters, in the order of the gradient buffer."""
        return [released_name(self.supernet, name) for name, _ in self.supernet.named_parameters()]


@functools.lru_cache(maxsize=1)
def release(source: str, folder: Path) -> Release:
    """Return the release of a folder; the last one is kept, since several files of a folder use it."""
    return Release(source, folder)


def on_batch_statistics(network: Network) -> Network:
    """Train mode in which stored statistics stay (momentum 0)."""
    for module in network.train().modules():
        if isinstance(module, BatchNorm2d):
            module.momentum = 0.0
    return network


def read_layout(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a folder's layout file, empty if there is none."""
    return {name: tuple(shape) for name, shape, *_ in _layout_rows(folder)}


def check_weights(folder: Path, source: str) -> Row | None:
    """Compare the regenerated weights with the checksums of a layout file, if it has any."""
    rows = [row for row in _layout_rows(folder) if len(row) >= 4 and re.fullmatch(r"[0-9a-f]{8}", str(row[3]))]
    if not rows:
        return None
    comparison = Comparison("weights (CRC-32 of every tensor)", 1e-12)
    for name, shape, _, checksum in rows:
        comparison.exact(name, crc32(FILLS[source](name, shape)), checksum)
    return comparison.row(f"{len(rows)} tensors")


def crc32(tensor: Tensor) -> str:
    """Return the CRC-32 of a tensor's little-endian bytes."""
    return f"{zlib.crc32(tensor.contiguous().numpy().tobytes()):08x}"


def _layout_rows(folder: Path) -> list[Any]:
    path = folder / "state_dict_layout.json"
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Any] = content.get("keys") or content.get("entries") or []
    return rows


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Run a network without gradients."""
    scores: Tensor = network(images)
    return scores
