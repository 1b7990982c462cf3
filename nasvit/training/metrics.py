"""Numbers of a run as one JSON object a line, the same after a kill and resume as without."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from nasvit.files.records import read_lines
from nasvit.files.whole import CannotWriteError, write_text

if TYPE_CHECKING:
    from typing_extensions import Self

WALL_CLOCK = ("seconds", "images_per_second")
"""Fields that measure the speed of the machine, and so differ between two equal runs."""

Record = dict[str, Any]


class Metrics:
    """Appends records to a JSONL file; every record is on disk before training goes on.

    Args:
        path: the file; its folder is created.
        resume_step: go on after this step: later records, which a killed run wrote and which will be written again,
            are removed. None starts the file anew.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep_until(path, resume_step)
        self._path = path
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one record.

        Args:
            step: optimizer steps done.
            values: JSON values; numbers that are not finite are written as text, which ``read_metrics`` turns back.

        Raises:
            ValueError: if ``values`` has a ``step`` of its own.
        """
        if "step" in values:
            raise ValueError("metrics: 'step' is the field of the step itself; name the value otherwise")
        line = json.dumps({"step": step, **{name: _written(value) for name, value in values.items()}}, allow_nan=False)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise CannotWriteError(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path, *, wall_clock: bool = True) -> list[Record]:
    """Read all whole records; a last line that a kill cut off is left out.

    Args:
        path: a file that ``Metrics`` wrote.
        wall_clock: keep the fields in ``WALL_CLOCK``; without them equal runs have equal records.

    Raises:
        ValueError: if a line other than the last is not a JSON object; see :func:`nasvit.files.records.read_lines`.
    """
    return [
        {name: _read(value) for name, value in record.items() if wall_clock or name not in WALL_CLOCK}
        for record in read_lines(path, "step")
    ]


def _keep_until(path: Path, step: int | None) -> None:
    if not path.exists():
        return
    records = [] if step is None else read_metrics(path)
    # By place, not by step alone: a run that was rolled back has counted the same steps before and keeps those records.
    kept = max((place for place, record in enumerate(records, 1) if record["step"] <= (step or 0)), default=0)
    lines = [json.dumps({name: _written(value) for name, value in each.items()}, allow_nan=False) for each in records]
    write_text(path, "".join(f"{line}\n" for line in lines[:kept]))


def _written(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _read(value: Any) -> Any:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
