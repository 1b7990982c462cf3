"""The suggestions of priors as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from nasvit.experiment.suggest import Suggestion, carried_over, suggest
from nasvit.report.console import asks_int8_size, describe, in_kilobytes, open_console, short
from predictors.limits import Budget
from search_spaces.ranges import Classes, checks


@checks
def show_suggestions(budget: str, spaces: Sequence[str], classes: Classes, out: Path | None) -> None:
    """Print the subnet that each space's prior expects to be best within a budget.

    Args:
        budget: limits such as ``macs<=20M and params<=500K``.
        spaces: names of spaces; all with a prior if empty.
        classes: number of classes.
        out: file that gets the architecture of the last line; None: none is written.

    Raises:
        ValueError: for a budget that cannot be read or met, or a space that was not measured.
    """
    found = suggest(Budget(budget), spaces, classes)
    console = open_console()
    table = Table(title=f"{budget}, {classes} classes: expected to be best before anything is trained")
    table.title_justify = "left"
    more = ["int8 size"] if asks_int8_size([budget]) else []
    costs = ("MACs", "parameters", "peak memory", *more)
    for heading in ("space", "image size", *costs, "over a random subnet", "carries over"):
        table.add_column(heading, justify="left" if heading == "space" else "right")
    for each in found:
        size, gain = str(each.architecture.resolution), f"{each.gain:+.1f} points"
        sizes = [in_kilobytes(each.costs["int8_size"]) for _ in more]
        table.add_row(each.space, size, *_costs(each), *sizes, gain, _ranks(each))
    console.print(table)
    for each in found:
        console.print(f"{each.space}: {describe(each.architecture)}", soft_wrap=True)
    console.print(
        "over a random subnet: expected accuracy above that of a random subnet within the budget, mean over the data "
        "sets measured\ncarries over: rank correlation of what is expected with what was measured on a data set that "
        "was left out"
    )
    if out is not None:
        out.write_text(found[-1].architecture.to_json() + "\n", encoding="utf-8")
        name = f"{found[-1].space}:{out}"
        console.print(f"written: {out}; train it by `nasvit fit` with `network: {name}`", soft_wrap=True)


def _costs(each: Suggestion) -> list[str]:
    return [short(each.costs["macs"]), short(each.costs["params"]), in_kilobytes(each.costs["memory"])]


def _ranks(each: Suggestion) -> str:
    found = carried_over(each.prior)
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) or "one data set only"
