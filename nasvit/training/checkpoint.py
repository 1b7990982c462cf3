"""Checkpoints that survive a kill, and those that a collapsed training goes back to."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasvit.files.tensors import read_tensors, write_tensors
from nasvit.tasks.task import Metric

State = dict[str, Any]

_BEST = "best.pt"
_NAME = re.compile(r"(step|good)-(\d+)\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Args:
        step: optimizer steps done when it was written.
        state: the saved state.
        path: the file.
    """

    step: int
    state: State
    path: Path


class Checkpoints:
    """The checkpoints of one run, in a folder of their own: the last ones, those to go back to, and the best.

    When the last ones are written is a matter of the clock. What a collapsed training goes back to is not, so that
    its result does not depend on how fast the machine was, or whether it was killed.

    Args:
        folder: folder of the checkpoints, created if missing.
        keep: number of last checkpoints kept, at least 2 so that there is one to fall back to; and of good ones.

    Raises:
        ValueError: if ``keep`` is below 2.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        if keep < 2:
            raise ValueError(f"keep {keep} checkpoints: at least 2, the last and one to fall back to")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: State, *, good: bool = False) -> Path:
        """Write a checkpoint; a kill in the middle leaves earlier ones untouched.

        Args:
            step: optimizer steps done.
            state: tensors, numbers, texts, None, and dicts, lists and tuples of these.
            good: whether a collapse later may go back to this step; which steps are good must follow from the steps.

        Raises:
            ValueError: if the state holds any other value; the message gives its path.
            CannotWriteError: if the disk is full; earlier checkpoints stay.
        """
        path = self._folder / f"{'good' if good else 'step'}-{step:09d}.pt"
        write_tensors(path, {"step": step, "state": state})
        self._drop_old("good" if good else "step")
        return path

    def save_best(self, step: int, state: State, score: float, metric: Metric) -> None:
        """Keep ``state`` as the best if it scores better than the best so far; the earlier of equals stays.

        The best is kept apart from the last ones, score included, so that a run that goes on from an earlier
        checkpoint comes to the same best.

        Args:
            step: optimizer steps done.
            state: as in :meth:`save`.
            score: the score of ``state``.
            metric: decides which score is better.
        """
        best = self.load_best()
        if best is None or metric.better(score, best.state["score"]):
            write_tensors(self._folder / _BEST, {"step": step, "state": {**state, "score": score}})

    def load_best(self) -> Checkpoint | None:
        """Read the best checkpoint; None if there is none.

        Raises:
            ValueError: if it cannot be read.
        """
        best = self._folder / _BEST
        return self._load_first([best] if best.exists() else [])

    def load_last(self) -> Checkpoint | None:
        """Read the newest checkpoint that can be read, warning of every newer one that cannot; None if there is none.

        Raises:
            ValueError: if there are checkpoints and none can be read.
        """
        return self._load_first([path for _, path in reversed(self._files("step", "good"))])

    def load_good(self, until: int) -> Checkpoint | None:
        """Read the newest good checkpoint up to a step, or the oldest if all are later; None if there is none.

        Raises:
            ValueError: if there are good ones and none of those can be read.
        """
        files = self._files("good")
        early = [path for step, path in files if step <= until] or [path for _, path in files[:1]]
        return self._load_first(early[::-1])

    def forget_from(self, step: int) -> None:
        """Remove checkpoints of a step and of later ones, but for the good one there, after going back to ``step``."""
        for number, path in self._files("step", "good"):
            if number > step or (number == step and path.name.startswith("step")):
                path.unlink()

    def _files(self, *kinds: str) -> list[tuple[int, Path]]:
        """Return the step and the path of every checkpoint of some kinds, the oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return sorted((int(match[2]), path) for match, path in found if match and match[1] in kinds)

    def _drop_old(self, kind: str) -> None:
        for _, path in self._files(kind)[: -self._keep]:
            path.unlink()

    def _load_first(self, paths: list[Path]) -> Checkpoint | None:
        for path in paths:
            try:
                content = read_tensors(path)
                return Checkpoint(content["step"], content["state"], path)
            except (ValueError, LookupError, TypeError, OSError) as error:
                warnings.warn(
                    f"checkpoint {path} cannot be read ({error}); falling back to the one before", stacklevel=3
                )
        if paths:
            raise ValueError(
                f"no checkpoint in {self._folder} can be read; remove the folder to start from the beginning"
            )
        return None
