"""The catalog of search spaces as a table."""

from __future__ import annotations

from rich.table import Table

import search_spaces
from nasvit.costs.ends import costs_of_ends, usual_classes
from nasvit.report.console import open_console, short


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
        ends = costs_of_ends(space, usual_classes(name))
        ranges = [" - ".join(short(costs[metric]) for costs in ends) for metric in ("macs", "params")]
        resolution = " - ".join(map(str, sorted({min(space.resolution), max(space.resolution)})))
        subnets = f"{space.size:,}" if space.size < 1e7 else f"{space.size:.2e}"
        table.add_row(name, subnets, resolution, *ranges)
    open_console().print(table)
