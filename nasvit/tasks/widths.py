"""Evaluation of a slimmable network at each of its widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from nasvit.layers.calibration import calibrate
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.tasks.task import Batches, Task


def evaluate_widths(
    network: SlimmableNetwork,
    task: Task,
    batches: Callable[[], Batches],
    widths: Sequence[Width] | None = None,
    calibration: Sequence[Tensor] | None = None,
) -> dict[str, float]:
    """Return the score at each width, by names such as ``accuracy_0.5`` (a channel plan is named by its key).

    Args:
        network: the network, which is not changed.
        task: what the scores measure, and their name.
        batches: callable that returns the labeled batches, anew for every width.
        widths: widths to evaluate; all switches if left out.
        calibration: batches of images to take batch-norm statistics from, for this evaluation alone; None uses the
            stored statistics of the network.

    Raises:
        ValueError: if the network cannot run at a width.
        RuntimeError: if a width has no statistics and ``calibration`` is None.
    """
    scores = {}
    for width in network.widths if widths is None else widths:
        subnet = network.at(width)
        if calibration is not None:
            calibrate(subnet, calibration)
        name = str(width) if isinstance(width, (int, float)) else width.key
        scores[f"{task.metric.name}_{name}"] = round(task.evaluate(subnet, batches()).value, 4)
    return scores
