"""A whole experiment that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sklearn import datasets
from sklearn.utils import Bunch

from nasvit.export import saved

EXPERIMENT = """\
space: micro8
note: a test
threads: 1
data: {source: digits, validation: 0.6, padding: 1}
train:
  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 2, batch_size: 64, clip_norm: 1.0}
  random_subnets: 1
  evaluate_every: 2
search:
  budgets: [macs<=300K, 300K<=macs<=600K and params<=60K]
  evaluations: 14
  finalists: 2
  images: 100
  calibration_batches: 1
  calibration_batch_size: 64
finetune: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 64, ema_decay: 0.9}
compare: {scratch: true, equal: epochs, random: 1}
"""


@contextmanager
def without_programs() -> Iterator[None]:
    """Save networks without really exporting them, which takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved, "export_program", lambda network, path, **_: path.write_bytes(b"a program"))
        yield


@contextmanager
def few_digits(count: int = 600) -> Iterator[None]:
    """Let the source ``digits`` be the first of its images, where nobody asks how much is learned of them."""
    everything = datasets.load_digits

    def first() -> Any:
        found = everything()
        return Bunch(**{**found, "images": found.images[:count], "target": found.target[:count]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_digits", first)
        yield


def write_experiment(folder: Path, **replaced: str) -> Path:
    """Write the experiment as ``tiny.yaml``; the line of a key that is given is replaced by the text given."""
    text = EXPERIMENT
    for key, line_of_it in replaced.items():
        lines = [line_of_it if line.strip().startswith(f"{key}:") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path
