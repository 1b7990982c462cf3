"""``nasvit tensorboard``: the numbers of a folder's trainings and search as TensorBoard reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from nasvit.training.metrics import read_metrics

EVERY = 5.0  # seconds between two looks
_EVALUATIONS = "evaluations.jsonl"


class Mirror:
    """Events that say what the logs of a folder say.

    Args:
        folder: folder of results, finished or not; all trainings inside are found.
        out: folder of the events; those that are there are written anew.

    Raises:
        ImportError: if TensorBoard is not installed.
        ValueError: if there is no such folder.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder of results")
        try:
            import_module("tensorboard")
        except ImportError as error:
            raise ImportError("TensorBoard is not installed: pip install 'nasvit[track]'") from error
        self.folder, self.out = folder, out
        self._written: dict[Path, int] = {}
        self._writers: dict[Path, Any] = {}
        for earlier in out.rglob("events.out.tfevents.*") if out.exists() else ():
            earlier.unlink()

    def look(self) -> int:
        """Write the records that came since the last look, and return how many."""
        new = 0
        for log in sorted(self.folder.rglob("metrics.jsonl")) + sorted(self.folder.rglob(_EVALUATIONS)):
            records = list(_records(log))
            for step, values in records[self._written.get(log, 0) :]:
                for name, value in values.items():
                    self._writer(log).add_scalar(name, value, step)
            new += max(0, len(records) - self._written.get(log, 0))
            self._written[log] = len(records)
        for writer in self._writers.values():
            writer.flush()
        return new

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, log: Path) -> Any:
        if log not in self._writers:
            make: Any = import_module("torch.utils.tensorboard").SummaryWriter
            self._writers[log] = make(str(self.out / log.parent.relative_to(self.folder)))
        return self._writers[log]


def _records(log: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the step of every whole record and its numbers; of a search, the step is the number of the evaluation."""
    if log.name == _EVALUATIONS:
        for number, line in enumerate(log.read_text(encoding="utf-8").split("\n")[:-1], 1):
            yield number, _numbers(json.loads(line))
        return
    for record in read_metrics(log):
        yield record["step"], _numbers({name: value for name, value in record.items() if name != "step"})


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in values.items() if type(value) in (int, float)}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= {f"{name}/{inner}": number for inner, number in _numbers(value).items()}
    return numbers


def show_in_tensorboard(folder: Path, out: Path | None, *, follow: bool) -> None:
    """Write the events of a folder, once or until stopped.

    Raises:
        ImportError: if TensorBoard is not installed.
        ValueError: if there is no such folder, or nothing was trained in it.
    """
    out = out or folder / "tensorboard"
    mirror = Mirror(folder, out)
    found = mirror.look()
    if not found and not follow:
        raise ValueError(f"{folder} has no numbers of a training or search yet; --follow waits for them")
    print(f"{found} records are in {out}; look at them: tensorboard --logdir {out}", flush=True)
    try:
        while follow:
            time.sleep(EVERY)
            mirror.look()
    finally:
        mirror.close()
