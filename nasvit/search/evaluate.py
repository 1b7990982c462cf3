"""What a subnet scores with the weights it inherits from the supernet, and a journal that remembers scores."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nasvit.data.loader import Batch
from nasvit.files.records import resumed_lines
from nasvit.layers.calibration import calibrate
from nasvit.layers.fake_quantize import fake_quantize, set_ranges
from nasvit.search.candidates import Candidate
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.tasks.task import Score, Task
from search_spaces import Subnet


class InheritedWeights:
    """Scores subnets with the supernet's weights: calibrate, then evaluate on held-out images.

    Args:
        supernet: trained.
        task: scores a subnet.
        calibration: batches of training images.
        validation: gives the held-out batches anew at each call.
        rounded: score subnets as networks of 8-bit integers.
    """

    def __init__(
        self,
        supernet: SharedNetwork,
        task: Task,
        calibration: Sequence[Tensor],
        validation: Callable[[], Iterable[Batch]],
        *,
        rounded: bool = False,
    ) -> None:
        self.supernet, self.task, self.calibration, self.validation = supernet, task, calibration, validation
        self.rounded = rounded

    def __call__(self, architecture: Subnet) -> Score:
        """Return the score of one subnet."""
        return self.task.evaluate(self.calibrated(architecture), self.validation())

    def calibrated(self, architecture: Subnet) -> nn.Module:
        """Return one subnet with batch-norm statistics of its own, and ranges of its maps if it is rounded."""
        subnet = calibrate(self.supernet.at(architecture), self.calibration)
        if not self.rounded:
            return subnet
        return set_ranges(fake_quantize(copy.deepcopy(subnet)), self.calibration)


class Journal:
    """Remembers records by candidate in a file, one JSON object a line, so that none is measured twice.

    Args:
        path: the file; lines of an earlier run are kept, a last line that a kill cut off is dropped.
        measure: scores a candidate that is not in the journal; its numbers must fit JSON.
    """

    def __init__(self, path: Path, measure: Callable[[Candidate], dict[str, Any]]) -> None:
        self.path, self.measure = path, measure
        path.parent.mkdir(parents=True, exist_ok=True)
        self.records = {record["key"]: record for record in resumed_lines(path, "key")}

    def record(self, candidate: Candidate) -> dict[str, Any]:
        """Return what is known of a candidate, measuring it if nothing is."""
        if candidate.key not in self.records:
            record = {"key": candidate.key, **candidate.to_json(), **self.measure(candidate)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.records[candidate.key] = record
        return self.records[candidate.key]
