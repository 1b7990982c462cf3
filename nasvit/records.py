"""Small JSON files that record results, their configuration and versions: written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("nasvit", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several processes may write the same
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: if the file is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no text, or deeper than anybody writes it
        raise ValueError(f"{path} is no JSON: {error}") from error


def made_for(record: Path, asked: Any) -> bool:
    """Return whether ``record`` holds the configuration ``asked``; true if there is no record."""
    return not record.exists() or bool(read_json(record) == asked)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the folder of what this user keeps on this machine: ``$XDG_CACHE_HOME/nasvit``, or ``~/.cache/nasvit``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nasvit"


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
