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

from search_spaces.files import read_json as read_json

PACKAGES = ("nasvit", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several processes may write the same
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_record(path: Path, *keys: str) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Args:
        path: the file.
        keys: what it must hold.

    Raises:
        ValueError: if it is none, or lacks one of them.
    """
    content = read_json(path)
    missing = [key for key in keys if key not in content] if isinstance(content, dict) else ["a mapping"]
    if missing:
        raise ValueError(f"{path} is damaged: {missing[0]} is missing; give another folder, or remove that file")
    return content  # type: ignore[no-any-return]


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
