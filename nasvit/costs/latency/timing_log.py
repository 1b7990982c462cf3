"""A file that keeps every measurement as soon as it is made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.files import from_json, read_file


class Timing(NamedTuple):
    """One measurement of a module.

    Args:
        milliseconds: milliseconds of one call.
        yardstick: milliseconds of one call of the yardstick, run in turns with it; None if there was none.
    """

    milliseconds: float
    yardstick: float | None = None


class TimingLog:
    """Measurements by module and round, one JSON object a line; a kill loses the one that was being made.

    Args:
        path: the file; an earlier run's lines are kept, a last line that a kill cut off is dropped.
        conditions: everything that a measurement depends on; the first line of the file.

    Raises:
        ValueError: if the file was begun under other conditions.
    """

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self.path, self._conditions = path, dict(conditions)
        self._measured: dict[str, dict[int, Timing]] = {}
        lines = _whole_lines(path)
        if lines:
            _check(path, lines[0]["conditions"], conditions)
        for line in lines[1:]:
            timing = Timing(line["milliseconds"], line["yardstick"])
            self._measured.setdefault(line["subject"], {})[line["round"]] = timing

    def has(self, name: str, number: int) -> bool:
        """Return whether a module was measured in a round."""
        return number in self._measured.get(name, {})

    def timings(self) -> Iterator[Timing]:
        """Return all measurements."""
        for rounds in self._measured.values():
            yield from rounds.values()

    def rounds(self, name: str) -> list[Timing]:
        """Return the measurements of a module, round by round."""
        measured = self._measured.get(name, {})
        return [measured[number] for number in sorted(measured)]

    def add(self, name: str, number: int, timing: Timing) -> None:
        """Keep a measurement, in the file first."""
        if not self._measured:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"conditions": self._conditions}) + "\n", encoding="utf-8")
        self._append({"subject": name, "round": number, **timing._asdict()})
        self._measured.setdefault(name, {})[number] = timing

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a timing log, and remove an unfinished last one from the file."""
    if not path.exists():
        return []
    whole, end, _ = read_file(path).rpartition("\n")
    with path.open("r+", encoding="utf-8") as file:
        file.truncate(len((whole + end).encode()))
    return [from_json(line, f"{path}, line {number},") for number, line in enumerate(whole.splitlines(), 1)]


def _check(path: Path, begun: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
    for name, value in json.loads(json.dumps(conditions)).items():
        if begun.get(name) != value:
            raise ValueError(
                f"the measurements in {path} were made with {name} {begun.get(name)!r}, now it is {value!r}; use "
                f"the same again, delete that file, or name another one with --out"
            )
