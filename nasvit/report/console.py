"""The console that tables are printed on, and how numbers, architectures and recipes are written there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console

from search_spaces import Subnet
from search_spaces.recipe import Recipe


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


def in_kilobytes(size: float) -> str:
    """Return a number of bytes in thousands: ``1,250 kB``."""
    return f"{size / 1e3:,.0f} kB"


def asks_int8_size(budgets: Iterable[object]) -> bool:
    """Return whether a budget limits the size of integers of 8 bits, however it is written."""
    return any("int8_size" in str(budget).replace(" ", "_") for budget in budgets)


def describe(value: Subnet | Recipe) -> str:
    """Return an architecture or a recipe in one line; parts of a recipe that are off are left out."""
    fields = [(name, setting) for name, setting in json.loads(value.to_json()).items() if setting or name == "depth"]
    return ", ".join(f"{name} {_plain(setting)}" for name, setting in fields)


def _plain(setting: Any) -> str:
    if isinstance(setting, float):
        return f"{setting:g}"
    if isinstance(setting, dict):
        return " ".join(f"{name} {_plain(entry)}" for name, entry in setting.items())
    return str(setting).replace("None", "-")
