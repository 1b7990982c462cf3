"""The three packages that are installed, and the metadata that installs them."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("nasvit", "predictors", "search_spaces")


def modules() -> list[str]:
    """Return the name of every module of the packages, as an import statement has it."""
    paths = [path.relative_to(ROOT).with_suffix("") for name in NAMES for path in (ROOT / name).rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def metadata() -> ConfigParser:
    """Return ``setup.cfg``."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def required() -> list[Requirement]:
    """Return what an installation always brings along."""
    return _parsed(metadata()["options"]["install_requires"])


def extras() -> dict[str, list[Requirement]]:
    """Return what each extra brings along."""
    return {name: _parsed(text) for name, text in metadata()["options.extras_require"].items()}


def _parsed(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line.strip()]
