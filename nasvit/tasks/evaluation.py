"""How good a network is on a set of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Score:
    """What an evaluation measured.

    Args:
        accuracy: share of the images whose highest score is the right class, 0 to 1.
        class_accuracy: mean over the classes of the share of each, 0 to 1; what to look at when classes are unbalanced.
        loss: mean cross entropy, in nats.
        images: how many images were looked at.
    """

    accuracy: float
    class_accuracy: float
    loss: float
    images: int


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Evaluate ``network`` on labelled batches; afterwards it is in evaluation mode.

    Args:
        network: a plain network with batch-norm statistics of its own (see :func:`nasvit.calibrate`).
        batches: images ``(batch, channels, height, width)`` with labels int64 ``(batch,)``.

    Raises:
        ValueError: if there are no batches.
        RuntimeError: if the network has no batch-norm statistics.
    """
    network.eval()
    loss, right, seen = 0.0, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    for images, labels in batches:
        scores = network(images).float()
        classes = scores.shape[1]
        loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        hits = labels[scores.argmax(1) == labels]
        right = _added(right, hits.bincount(minlength=classes))
        seen = _added(seen, labels.bincount(minlength=classes))
    total = int(seen.sum())
    if not total:
        raise ValueError("evaluate got no batches; give it at least one batch of labelled images")
    per_class = right[seen > 0] / seen[seen > 0]
    return Score(int(right.sum()) / total, float(per_class.mean()), loss / total, total)


def _added(total: Tensor, counts: Tensor) -> Tensor:
    return counts.cpu() if not len(total) else total + counts.cpu()
