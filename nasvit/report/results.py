"""The report of an experiment: the table of results, and how to use the networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nasvit.experiment.clock import LABELS, minutes, spent, total
from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.stages.jobs import KINDS
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import Card
from nasvit.export.program import PROGRAM
from nasvit.files.whole import write_text
from nasvit.report.console import asks_int8_size, describe, in_kilobytes, open_console, short
from nasvit.tasks.task import title_of

HOW = {"supernet": "in supernet", "extracted": "extracted", **KINDS}

_SAYS = {
    "scratch": "from scratch, equal epochs: the same network for as many epochs as fine-tuning, without a supernet; "
    "the time of the supernet is not counted",
    "scratch_time": "from scratch, equal time: the same network without a supernet, for the time that it took to find "
    "and fine-tune it: its share of supernet, search and extraction, and its fine-tuning",
}


def show(bench: Workbench, rows: Sequence[dict[str, Any]]) -> None:
    """Print the results of an experiment and how to use the networks; write them as ``results.md`` too."""
    console = open_console()
    test = bench.images.test
    title = f"{test.name}: {title_of(bench.task.metric.name)} on {len(test)} test images (%)"
    kinds, costs = _kinds(rows), _cost_headings(rows)
    table = Table(title=title, caption=bench.experiment.note or None, title_justify="left")
    for heading in ("budget", *costs, *(_two_lines(kind) for kind in kinds.values())):
        table.add_column(heading, justify="left" if heading == "budget" else "right", no_wrap=True)
    for row in rows:
        table.add_row(row["budget"] or f"({row['name']})", *_costs(row, costs), *_scores(row, kinds))
    console.print(table)
    for choice in load_choices(bench):
        console.print(f"{choice.budget or choice.budget.name}: {describe(choice.architecture)}", soft_wrap=True)
        if choice.recipe is not None:
            console.print(f"    found with it, recipe: {describe(choice.recipe)}", soft_wrap=True)
    if bench.experiment.search.recipes is None:
        finetune = bench.experiment.finetune
        name = "fine-tuning" if bench.experiment.uses_supernet else "training"
        console.print(f"recipe of the {name}: {describe(finetune.recipe)}{_help(finetune)}", soft_wrap=True)
    for line in compared(rows):
        console.print(line, soft_wrap=True)
    for line in [*_better_without(bench, rows), *_no_better_than_guessing(bench, rows)]:
        console.print(line, soft_wrap=True)
    console.print(f"time: {_times(bench)}", soft_wrap=True)
    _show_use(console, bench, rows)
    write_text(bench.folder / "results.md", _markdown(title, rows))


def _help(training: Training) -> str:
    teacher = f"teacher {' and '.join(training.teacher.networks)}" if training.teacher else ""
    named = (
        teacher,
        "branches" if training.branches else "",
        "inside wider networks" if training.netaug else "",
        "rounded as int8" if training.quantize else "",
    )
    return "".join(f"; {each}" for each in named if each)


def table_of(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the headings of the table of results but the first, and the cells below them, a list for every row."""
    kinds, costs = _kinds(rows), _cost_headings(rows)
    return [*costs, *kinds.values()], [[*_costs(row, costs), *_scores(row, kinds)] for row in rows]


