"""The table of the slimmable experiment: mean accuracy over seeds, one row a kind of training, one column a width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

KINDS = ("joint", "naive", "universal", "individual", "autoslim")
TITLES = {
    "joint": "jointly trained switches",
    "naive": "naive shared batch norm",
    "naive, recalibrated": "the same, statistics taken anew",
    "universal": "universally slimmable",
    "individual": "trained individually",
    "autoslim": "AutoSlim, retrained",
}

Results = Mapping[str, Mapping[str, Any]]


def summarize(
    results: Results, seeds: Sequence[int], costs: Mapping[str, int], never_trained: Sequence[str]
) -> dict[str, Any]:
    """Print the table and return what it shows.

    Args:
        results: of every finished training, by names such as ``joint-0``.
        seeds: whose results are averaged, as far as they are there.
        costs: multiply-adds at each width.
        never_trained: widths that the universally slimmable networks were never trained at.

    Returns:
        ``accuracy``: of each kind and width the accuracy at each seed, 0 to 1; and what else is printed.
    """
    rows = {kind: _by_width(results, kind, "test", seeds) for kind in KINDS}
    rows["naive, recalibrated"] = _by_width(results, "naive", "test_recalibrated", seeds)
    table = Table(title="CIFAR-10 test accuracy in percent, mean of seeds (lowest to highest)")
    table.add_column("training")
    for width, macs in costs.items():
        table.add_column(f"{width}\n{macs / 1e6:.2f} MMACs", justify="right")
    for kind, title in TITLES.items():
        never = never_trained if kind == "universal" else ()
        table.add_row(title, *(_cell(rows[kind].get(width), width in never) for width in costs))
    Console(width=140).print(table, "* a width that was never trained; AutoSlim: below the cost of the column")
    return {"accuracy": rows, "macs": dict(costs), "never_trained_by_universal": list(never_trained)}


def _by_width(results: Results, kind: str, which: str, seeds: Sequence[int]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for name, accuracy in results.get(f"{kind}-{seed}", {}).get(which, {}).items():
            found.setdefault(name.removeprefix("accuracy_"), []).append(accuracy)
    return found


def _cell(values: Sequence[float] | None, never_trained: bool) -> str:
    if values is None:
        return ""
    spread = f"({100 * min(values):.1f}-{100 * max(values):.1f})"
    return f"{100 * mean(values):.1f}{'*' if never_trained else ''} {spread}"
