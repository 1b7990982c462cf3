"""Single modules of the NASViT supernet on their own, normalizing by the batch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.elastic import ElasticMBConv, ElasticTransformerBlock
from nasvit.layers import BatchNorm2d, Head, ResidualBranch, Resize, TransformerBlock
from tests.parity.released import Release, release
from tests.parity.rows import Comparison, Row, attempt
from tests.parity.streams import nasvit_input

TOLERANCE = 1e-9
_BRANCHES = {"attn": "attention", "mlp1": "mlp1", "mlp2": "mlp2"}
_NORMS = {"norm1": "attention", "norm2": "mlp1", "norm3": "mlp2"}


def claims(path: Path, content: dict[str, Any]) -> bool:
    """A list of units."""
    return isinstance(content.get("units"), list)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every unit."""
    given = release("nasvit", path.parent)
    for unit in content["units"]:
        yield from attempt(unit["name"], compare_unit(unit, given))


@torch.no_grad()
def compare_unit(unit: dict[str, Any], given: Release) -> Iterator[Row]:
    """Compare one unit."""
    comparison = Comparison(unit["name"], TOLERANCE)
    images = nasvit_input(unit["input"]["key"], unit["input"]["shape"])
    if "prefix" in unit:
        _compare_module(comparison, unit, given, images)
    else:
        _compare_resizes(comparison, unit, images)
    yield comparison.row()


def _compare_module(comparison: Comparison, unit: dict[str, Any], given: Release, images: Tensor) -> None:
    module = _module(given, unit["prefix"], unit["active"], images)
    _compare(comparison, "output", module(images), unit["output"])
    tokens = images.permute(0, 2, 3, 1)
    for name, expected in unit.items():
        part = re.fullmatch(r"(\w+)_on_raw_tokens|joint_layernorm_(\w+)", name)
        if part is not None:
            assert isinstance(module, TransformerBlock)
            branch = module.branches[_BRANCHES[part[1]] if part[1] else _NORMS[part[2]]]
            assert isinstance(branch, ResidualBranch)
            _compare(comparison, name, (branch.body if part[1] else branch.norm)(tokens), expected)
        elif name not in ("name", "input", "output", "prefix", "active"):
            comparison.exact(f"{name} is not computed by ours", name, None)


def _module(given: Release, prefix: str, active: dict[str, Any], images: Tensor) -> nn.Module:
    """Return the plain module of a unit, with the width of its input."""
    channels, side = images.shape[1], images.shape[2]
    if prefix == "first_conv":
        module: nn.Module = given.supernet.stem.at(channels, active["out"])
    elif prefix == "last_conv":
        hidden = given.supernet.space.head.hidden_channels(channels)
        head = given.supernet.head.at(channels, hidden, active["out"])
        module = _Pooled(head)
    else:
        module = _block(given, given.block(prefix), active, channels, side)
    for part in module.train().modules():
        if isinstance(part, BatchNorm2d):
            part.momentum = 0.0
    return module


def _block(given: Release, block: nn.Module, active: dict[str, Any], channels: int, side: int) -> nn.Module:
    if isinstance(block, ElasticMBConv):
        wide = given.supernet.space.mbconv.hidden_channels(channels, active["expand"])
        return block.at(channels, None if active["expand"] == 1 else wide, active["out"], active["kernel"])
    assert isinstance(block, ElasticTransformerBlock)
    scale = (active["depth_index"], active["token_index"])
    return block.at(channels, side, mlp_ratio=1, windows=1, scale=scale)


class _Pooled(nn.Module):
    """The head without its classifier."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        assert head.expand is not None, "this family's head widens before pooling"
        assert head.mix is not None, "this family's head mixes after pooling"
        self.expand, self.mix = head.expand, head.mix

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.mix(self.expand(x).mean((2, 3), keepdim=True))
        return features


def _compare_resizes(comparison: Comparison, unit: dict[str, Any], images: Tensor) -> None:
    for name, expected in unit.items():
        resized = re.fullmatch(r"(?:up|down)(\d+)", name)
        if resized is not None:
            _compare(comparison, name, Resize(int(resized[1]))(images), expected)
        elif name not in ("name", "input"):
            comparison.exact(f"{name} is not computed by ours", name, None)


def _compare(comparison: Comparison, name: str, output: Tensor, expected: dict[str, Any]) -> None:
    if "shape" in expected:
        comparison.exact(f"{name} shape", list(output.shape), expected["shape"])
    comparison.values(f"{name} first", output.flatten()[: len(expected["first"])], expected["first"])
    comparison.total(f"{name} sum", output.sum(), expected["sum"], expected["l2"])
    comparison.values(f"{name} l2", output.norm(), expected["l2"])