def compared(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the comparisons in the table of results are, in words."""
    kinds = _kinds(rows)
    return [_SAYS[kind] for kind in _SAYS if {"finetuned", kind} <= set(kinds)]


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return what was evaluated, each with its heading: of comparisons how they are equal, and for how many epochs."""
    kinds = {kind: name for kind, name in HOW.items() if any(kind in row["scores"] for row in rows)}
    if "finetuned" in kinds:
        kinds |= {"scratch": f"{HOW['scratch']}, equal epochs"} if "scratch" in kinds else {}
        for kind in kinds.keys() & _SAYS.keys():
            epochs = _epochs(kind, rows)
            kinds[kind] += f" ({epochs})" if epochs else ""
    return kinds


def _epochs(kind: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the epochs of a training as text, from the fewest of all rows to the most."""
    counts = sorted({row["epochs"][kind] for row in rows if kind in row["epochs"]})
    if not counts:  # an earlier version did not record them
        return ""
    most = f"{counts[-1]} epoch{'s' * (counts[-1] > 1)}"
    return most if len(counts) == 1 else f"{counts[0]} to {most}"


def _two_lines(heading: str) -> str:
    return heading.replace(", ", ",\n").replace(" (", "\n(")


def _better_without(bench: Workbench, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for every subnet that is better without a supernet in the same time."""
    lines = []
    for row in rows:
        plain, tuned = (row["scores"].get(kind) for kind in ("scratch_time", "finetuned"))
        if plain is not None and tuned is not None and bench.task.metric.better(plain, tuned):
            lines.append(
                f"{row['budget'] or row['name']}: from scratch was better in equal time, {100 * plain:.2f} against "
                f"{100 * tuned:.2f}; that network is in {bench.folder / 'subnets' / row['name'] / 'scratch_time'}"
            )
    return lines


def _no_better_than_guessing(bench: Workbench, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line if a classifier is right no more often than whoever always names the commonest class."""
    if bench.experiment.task != "classification":
        return []
    counts = np.bincount(bench.images.test.targets.numpy(), minlength=len(bench.classes))
    share, how = float(counts.max() / counts.sum()), _last(bench)
    poor = [str(row["budget"] or row["name"]) for row in rows if row["scores"].get(how, 1.0) <= share]
    if not poor:
        return []
    return [
        f"WARNING: {', '.join(poor)}: no better than always saying {bench.classes[int(counts.argmax())]}, which is "
        f"right for {100 * share:.2f} %: more epochs (or hours), weights to start from, or more images are needed"
    ]


def _last(bench: Workbench) -> str:
    """Return what a run ends with: networks fine-tuned from a supernet's weights, or trained from random ones."""
    return "finetuned" if bench.experiment.uses_supernet else "scratch"


def _times(bench: Workbench) -> str:
    """Return how long every stage took, over all runs."""
    times = spent(bench.folder)
    each = [f"{name} {minutes(times[stage].wall)}" for stage, name in LABELS.items() if stage in times]
    everything = total(times)
    return ", ".join([*each, f"in all {minutes(everything.wall)} (processor {minutes(everything.processor)})"])


def _cost_headings(rows: Sequence[dict[str, Any]]) -> list[str]:
    known = {
        "int8 size": asks_int8_size(row["budget"] for row in rows),
        "latency": any("latency" in row for row in rows),
    }
    return ["MACs", "parameters", "peak memory", *(name for name, is_shown in known.items() if is_shown)]


def _costs(row: dict[str, Any], headings: Sequence[str]) -> list[str]:
    """Return the cells below headings of costs; empty where an earlier version did not record a cost."""
    cells = {"MACs": short(row["macs"]), "parameters": short(row["params"]), "peak memory": in_kilobytes(row["memory"])}
    cells |= {"int8 size": in_kilobytes(row["int8_size"])} if "int8_size" in row else {}
    cells |= {"latency": f"{row['latency']:.3g} ms"} if "latency" in row else {}
    return [cells.get(heading, "") for heading in headings]


def _scores(row: dict[str, Any], kinds: Iterable[str]) -> list[str]:
    return [f"{100 * row['scores'][kind]:.2f}" if kind in row["scores"] else "" for kind in kinds]


_USES = {
    "classification": "print(network(IMAGES).argmax(1))",
    "detection": "boxes, scores = network(IMAGES)",
    "segmentation": "print(network(IMAGES).argmax(1).shape)",
}
"""How the output of a network is used, by task."""


def _show_use(console: Console, bench: Workbench, rows: Sequence[dict[str, Any]]) -> None:
    path = bench.folder / "subnets" / rows[0]["name"] / _last(bench) / PROGRAM
    if not path.exists():
        return
    held = bench.images.shape
    shape = ", ".join(map(str, Card.read(path.parent).shape if held[1] == held[2] else held))
    console.print(f"\nThe network trained for the first line is {path}. Use it with PyTorch alone:\n", soft_wrap=True)
    console.print("    import torch")
    console.print(f'    network = torch.export.load("{path}").module()', soft_wrap=True)
    use = _USES[bench.experiment.task].replace("IMAGES", f"torch.rand(1, {shape})")
    console.print(f"    {use}  # pixels from 0 to 1")
    console.print("\nOr at the command line:\n")
    commands = {
        f"nasvit predict {path.parent} PHOTO": "what is on a photo",
        f"nasvit export {path.parent} --to onnx --int8": "files for a runtime, compared with the network",
        f"nasvit bench {path.parent}": "how fast it is here",
        f"nasvit report {bench.folder}": "all of the run on one page, with pictures",
    }
    for command, what in commands.items():
        console.print(f"    {command:<{max(map(len, commands))}}  # {what}", soft_wrap=True)


def _markdown(title: str, rows: Sequence[dict[str, Any]]) -> str:
    headings, cells = table_of(rows)
    lines = [title, "", "| " + " | ".join(["subnet", *headings]) + " |", "|---|" + "---:|" * len(headings)]
    lines += ["| " + " | ".join([row["budget"] or row["name"], *each]) + " |" for row, each in zip(rows, cells)]
    return "\n".join(lines) + "\n"
