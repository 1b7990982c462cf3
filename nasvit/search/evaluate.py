"""What a subnet scores with the weights it inherits from the supernet, and a journal that remembers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nasvit.calibration import calibrate
from nasvit.data.loader import Batch
from nasvit.evaluation import Score, evaluate
from nasvit.supernet import Supernet
from search_spaces import Architecture, Space


class InheritedWeights:
    """Scores subnets with the supernet's weights: calibrate, then evaluate on held-out images.

    Args:
        supernet: trained.
        calibration: batches of training images.
        validation: gives the held-out batches anew at each call.
    """

    def __init__(
        self, supernet: Supernet, calibration: Sequence[Tensor], validation: Callable[[], Sequence[Batch]]
    ) -> None:
        self.supernet, self.calibration, self.validation = supernet, calibration, validation

    def __call__(self, architecture: Architecture) -> Score:
        """Return the score of one subnet."""
        network = calibrate(self.supernet.at(architecture), self.calibration)
        return evaluate(network, self.validation())


class Journal:
    """Remembers scores by architecture in a file, one JSON object a line, so that none is measured twice.

    A search that was killed is simply run again: what is in the journal costs nothing, and because the search itself
    is deterministic it takes the same turns as before.

    Args:
        path: the file; lines of an earlier run are kept, a last line that a kill cut off is dropped.
        space: gives the architectures of a population.
        measure: scores an architecture that is not in the journal; its numbers must fit JSON.
    """

    def __init__(self, path: Path, space: Space, measure: Callable[[Architecture], dict[str, Any]]) -> None:
        self.path, self.space, self.measure = path, space, measure
        self.records: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            whole, end, _ = path.read_text(encoding="utf-8").rpartition("\n")
            self.records = {record["key"]: record for record in map(json.loads, whole.splitlines())}
            with path.open("r+", encoding="utf-8") as file:
                file.truncate(len((whole + end).encode()))

    def record(self, architecture: Architecture) -> dict[str, Any]:
        """Return what is known of an architecture, measuring it if nothing is."""
        key = architecture.key
        if key not in self.records:
            record = {"key": key, "architecture": json.loads(architecture.to_json()), **self.measure(architecture)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.records[key] = record
        return self.records[key]

    def accuracies(self, population: np.ndarray) -> np.ndarray:
        """Return the accuracy of every row of a population, shape ``(n,)``."""
        return np.array([self.record(architecture)["accuracy"] for architecture in self.space.decode(population)])
