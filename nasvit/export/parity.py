"""Agreement of a written file with the network that it was made of, on the same images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import Floats, Run

MOST_DEVIATION = 1e-3
"""Deviation of a float32 file's scores, as a share of the largest score, up to which it counts as the same network."""


@dataclass(frozen=True)
class Parity:
    """How a file's scores compare with the network's.

    Args:
        images: number of images.
        deviation: the largest difference of a score, as a share of the network's largest score.
        agreement: share of the images to which both give the same class.
        accuracy: share of the images to which the file gives the right class; None: no labels are known.
        accuracy_of_network: the same of the network.
    """

    images: int
    deviation: float
    agreement: float
    accuracy: float | None = None
    accuracy_of_network: float | None = None

    @property
    def drop(self) -> float:
        """The accuracy that the file loses; 0 without labels."""
        if self.accuracy is None or self.accuracy_of_network is None:
            return 0.0
        return self.accuracy_of_network - self.accuracy


@torch.inference_mode()
def compare(network: nn.Module, run: Run, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Parity:
    """Run a network and a file on the same images.

    Args:
        network: takes pixels from 0 to 1.
        run: runs the file.
        batches: pixels, and labels if there are any.

    Raises:
        ValueError: if a score is no finite number.
    """
    wanted, found, labels = list[Floats](), list[Floats](), list[Floats]()
    for pixels, targets in batches:
        wanted.append(network(pixels).float().numpy())
        found.append(run(pixels.numpy()))
        if targets is not None:
            labels.append(targets.numpy())
    theirs, ours = np.concatenate(wanted), np.concatenate(found)
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError(
            f"scores of {'the file' if np.isfinite(theirs).all() else 'the network'} are no finite numbers"
        )
    chosen, expected = ours.argmax(1), theirs.argmax(1)
    right = np.concatenate(labels) if labels else None
    return Parity(
        len(theirs),
        float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)),
        float((chosen == expected).mean()),
        None if right is None else float((chosen == right).mean()),
        None if right is None else float((expected == right).mean()),
    )
