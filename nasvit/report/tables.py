"""What people read at the end: tables of results, spaces and costs."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import search_spaces
from nasvit.costs.counting import Cost, count
from nasvit.costs.tables import cost_table
from nasvit.experiment.stages.search import load_choices
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import ARCHITECTURE, PROGRAM, load_structure
from nasvit.layers import Network
from nasvit.supernets.supernet import build
from search_spaces import Architecture
from search_spaces.recipe import Recipe

HOW = {
    "supernet": "in supernet",
    "extracted": "extracted",
    "finetuned": "fine-tuned",
    "scratch": "from scratch",
}


def _console() -> Console:
    """Return a console that does not squeeze tables where nobody said how wide the terminal is."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def show(bench: Workbench, rows: Sequence[dict[str, Any]]) -> None:
    """Print the results of an experiment and how to use the networks; write them as ``results.md`` too."""
    console = _console()
    title = f"{bench.test.name}: accuracy on {len(bench.test)} test images (%)"
    kinds = [kind for kind in HOW if any(kind in row["accuracy"] for row in rows)]
    table = Table(title=title, caption=bench.experiment.note or None, title_justify="left")
    for heading in ("budget", *_cost_headings(rows), *(HOW[kind] for kind in kinds)):
        table.add_column(heading, justify="left" if heading == "budget" else "right", no_wrap=True)
    for row in rows:
        table.add_row(row["budget"] or f"({row['name']})", *_costs(row), *_accuracies(row, kinds))
    console.print(table)
    for choice in load_choices(bench):
        console.print(f"{choice.budget or choice.name}: {describe(choice.architecture)}", soft_wrap=True)
        if choice.recipe is not None:
            console.print(f"    found with it, recipe: {describe(choice.recipe)}", soft_wrap=True)
    if bench.experiment.search.recipes is None:
        console.print(f"recipe of the fine-tuning: {describe(bench.experiment.finetune)}", soft_wrap=True)
    if {"finetuned", "scratch"} <= set(kinds):
        console.print("from scratch: the same networks for the same number of epochs, without a supernet")
    _show_use(console, bench, rows)
    (bench.folder / "results.md").write_text(_markdown(title, rows, kinds), encoding="utf-8")


def describe(value: Architecture | Recipe) -> str:
    """Return an architecture or a recipe in one line; what a recipe leaves off is left out."""
    fields = [(name, setting) for name, setting in json.loads(value.to_json()).items() if setting or name == "depth"]
    return ", ".join(f"{name} {_plain(setting)}" for name, setting in fields)


def _plain(setting: Any) -> str:
    if isinstance(setting, float):
        return f"{setting:g}"
    return str(setting).replace("None", "-")


def _cost_headings(rows: Sequence[dict[str, Any]]) -> list[str]:
    return ["MACs", "parameters", "peak memory", *(["latency"] if "latency" in rows[0] else [])]


def _costs(row: dict[str, Any]) -> list[str]:
    latency = [f"{row['latency']:.3g} ms"] if "latency" in row else []
    return [_short(row["macs"]), _short(row["params"]), f"{row['memory'] / 1e3:,.0f} kB", *latency]


def _accuracies(row: dict[str, Any], kinds: Sequence[str]) -> list[str]:
    return [f"{100 * row['accuracy'][kind]:.2f}" if kind in row["accuracy"] else "" for kind in kinds]


def _short(value: float) -> str:
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value / 1e3:.1f}K"


def _show_use(console: Console, bench: Workbench, rows: Sequence[dict[str, Any]]) -> None:
    how = "finetuned" if bench.experiment.search.uses_supernet else "scratch"
    path = bench.folder / "subnets" / rows[0]["name"] / how / PROGRAM
    if not path.exists():
        return
    shape = f"{bench.space.image_channels}, {', '.join(map(str, bench.data.train.image_size or ('side', 'side')))}"
    console.print(f"\nThe network trained for the first line is {path}. Use it with PyTorch alone:\n", soft_wrap=True)
    console.print("    import torch")
    console.print(f'    network = torch.export.load("{path}").module()', soft_wrap=True)
    console.print(f"    print(network(torch.rand(1, {shape})).argmax(1))  # pixels from 0 to 1")


