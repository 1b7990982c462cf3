"""The console that tables are printed on, and the format of numbers in them."""

from __future__ import annotations

from rich.console import Console


def open_console(least: int | None = None) -> Console:
    """Return a console that is wide enough for the tables where the width of the terminal is unknown.

    What is printed is printed as it is: brackets in a folder's name or a note are no markup, and ``:x:`` is no picture.

    Args:
        least: columns that it has in any case.
    """
    console = Console(markup=False, emoji=False)
    if least is not None:
        console.width = max(least, console.width)
    elif not console.is_terminal:
        console.width = 120
    return console


def short(value: float) -> str:
    """Return a count in thousands or millions: ``97.2K``, ``1.40M``."""
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value / 1e3:.1f}K"
