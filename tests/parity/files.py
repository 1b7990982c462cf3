"""Case files: which of a folder's files are cases, and how they are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def case_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files named, and of every folder named its files but layouts and texts (``*.md``).

    Raises:
        ValueError: for a path that does not exist.
    """
    for path in paths:
        if path.is_dir():
            yield from (p for p in sorted(path.iterdir()) if p.is_file() and p.suffix != ".md" and not is_layout(p))
        elif path.is_file():
            yield path
        else:
            raise ValueError(f"there is no file or folder {path}")


def is_layout(path: Path) -> bool:
    """True for a list of tensor names and shapes, which cases need and which is none."""
    return "layout" in path.name


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file, also a gzipped one.

    Raises:
        ValueError: if it is not a JSON object.
    """
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")
    try:
        with opened as file:
            content = json.load(file)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is no readable JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}; a case file holds a JSON object")
    return content
