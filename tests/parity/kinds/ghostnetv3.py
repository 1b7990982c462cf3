"""GhostNetV3: logits and costs before and after fusing, and every fused tensor."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.branches.fuse import fuse
from nasvit.importing import ghostnetv3 as released
from tests.parity import compact
from tests.parity.counting import conv_linear_macs
from tests.parity.rows import Comparison, Row


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with a form to train and a fused one."""
    return "train_form" in content and "deploy_form" in content and "layout_deploy" in content


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare everything in the file."""
    case = GhostCase(content)
    yield case.compare_weights()
    yield case.compare_form("train_form", case.network)
    yield case.compare_form("deploy_form", case.fused)
    yield case.compare_fusing()


def width_of(source: str) -> float:
    """Return the width that a model's name ends with, such as 1.3 for ``ghostnetv3_130``.

    Raises:
        ValueError: if it ends otherwise.
    """
    found = re.search(r"ghostnetv3_(\d{3})\b", source)
    if found is None:
        raise ValueError(f"{source!r} names no width; expected ghostnetv3_ and three digits")
    return int(found[1]) / 100


class GhostCase:
    """One file: a network with weights by rule.

    Args:
        content: the file.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content, self.classes = content, content["n_classes"]
        width = width_of(content["source"])
        self.release = released.release("ghostnetv3", content["source"], width)
        self.layout = compact.read_layout(content["layout"])
        self.fused_layout = compact.read_layout(content["layout_deploy"])
        self.tensors = compact.weights(content, self.layout)
        self.network = compact.load(self.release, self.tensors, self.classes)
        self.fused = fuse(self.network)

    def compare_weights(self) -> Row:
        """Compare names, shapes and checksum."""
        comparison = Comparison("weights and layouts", compact.TOLERANCE)
        compact.check_layout(comparison, self.release, self.layout, self.classes)
        fused = {released.released_name(name): tuple(t.shape) for name, t in self.fused.state_dict().items()}
        comparison.exact("fused layout", fused == self.fused_layout, True)
        comparison.exact("weights_sha256", compact.sha256(self.tensors, self.layout), self.content["weights_sha256"])
        comparison.exact("n_keys", len(self.layout), self.content["n_keys"])
        return comparison.row()

    def compare_form(self, name: str, network: nn.Module) -> Row:
        """Compare logits of square and other images, parameters and MACs of one form."""
        comparison, expected = Comparison(name, compact.TOLERANCE), self.content[name]
        for label, given in (("logits", "input"), ("logits_rect", "input_rect")):
            if label in expected:
                with torch.no_grad():
                    output = network(compact.images(self.content[given]))
                comparison.summary(label, output, expected[label], "row0_first16")
        comparison.exact("params", sum(parameter.numel() for parameter in network.parameters()), expected["params"])
        comparison.exact("n_keys", len(network.state_dict()), expected.get("n_keys", len(self.layout)))
        macs, normed = costs(network, 224)
        comparison.exact("macs_224", macs, expected["macs_224"])
        comparison.exact("bn_elems_224", normed, expected["bn_elems_224"])
        return comparison.row()

    def compare_fusing(self) -> Row:
        """Compare norm and sum of every fused tensor, and both forms with each other."""
        comparison = Comparison("fused tensors", compact.TOLERANCE)
        found = {released.released_name(name): tensor for name, tensor in self.fused.state_dict().items()}
        for name, (norm, total) in self.content["deploy_form"]["fused_l2_sum"].items():
            comparison.values(f"{name} l2", found[name].norm(), norm)
            comparison.total(f"{name} sum", found[name].sum(), total, norm)
        images = compact.images(self.content["input"])
        with torch.no_grad():
            comparison.values("both forms", self.fused(images), self.network(images))
        return comparison.row()


def costs(network: nn.Module, side: int) -> tuple[int, int]:
    """Return multiply-adds of convolutions and linear layers, and the numbers that batch norms go over.

    Args:
        network: any network.
        side: side of the images, in pixels.
    """
    network = copy.deepcopy(network).float().to("meta")
    normed = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal normed
        normed += output.numel()

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count)
    return conv_linear_macs(network, torch.empty(1, 3, side, side, device="meta")), normed
