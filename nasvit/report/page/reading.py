"""Files of a folder that may be unfinished: what is missing is empty, what is damaged is told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasvit.files.records import read_json

Fields = Mapping[str, Any]


class Reader:
    """Reads the files of a folder.

    Args:
        folder: the folder.

    Attributes:
        notes: a line for every file that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []

    def note(self, path: Path, problem: object) -> None:
        """Remember once that a file is damaged."""
        name = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        line = f"{name} is damaged or was cut off: {str(problem).removeprefix(f'{path} ')}"
        if line not in self.notes:
            self.notes.append(line)

    def json(self, name: str | Path) -> Any:
        """Return the content of a JSON file; None if it is missing or damaged."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return read_json(path)
        except (ValueError, OSError) as error:
            self.note(path, error)
            return None

    def mapping(self, name: str | Path) -> dict[str, Any]:
        """Return the fields of a JSON object; none if the file is missing, damaged, or holds something else."""
        content = self.json(name)
        return content if isinstance(content, dict) else {}

    def objects(self, name: str | Path) -> list[dict[str, Any]]:
        """Return the objects of a JSON list; none if the file is missing, damaged, or holds something else."""
        content = self.json(name)
        return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []

    def lines(self, name: str | Path) -> list[dict[str, Any]]:
        """Return the objects of a file with one a line; a last line that a kill cut off is left out."""
        path = self.folder / name
        if not path.is_file():
            return []
        try:
            *whole, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError as error:
            self.note(path, error)
            return []
        found = [self._line(path, number, line) for number, line in enumerate(whole, start=1)]
        return [each for each in found if each is not None]

    def _line(self, path: Path, number: int, line: str) -> dict[str, Any] | None:
        try:
            content = json.loads(line)
        except ValueError as error:
            self.note(path, f"line {number}: {error}")
            return None
        return content if isinstance(content, dict) else None


def mapping_of(content: Any) -> Fields:
    """Return a value if it is a mapping, else an empty one."""
    return content if isinstance(content, Mapping) else {}


def number_of(value: Any) -> float:
    """Return a number of a record, also one that is written as text because it is not finite; NaN if it is none."""
    if isinstance(value, str) and value in ("Infinity", "-Infinity"):
        return float(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan
