"""The notebooks of the documentation run from their first cell to their last, use public names alone, and are pages."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import nasvit
import search_spaces
from nasvit import cli
from tests.test_readme import DOCS, hooks

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path) -> list[str]:
    """The code of a notebook, cell by cell; lines of the shell are calls, as IPython makes them."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]
    return [re.sub(r"^!(.*)$", lambda m: f"get_ipython().system({m[1]!r})", text, flags=re.MULTILINE) for text in code]


class Shell:
    """What a notebook calls as ``get_ipython()``: commands of nasvit run in this process."""

    def system(self, line: str) -> None:
        sys.argv[:] = shlex.split(line)
        assert sys.argv[0] == "nasvit"
        cli.main()


@each
def test_every_cell_runs_in_order(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes some seconds, each: what a reader does first has to work, from images to an exported file. Epochs are few."""
    if any("onnxruntime" in cell for cell in cells(path)):
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["notebook"])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which commands replace
    names: dict[str, Any] = {"__name__": "__main__", "get_ipython": Shell}
    for number, cell in enumerate(cells(path), start=1):
        quick = re.sub(r"epochs: \d+", "epochs: 2", cell)
        exec(compile(quick, f"{path.name}, cell {number} of code", "exec"), names)
    assert list(Path("runs").glob("*/results.json"))


@each
def test_notebooks_use_public_names_alone(path: Path) -> None:
    tree = ast.parse("\n".join(cells(path)))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imported if str(node.module).partition(".")[0] in ("nasvit", "predictors")]
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    public = {"nasvit": nasvit.__all__, "search_spaces": search_spaces.__all__}
    assert not [(module, name) for module, name in used if module in public and name not in public[module]]


@each
def test_notebooks_are_small_and_pages_show_all_of_their_cells(path: Path) -> None:
    assert path.stat().st_size < 20_000  # no pictures, no long outputs
    name, made = f"notebooks/{path.stem}.md", hooks()
    page = made.within_docs(made.made_pages()[name], name)
    assert page.count("```python\n") == len(cells(path))
    assert "get_ipython" not in page and ".ipynb)" not in page
    assert f'<a href="{path.name}" download>' in page
