"""``nasvit tensorboard``: the numbers of a folder's trainings and search as TensorBoard reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from nasvit.search.optuna_sampler import records_in
from nasvit.training.metrics import read_metrics

EVERY = 5.0  # seconds between two looks
_METRICS, _EVALUATIONS, _STUDY = "metrics.jsonl", "evaluations.jsonl", "study.db"
_EVENTS = "events.out.tfevents.*"


class Mirror:
    """Events that say what the logs of a folder say.

    Args:
        folder: folder of results, finished or not; all trainings inside are found.
        out: folder of the events, one folder inside for each training and search. Earlier events of these are written
            anew, and nothing else is touched.

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

    def look(self) -> int:
        """Write the records that came since the last look, and return how many."""
        return sum(self._add(run, list(records)) for run, records in self._logs())

    def _logs(self) -> Iterator[tuple[Path, Iterator[tuple[int, dict[str, float]]]]]:
        """Yield the folder of every training and search, and the steps and numbers of its whole records."""
        for log in sorted(self.folder.rglob(_METRICS)):
            yield log.parent, _of_training(log)
        for search in sorted({log.parent for name in (_STUDY, _EVALUATIONS) for log in self.folder.rglob(name)}):
            yield search, _of_search(search)

    def _add(self, run: Path, records: list[tuple[int, dict[str, float]]]) -> int:
        before, self._written[run] = self._written.get(run, 0), len(records)
        new = records[before:]
        folder = self.out / run.relative_to(self.folder)
        if not before:
            for earlier in folder.glob(_EVENTS):
                earlier.unlink()
        if new:
            writer: Any = import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
            for step, values in new:
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
            writer.close()
        return len(new)


def _of_training(log: Path) -> Iterator[tuple[int, dict[str, float]]]:
    for record in read_metrics(log):
        yield record["step"], _numbers({name: value for name, value in record.items() if name != "step"})


def _of_search(folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the number and the scores of every evaluation, of a search that is under way too."""
    path = folder / _EVALUATIONS
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else None
    records = records_in(folder / _STUDY) if lines is None else map(json.loads, lines)
    for number, record in enumerate(records, 1):
        yield number, _numbers(record)


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
    while follow:
        time.sleep(EVERY)
        mirror.look()