def _markdown(title: str, rows: Sequence[dict[str, Any]], kinds: Sequence[str]) -> str:
    headings = ["subnet", *_cost_headings(rows), *(HOW[kind] for kind in kinds)]
    lines = [f"{title}", "", "| " + " | ".join(headings) + " |", "|---|" + "---:|" * (len(headings) - 1)]
    lines += [
        "| " + " | ".join([row["budget"] or row["name"], *_costs(row), *_accuracies(row, kinds)]) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def show_spaces() -> None:
    """Print the catalog of search spaces."""
    table = Table(
        title="search spaces, smallest to largest subnet",
        caption="for 1000 classes; micro spaces for 10. Sources are in the files.",
        title_justify="left",
    )
    for heading in ("space", "subnets", "resolution", "multiply-adds", "parameters"):
        table.add_column(heading, justify="left" if heading == "space" else "right", no_wrap=True)
    for name in search_spaces.names():
        space = search_spaces.load(name)
        costs = cost_table(space, 10 if name.startswith("micro") else 1000).costs(
            space.encode([space.smallest, space.largest])
        )
        ranges = [" - ".join(map(_short, costs[metric].tolist())) for metric in ("macs", "params")]
        resolution = " - ".join(map(str, sorted({min(space.resolution), max(space.resolution)})))
        subnets = f"{space.size:,}" if space.size < 1e7 else f"{space.size:.2e}"
        table.add_row(name, subnets, resolution, *ranges)
    _console().print(table)


def show_profile(name: str, classes: int) -> None:
    """Print what a network costs, block by block.

    Raises:
        ValueError: if there is no such network.
    """
    network, channels, side = find_network(name, classes)
    table = Table(title=f"{name} at {side}x{side}", title_justify="left")
    for heading in ("block", "output", "multiply-adds", "parameters", "peak memory"):
        table.add_column(heading, justify="left" if heading in ("block", "output") else "right")
    for block, shape, cost in _blocks(network, channels, side):
        table.add_row(block, shape, *_cost_cells(cost), end_section=block == "stem")
    total = count(network, channels, side, side)
    table.add_section()
    table.add_row("whole network", "class scores", *_cost_cells(total))
    _console().print(table)
    print(
        "multiply-adds of convolutions, linear layers and matrix products for one image (papers of this field often "
        "call them FLOPs);\npeak memory: activations alive at once, float32, batch size 1, weights not included"
    )


def _cost_cells(cost: Cost) -> list[str]:
    return [f"{cost.macs:,}", f"{cost.params:,}", f"{cost.memory:,} B"]


def _blocks(network: Network, channels: int, side: int) -> Iterator[tuple[str, str, Cost]]:
    """Yield name, output shape and cost of every block."""
    named: list[tuple[str, nn.Module]] = [("stem", network.stem)]
    for number, stage in enumerate(network.stages, start=1):
        named += [(f"stage {number} {type(block).__name__}", block) for block in stage.children()]
    x = torch.empty(1, channels, side, side, device="meta")
    for name, block in [*named, ("head", network.head)]:
        cost = count(block, *x.shape[1:])
        with torch.no_grad():
            x = copy.deepcopy(block).to("meta").eval()(x)
        yield name, " x ".join(map(str, x.shape[1:])), cost


def find_network(name: str, classes: int) -> tuple[Network, int, int]:
    """Return a network by name with its image channels and resolution.

    Args:
        name: a published network, ``SPACE:smallest``, ``SPACE:largest``, ``SPACE:FILE.json`` or a saved folder.
        classes: classes of the classifier, except for a saved network.

    Raises:
        ValueError: if there is none of that name.
    """
    if (Path(name) / ARCHITECTURE).exists():
        from nasvit.export.deployed import load_saved  # brings timm, which the other reports do without

        space, architecture = load_structure(Path(name))
        network: Any = load_saved(Path(name))
        return network, space.image_channels, architecture.resolution
    if ":" in name:
        space_name, _, which = name.partition(":")
        space = search_spaces.load(space_name)
        ends = {"smallest": space.smallest, "largest": space.largest}
        architecture = ends[which] if which in ends else space.architecture(json.loads(Path(which).read_text()))
        return build(space, architecture, classes), space.image_channels, architecture.resolution
    return _published(name, classes)


def _published(name: str, classes: int) -> tuple[Network, int, int]:
    from nasvit.models.fbnetv3 import fbnetv3
    from search_spaces import published

    entry = published.load(name)
    if entry.network is not None:
        assert entry.resolution is not None, "a plain network has a resolution"
        return fbnetv3(entry.network, classes), 3, entry.resolution
    assert entry.space is not None, "a subnet has a space"
    space, architecture = search_spaces.load(entry.space), entry.architecture
    return build(space, architecture, classes), space.image_channels, architecture.resolution
