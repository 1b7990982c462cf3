"""What the README shows is legal: its YAML files load, and its Python finds all that it imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig

README = "\n".join(
    (Path(__file__).parents[1] / name).read_text(encoding="utf-8") for name in ("README.md", "docs/dense.md")
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: text.partition(" ")[0])
@pytest.mark.parametrize("comments", ["as comments", "as text"])
def test_every_yaml_file_loads_with_and_without_what_is_commented_out(text: str, comments: str, tmp_path: Path) -> None:
    kind: type[Experiment] | type[FitConfig] = Experiment if "\nsearch:" in text else FitConfig
    if comments == "as text":
        text = re.sub(r"^# (?=\w+: )", "", text, flags=re.MULTILINE)
        text = re.sub(r"^netaug: .*\n", "", text, flags=re.MULTILINE)  # stands there instead of branches
    (tmp_path / "readme.yaml").write_text(text, encoding="utf-8")
    assert isinstance(kind.load(tmp_path / "readme.yaml"), kind)


@pytest.mark.parametrize("text", blocks("python"), ids=range(len(blocks("python"))))
def test_every_import_is_there(text: str) -> None:
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    exec(compile(ast.Module(imports, type_ignores=[]), "README.md", "exec"), {})


def test_every_statement_about_security_names_tests_that_there_are() -> None:
    root = Path(__file__).parents[1]
    named = re.findall(r"`(test_\w+)`", (root / "docs" / "security.md").read_text(encoding="utf-8"))
    there = {
        name for path in (root / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 20 and set(named) <= there, set(named) - there
