"""The house holds: rooms use the rooms below them only, as docs/architecture.md draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("nasvit.__main__",),
    ("nasvit.cli",),
    ("nasvit.report",),
    ("nasvit.experiment",),
    ("nasvit.search",),
    ("nasvit.costs",),
    ("nasvit.registry", "nasvit.timm_models"),
    ("nasvit.importing",),
    ("nasvit.training", "nasvit.export"),
    ("nasvit.names",),
    ("nasvit.tasks", "nasvit.specs"),
    ("nasvit.dense",),
    ("nasvit.backbones",),
    ("nasvit.any_network",),
    ("nasvit.supernets", "nasvit.branches"),
    ("nasvit.elastic",),
    ("nasvit.models",),
    ("nasvit.heads",),
    ("nasvit.layers", "nasvit.data"),
    ("nasvit.files",),
    ("nasvit.compute", "nasvit.options", "nasvit.trust"),
    ("nasvit.allocator",),
    ("predictors",),
    ("search_spaces",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for room in ("nasvit", "predictors", "search_spaces") for path in (ROOT / room).rglob("*.py"))


def room_of(module: str) -> str | None:
    """The room that a module of ours stands in."""
    return next((room for room in FLOOR if module == room or module.startswith(f"{room}.")), None)


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file names, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_uses_its_own_room_and_those_below(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "nasvit":
        return  # the public names, from every room, imported when they are used
    own = room_of(module)
    assert own is not None, f"{module} stands in no room; give it one here and in docs/architecture.md"
    above = {
        used for used in map(room_of, imported(path)) if used is not None and used != own and FLOOR[used] <= FLOOR[own]
    }
    assert not above, f"{module} uses {', '.join(sorted(above))}, on its floor or above"


def test_every_room_is_drawn() -> None:
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert all(
        room.rpartition(".")[2] in drawn
        for room in FLOOR
        if room not in ("nasvit.__main__", "nasvit.files", "nasvit.options", "nasvit.trust", "nasvit.timm_models")
    )
