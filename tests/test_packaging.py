"""What is declared is what is used: requirements, extras, packages."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.packages import NAMES, ROOT, extras, required


def sources() -> Iterator[Path]:
    return (path for name in NAMES for path in (ROOT / name).rglob("*.py"))


@cache
def all_distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def distributions(module: str) -> set[str]:
    """The distributions that bring a module along, or its own name if none is installed."""
    return set(map(canonicalize_name, all_distributions().get(module, [module])))


def imported(path: Path, *, at_once: bool) -> set[str]:
    """The top-level modules of others that a file imports: when it is imported itself, or ever."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        if at_once and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = []
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} - set(NAMES) - sys.stdlib_module_names


@pytest.mark.parametrize("name", NAMES)
def test_every_folder_with_modules_is_a_package(name: str) -> None:
    """A folder without ``__init__.py`` can be imported from a clone and is missing in a wheel."""
    folders = {path.parent for path in (ROOT / name).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_whatever_is_imported_with_a_module_is_required() -> None:
    names = {canonicalize_name(requirement.name) for requirement in required()}
    missing = {
        (path.name, m) for path in sources() for m in imported(path, at_once=True) if not distributions(m) & names
    }
    assert not missing


def test_whatever_a_function_imports_is_required_or_in_an_extra() -> None:
    known = [*required(), *(each for name, listed in extras().items() if name != "test" for each in listed)]
    names = {canonicalize_name(requirement.name) for requirement in known}
    missing = {
        (path.name, m) for path in sources() for m in imported(path, at_once=False) if not distributions(m) & names
    }
    assert not missing


def test_whatever_is_required_is_imported() -> None:
    used = {name for path in sources() for module in imported(path, at_once=False) for name in distributions(module)}
    assert not [str(each) for each in required() if canonicalize_name(each.name) not in used]


@pytest.mark.parametrize("extra", [name for name in extras() if name not in ("test", "docs")])
def test_whatever_an_extra_installs_is_named_in_the_code(extra: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sources())
    for each in extras()[extra]:
        module = each.name.replace("-", "_")
        assert re.search(rf'"{module}"|import {module}\b|from [\w.]*{module} import', text), each


def test_no_requirement_has_an_upper_bound() -> None:
    """A release that is not out yet is not known to fail; a cap would refuse everyone who has it."""
    specifiers = [spec for each in [*required(), *sum(extras().values(), [])] for spec in each.specifier]
    assert specifiers
    assert not [str(spec) for spec in specifiers if spec.operator != ">="]
