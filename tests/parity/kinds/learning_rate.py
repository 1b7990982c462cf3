"""The learning rate of single updates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nasvit.training.schedule import LearningRate
from tests.parity.rows import Comparison, Row

TOLERANCE = 1e-9


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Points of update and rate beside the schedule's rates."""
    return {"base_lr", "min_lr", "warmup_lr", "points"} <= set(content)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare the rate at every point."""
    schedule = read_schedule(content)
    comparison = Comparison(f"cosine over {schedule.steps} steps", TOLERANCE)
    if "init" in content:
        comparison.values("before the first update", schedule(0), content["init"])
    for update, rate in content["points"]:
        comparison.values(f"update {update}", schedule(update), rate)
    yield comparison.row()


def read_schedule(content: dict[str, Any]) -> LearningRate:
    """Return the schedule; its lengths are told in the file's note only."""
    note = content["note"]
    per_epoch, epochs, warmup = (
        int(_find(pattern, note)) for pattern in (r"n_iter_per_epoch=(\d+)", r"(\d+) epochs", r"warm-?up (\d+)")
    )
    return LearningRate(
        per_epoch * epochs,
        content["base_lr"],
        warmup_steps=per_epoch * warmup,
        warmup_start=content["warmup_lr"],
        minimum=content["min_lr"],
    )


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"the note does not tell {pattern!r}: {text!r}")
    return found[1]
