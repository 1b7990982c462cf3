"""Rows of results that are added to a JSON file one by one, so that what was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nasvit.files.records import read_json, versions, write_json

Row = dict[str, Any]


def rows_in(path: Path) -> list[Row]:
    """Return the rows of a JSON file; none if there is no file."""
    return read_json(path)["rows"] if path.exists() else []


class Rows(list[Row]):
    """The rows of a JSON file.

    Args:
        path: the file; what it holds is kept.
        command: what makes the rows, as it is typed; one or several.
        more: what else belongs into the file.
    """

    def __init__(self, path: Path, command: str | list[str], **more: Any) -> None:
        super().__init__(rows_in(path))
        self.path, self.content = path, {"command": command, "versions": versions(), **more}

    def make(self, about: Mapping[str, Any], run: Callable[[], Row | list[Row]]) -> None:
        """Run what makes the row, or the rows, of this, unless there are any; print them and write the file.

        Args:
            about: what distinguishes them from others; becomes a part of each.
            run: returns the rest of the row, or of each.
        """
        if any(about.items() <= row.items() for row in self):
            return
        made = run()
        for row in [made] if isinstance(made, dict) else made:
            self.append({**about, **row})
            print(json.dumps(self[-1]), flush=True)
        write_json(self.path, {**self.content, "rows": self})
