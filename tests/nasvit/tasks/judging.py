"""Each process judges detections of its own, then all judge some together. Run as a program in several processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from nasvit.compute import Compute, open_compute
from nasvit.data.targets import BoxTargets
from nasvit.heads.fcos import FCOS
from nasvit.tasks.detection import Detection

TASK = Detection(1, FCOS(), (64, 64))


def judged(compute: Compute, apart: float) -> float:
    """Return the average precision of one object that is found so many pixels beside where it is."""
    boxes = torch.tensor([[[8.0, 8.0, 48.0, 48.0]]])
    targets = BoxTargets(
        boxes, torch.zeros(1, 1).long(), torch.zeros(1, 1).bool(), torch.tensor([[1600.0]]), torch.ones(1)
    )
    meter = TASK.meter()
    meter.update((boxes + apart, torch.ones(1, 1, 1)), targets)
    return meter.score(compute).map


def main(folder: Path) -> None:
    """Write what this process measured alone, more often than the other, and what all measured together."""
    with open_compute("cpu") as compute:
        alone = [judged(compute.alone(), 3.0 * compute.rank) for _ in range(1 + compute.rank)]
        together = judged(compute, 3.0 * compute.rank)
        (folder / f"{compute.rank}.json").write_text(json.dumps({"alone": alone, "together": together}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
