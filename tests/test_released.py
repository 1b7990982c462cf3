"""What the last release promised is still there; ``python -m tests.test_released`` writes what this one promises."""

from __future__ import annotations

import inspect
import json
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import nasvit
import search_spaces
from nasvit import cli
from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig
from nasvit.report.fields import list_fields

ROOT = Path(__file__).parents[1]
RELEASED = Path(__file__).with_name("released.json")


def version() -> str:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup["metadata"]["version"]


def parameters(given: Any) -> list[str]:
    """The parameters of a function or class; of other values, such as unions of types, there are none."""
    return list(inspect.signature(given).parameters) if inspect.isclass(given) or inspect.isroutine(given) else []


def promised() -> dict[str, list[str]]:
    """Everything that stays from one version to the next: what has parts, with the names of these."""
    found = {
        f"{module.__name__}.{name}": parameters(getattr(module, name))
        for module in (nasvit, search_spaces)
        for name in module.__all__
    }
    found |= {
        f"nasvit {name}": parameters(command) for name, command in (cli.COMMANDS | cli._latency_commands()).items()
    }
    return found | {
        "fields experiment": sorted(list_fields(Experiment)),
        "fields fit": sorted(list_fields(FitConfig)),
    }


def test_what_the_last_release_promised_is_still_there() -> None:
    """What is missing here has to work and warn for one minor version first: docs/reference/stability.md."""
    now = promised()
    gone = [
        f"{name}: {part}"
        for name, parts in json.loads(RELEASED.read_text(encoding="utf-8"))["promised"].items()
        for part in (["all of it"] if name not in now else sorted(set(parts) - set(now[name])))
    ]
    assert not gone


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    released = json.loads(RELEASED.read_text(encoding="utf-8"))["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert version() == released
    assert f"\nversion: {released}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {released} - 20" in changelog and "\n## Unreleased\n" in changelog


if __name__ == "__main__":
    lines = (f"  {json.dumps(name)}: {json.dumps(parts)}" for name, parts in promised().items())
    start, end = f'{{\n "version": "{version()}",\n "promised": {{\n', "\n }\n}\n"
    RELEASED.write_text(start + ",\n".join(lines) + end, encoding="utf-8")
