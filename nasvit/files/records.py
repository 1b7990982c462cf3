"""Small JSON files that record results, their configuration and versions: written whole, and checked when read."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import search_spaces.files
from nasvit.files.whole import write_text

PACKAGES = ("nasvit", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn")

_DIGEST, _LIST = "digest", "list"


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON for others to read, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_record(path: Path, content: Any) -> None:
    """Write what this library reads again: ``content``, an object or a list, with a digest of it."""
    content = json.loads(json.dumps(content))  # as it will be read: texts for keys, lists for tuples
    fields = content if isinstance(content, dict) else {_LIST: content}
    write_json(path, {**fields, _DIGEST: _digest(fields)})


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; of a record without its digest.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is not JSON, or a record that is not as it was written; the message names it.
    """
    content = search_spaces.files.read_json(path)
    if not isinstance(content, dict) or _DIGEST not in content:
        return content
    if content.pop(_DIGEST) != _digest(content):
        raise ValueError(
            f'{path} is damaged, or was changed by hand: its digest is another; remove the line "{_DIGEST}" if its '
            "content is right"
        )
    return content[_LIST] if content.keys() == {_LIST} else content


def read_record(path: Path, *names: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: the file.
        names: what it must hold.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: as :func:`read_json` does, or if it holds no object with these; the message names the file.
    """
    content = read_json(path)
    missing = [name for name in names if name not in content] if isinstance(content, dict) else ["an object"]
    if missing:
        raise ValueError(f"{path} is damaged: {missing[0]} is missing; give another folder, or remove that file")
    return content  # type: ignore[no-any-return]


def read_lines(path: Path, *names: str) -> list[dict[str, Any]]:
    """Return the objects of a file that grows by one JSON object a line; a last line that a kill cut off is left out.

    Args:
        path: the file.
        names: what each object has at least.

    Raises:
        ValueError: if another line is not such an object; the message names it.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_object_in(line, f"{path}:{number}", names) for number, line in enumerate(lines, start=1)]


def resumed_lines(path: Path, *names: str) -> list[dict[str, Any]]:
    """Return the objects of such a file that lines are to be added to, and remove a last line that a kill cut off.

    Args:
        path: the file; there may be none yet.
        names: what each object has at least.

    Raises:
        ValueError: as :func:`read_lines` does.
    """
    if not path.exists():
        return []
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
    return read_lines(path, *names)


def _object_in(line: bytes, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged, it is no JSON: {error}; remove that line") from error
    missing = [name for name in names if not isinstance(found, dict) or name not in found]
    if missing or not isinstance(found, dict):
        raise ValueError(f"{where} is damaged, it has no {', '.join(missing)}; remove that line")
    return found


def made_for(record: Path, asked: Any) -> bool:
    """Return whether ``record`` holds the configuration ``asked``; true if there is no record."""
    return not record.exists() or bool(read_json(record) == asked)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


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
