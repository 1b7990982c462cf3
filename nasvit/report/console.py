"""The console that tables are printed on, and the format of numbers in them."""

from __future__ import annotations

from rich.console import Console


def open_console() -> Console:
    """Return a console that is wide enough for the tables where the width of the terminal is unknown."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def short(value: float) -> str:
    """Return a count in thousands or millions: ``97.2K``, ``1.40M``."""
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value / 1e3:.1f}K"
