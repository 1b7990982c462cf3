"""The cost of a network, block by block."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nasvit.backbones import Backbone
from nasvit.backbones.ways import Stages
from nasvit.costs.counting import Cost, count
from nasvit.export.switchable import SwitchableModel
from nasvit.heads.alone import HeadAlone
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import HeadModule
from nasvit.layers import Network
from nasvit.registry import create
from nasvit.report.console import open_console
from search_spaces.ranges import Classes, checks

_ANSWERS = {"classification": "class scores", "detection": "boxes and scores", "segmentation": "scores of pixels"}

Row = tuple[str, str, Cost]
"""Name, shape of the output, cost."""


@checks
def show_profile(name: str, classes: Classes | None = None) -> None:
    """Print the cost of a network, block by block.

    Args:
        name: any name of a network; see :mod:`nasvit.registry`.
        classes: number of classes; None: that of its weights, or 1000.

    Raises:
        ValueError: if there is no such network.
    """
    network, card = create(name, classes)
    channels, *size = card.shape
    if isinstance(network, Network) and network.resize is not None:
        size = [card.spec.side] * 2  # blocks see what the network resizes images to
    height, width = size
    answer = _ANSWERS[card.spec.task]
    table = Table(title=f"{name} at {width}x{height}", title_justify="left")
    for heading in ("block", "output", "multiply-adds", "parameters", "peak memory"):
        table.add_column(heading, justify="left" if heading in ("block", "output") else "right")
    if isinstance(network, SwitchableModel):
        rows: list[Row] = [
            (f"width {each}", answer, count(network.export(each), channels, height, width)) for each in network.widths
        ]
    else:
        rows = list(blocks(network, channels, height, width))
    for block, shape, cost in rows:
        table.add_row(block, shape, *_cells(cost), end_section=block == "stem")
    if not isinstance(network, SwitchableModel):
        table.add_section()
        table.add_row("whole network", answer, *_cells(count(network, channels, height, width)))
    open_console().print(table)
    print(
        "multiply-adds of convolutions, linear layers and matrix products for one image (papers of this field often "
        "call them FLOPs);\npeak memory: activations alive at once, float32, batch size 1, weights not included"
    )


def _cells(cost: Cost) -> list[str]:
    return [f"{cost.macs:,}", f"{cost.params:,}", f"{cost.memory:,} B"]


def blocks(network: nn.Module, channels: int, height: int, width: int) -> Iterator[Row]:
    """Yield name, output shape and cost of every block, in the order in which they run.

    Blocks of a network from elsewhere are its children, and the items of a child that is a list of modules. Those that
    do not make one tensor of another are left out, but for the head of a detector or segmenter.
    """
    names = {block: name for name, block in named_blocks(network)}
    shapes: list[tuple[nn.Module, torch.Size, torch.Size]] = []
    heads: list[Row] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, HeadModule):
            maps, size = inputs
            head = ours[module]  # which has no hooks
            assert isinstance(head, HeadModule)
            alone = HeadAlone(head, [tuple(each.shape[1:]) for each in maps], size)
            heads.append((names[head], _shapes(output), count(alone, alone.numbers)))
        elif isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            shapes.append((module, inputs[0].shape, output.shape))

    copied = copy.deepcopy(network).to("meta").eval()
    ours = dict(zip((block for _, block in named_blocks(copied)), names, strict=True))
    for block in ours:
        block.register_forward_hook(note)
    with torch.no_grad():
        copied(torch.empty(1, channels, height, width, device="meta"))
    for block, taken, given in shapes:
        shape = " x ".join(map(str, given[1:])) if len(given) > 2 else "class scores"
        yield names[ours[block]], shape, count(ours[block], *taken[1:])
    yield from heads


def _shapes(outputs: Tensor | tuple[Tensor, ...]) -> str:
    return ", ".join(" x ".join(map(str, each.shape[1:])) for each in tree_leaves(outputs))


def named_blocks(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the blocks of a network by their names, in the order in which they stand."""
    if isinstance(network, (Network, Stages)):
        named: list[tuple[str, nn.Module]] = [("stem", network.stem)]
        for number, stage in enumerate(network.stages, start=1):
            named += [(f"stage {number} {type(block).__name__}", block) for block in stage.children()]
        return [*named, ("head", network.head)] if isinstance(network, Network) else named
    if isinstance(network, DenseNetwork):
        body = network.backbone.body if isinstance(network.backbone, Backbone) else network.backbone
        return [*named_blocks(body), (f"head {type(network.head).__name__}", network.head)]
    found = []
    for name, child in network.named_children():
        inner = list(child.named_children()) if isinstance(child, (nn.Sequential, nn.ModuleList)) else []
        found += [(f"{name}.{part} {type(each).__name__}", each) for part, each in inner] or [
            (f"{name} {type(child).__name__}", child)
        ]
    return found
