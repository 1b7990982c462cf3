"""One line of the parity table, and the rule by which a deviation is measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Status = Literal["pass", "fail", "differs"]
Numbers = Tensor | NDArray[Any] | Sequence[Any] | float


@dataclass(frozen=True)
class Row:
    """One compared case.

    Args:
        case: its name.
        deviation: the worst relative deviation of all its numbers.
        tolerance: the most that passes.
        status: ``differs`` is a difference by design, neither passed nor failed.
        note: what deviated most, or why it differs.
    """

    case: str
    deviation: float
    tolerance: float
    status: Status
    note: str = ""


def failed(case: str, note: str) -> Row:
    """A row for something that could not be compared at all."""
    return Row(case, math.inf, 0.0, "fail", note)


def differs(case: str, note: str, deviation: float = math.nan) -> Row:
    """A row for a difference by design."""
    return Row(case, deviation, math.nan, "differs", note)


def attempt(case: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a case; an error becomes a failed row, so that the other cases are still compared."""
    try:
        yield from rows
    except Exception as error:
        yield failed(case, f"{type(error).__name__}: {error}")


class Comparison:
    """Collects the worst deviation of a case.

    Args:
        case: the name of the row.
        tolerance: the most that passes.
    """

    def __init__(self, case: str, tolerance: float) -> None:
        self.case, self.tolerance = case, tolerance
        self.deviation, self.worst = 0.0, ""
        self.compared = 0
        self._excess = 0.0

    def values(self, label: str, ours: Numbers, expected: Numbers, tolerance: float | None = None) -> None:
        """Compare lists (or single numbers): the largest difference over the largest expected magnitude."""
        mine, theirs = as_array(ours), as_array(expected)
        if mine.shape != theirs.shape:
            self._note(f"{label}: shape {mine.shape} instead of {theirs.shape}", math.inf)
            return
        scale = float(np.abs(theirs).max(initial=0.0))
        difference = float(np.abs(mine - theirs).max(initial=0.0))
        self._note(label, difference / scale if scale else difference, tolerance)

    def total(self, label: str, ours: Numbers, expected: Numbers, norm: float, tolerance: float | None = None) -> None:
        """Compare a sum: the difference over the L2 norm of what was summed."""
        difference = abs(float(as_array(ours)) - float(as_array(expected)))
        self._note(label, difference / norm if norm else difference, tolerance)

    def exact(self, label: str, ours: Any, expected: Any) -> None:
        """Compare counts, indices, names: equal or not."""
        mine = ours.tolist() if isinstance(ours, Tensor) else ours
        same = mine == expected
        note = label if same else f"{label}: {_short(mine)} instead of {_short(expected)}"
        self._note(note, 0.0 if same else math.inf)

    def absolute(self, label: str, ours: float, expected: float, most: float) -> None:
        """Compare a number that was printed with few digits: ``most`` is what its rounding allows."""
        difference = abs(ours - expected)
        self._note(f"{label} ({ours!r} for {expected!r})", 0.0 if difference <= most else difference / abs(expected))

    def summary(self, label: str, output: Tensor, expected: dict[str, Any], first: str = "first16") -> None:
        """Compare logits ``(batch, classes)`` with their first values, sum, L2 norm and arg-max."""
        head = expected[first]
        self.values(f"{label} first", output[0, : len(head)], head)
        self.total(f"{label} sum", output.sum(), expected["sum"], expected["l2"])
        self.values(f"{label} l2", output.norm(), expected["l2"])
        self.exact(f"{label} argmax", output.argmax(1), expected["argmax"])

    def row(self, note: str = "") -> Row:
        """Close the case."""
        if not self.compared:
            return failed(self.case, "nothing to compare")
        if self._excess > 1:
            return Row(self.case, self.deviation, self.tolerance, "fail", self.worst)
        return Row(self.case, self.deviation, self.tolerance, "pass", note)

    def _note(self, label: str, deviation: float, tolerance: float | None = None) -> None:
        """Remember the deviation that exceeds its tolerance most (each number may have its own)."""
        self.compared += 1
        deviation = math.inf if math.isnan(deviation) else deviation
        excess = deviation / (self.tolerance if tolerance is None else tolerance)
        if excess > self._excess:
            self._excess, self.worst = excess, label
        self.deviation = max(self.deviation, deviation)


def as_array(numbers: Numbers) -> NDArray[np.float64]:
    """Return numbers as a float64 array; text such as ``"nan"`` stands for non-finite ones."""
    if isinstance(numbers, Tensor):
        return numbers.detach().to("cpu", torch.float64).numpy()
    return np.asarray(numbers, dtype=np.float64)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
