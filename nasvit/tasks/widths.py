"""Evaluation of a slimmable network at each of its widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from nasvit.compute import ALONE, Compute
from nasvit.layers.calibration import calibrate
from nasvit.supernets.widths import Slimmable
from nasvit.tasks.task import Batches, Task


def evaluate_widths(
    network: Slimmable[Any],
    task: Task,
    batches: Callable[[], Batches],
    widths: Sequence[Any] | None = None,
    calibration: Sequence[Tensor] | None = None,
    compute: Compute = ALONE,
) -> dict[str, float]:
    """Return the score at each width, by names such as ``accuracy_0.5`` (other sizes are named by their key).

    Args:
        network: the network, which is not changed.
        task: what the scores measure, and their name.
        batches: callable that returns the labeled batches: this process's share.
        widths: widths to evaluate; all switches if left out.
        calibration: batches of images to take batch-norm statistics from, for this evaluation alone; None uses the
            stored statistics of the network.
        compute: the processes that the images, calibration too, are shared out to.

    Raises:
        ValueError: if the network cannot run at a width.
        RuntimeError: if a width has no statistics and ``calibration`` is None.
    """
    subnets = {}
    for width in network.widths if widths is None else widths:
        name = str(width) if isinstance(width, (int, float)) else width.key
        subnets[f"{task.metric.name}_{name}"] = subnet = network.at(width)
        if calibration is not None:
            calibrate(subnet, calibration, compute=compute)
    scores = task.evaluate_all([*subnets.values()], batches(), compute)
    return {name: round(score.value, 4) for name, score in zip(subnets, scores, strict=True)}
