"""Costs of FBNetV3: convolutions' multiply-adds and parameters, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.costs.counting import count
from nasvit.layers import BatchNorm2d, Network
from nasvit.models.fbnetv3 import DESIGNS, fbnetv3
from tests.parity.rows import Comparison, Row, differs, failed

TOLERANCE = 1e-12
GROUPED = "a teacher of another kind with grouped convolutions, not one of the family's A to G: not built"


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Counts of mobile-vision's networks, or of timm's."""
    return any(isinstance(content.get(origin), list) for origin in ("mobile_vision", "timm"))


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every network at every resolution listed."""
    for origin in ("mobile_vision", "timm"):
        for entry in content.get(origin, []):
            name = entry["name"].lower().removeprefix("fbnetv3_")
            case = f"{origin}/{entry['name']} at {entry['resolution']}"
            if name == "20g":
                yield differs(case, GROUPED)
            elif name not in DESIGNS:
                yield failed(case, f"there is no FBNetV3 {name!r}")
            else:
                yield compare_network(case, entry, build(origin, name))


def build(origin: str, name: str) -> Network:
    """Build a network as mobile-vision or as timm has it, without memory for its weights."""
    timm = origin == "timm"
    with torch.device("meta"):
        return fbnetv3(name, half_kernel_padding=timm, stem_bias=not timm)


def compare_network(case: str, entry: dict[str, Any], network: Network) -> Row:
    """Compare what a network costs."""
    comparison = Comparison(case, TOLERANCE)
    cost = count(network, 3, entry["resolution"], entry["resolution"])
    comparison.exact("MACs", cost.macs, entry["macs_conv_linear"])
    comparison.exact("parameters", cost.params, entry["params"])
    if "macs_at_224" in entry:
        comparison.exact("MACs at 224", count(network, 3, 224, 224).macs, entry["macs_at_224"])
    norms = sum(p.numel() for m in network.modules() if isinstance(m, BatchNorm2d) for p in m.parameters())
    if "params_batchnorm" in entry:
        comparison.exact("parameters of batch norms", norms, entry["params_batchnorm"])
    if "params_conv_bias" in entry:
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        biases = sum(layer.bias.numel() for layer in layers if layer.bias is not None)
        comparison.exact("biases", biases, entry["params_conv_bias"])
    if "n_conv" in entry:
        # timm's classifier is a linear layer, mobile-vision's a convolution.
        kinds = (nn.Conv2d,) if case.startswith("timm") else (nn.Conv2d, nn.Linear)
        comparison.exact("convolutions", sum(isinstance(m, kinds) for m in network.modules()), entry["n_conv"])
    if "block_output_shapes" in entry:
        shapes = block_shapes(network, entry["resolution"])
        comparison.exact("shapes of blocks", shapes, [shape for _, shape in entry["block_output_shapes"]])
    return comparison.row()


@torch.no_grad()
def block_shapes(network: Network, resolution: int) -> list[list[int]]:
    """Return the shapes ``[channels, height, width]`` after the stem, every block and the features."""
    x = network.stem(torch.zeros(1, 3, resolution, resolution, device="meta"))
    shapes = [list(x.shape[1:])]
    for stage in network.stages:
        for block in stage:  # type: ignore[attr-defined]
            x = block(x)
            shapes.append(list(x.shape[1:]))
    head = network.head
    x = head.mix(head.expand(x).mean((2, 3), keepdim=True))  # type: ignore[operator]
    return [*shapes, list(x.shape[1:])]
