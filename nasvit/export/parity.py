"""Agreement of a written file with the network that it was made of, on the same images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import Floats, RunAll

MOST_DEVIATION = 1e-3
"""Deviation of a float32 file's scores, as a share of the largest score, up to which it counts as the same network."""

MOST_OTHERS = 0.1
"""Share of the images to which integers may give another class than the network, or the accuracy that they may lose if
that is more."""

Outputs = tuple[Floats, ...]
"""All that a network or a file returned for a batch."""


class AnyParity(Protocol):
    """How a file compares with the network that it was made of; a frozen dataclass of plain values.

    Attributes:
        metric: name of the number that the file may lose little of.
        most_others: the most of ``1 - agreement`` of integers.
    """

    metric: ClassVar[str]
    most_others: ClassVar[float]

    @property
    def images(self) -> int:
        """Number of images."""

    @property
    def deviation(self) -> float:
        """The largest difference of a score, as a share of the network's largest score."""

    @property
    def agreement(self) -> float:
        """Share of what both decide that they decide alike."""

    @property
    def drop(self) -> float:
        """What the file loses of the metric; 0 if that is not known."""

    @property
    def strays(self) -> float:
        """The deviation that :data:`MOST_DEVIATION` limits."""

    def told(self) -> str:
        """Return how far outputs deviate, in words."""

    def others(self) -> str:
        """Return how much is decided otherwise, in words."""

    def shown(self) -> dict[str, str]:
        """Return the columns of a table."""


class Comparison(ABC):
    """Takes in what a network and a file return, batch by batch."""

    @abstractmethod
    def update(self, wanted: Outputs, found: Outputs, targets: Any) -> None:
        """Take in the outputs of the network and of the file for one batch, and its targets if there are any.

        Raises:
            ValueError: if an output is no finite number.
        """

    @abstractmethod
    def parity(self) -> AnyParity:
        """Return how they compare."""


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

    metric: ClassVar[str] = "accuracy"
    most_others: ClassVar[float] = MOST_OTHERS

    @property
    def drop(self) -> float:
        """The accuracy that the file loses; 0 without labels."""
        if self.accuracy is None or self.accuracy_of_network is None:
            return 0.0
        return self.accuracy_of_network - self.accuracy

    @property
    def strays(self) -> float:
        """The largest deviation."""
        return self.deviation

    def told(self) -> str:
        """Return how far scores deviate, in words."""
        return f"its scores deviate by {self.deviation:.2g} of the largest"

    def others(self) -> str:
        """Return how many images get other classes, in words."""
        return f"the classes of {1 - self.agreement:.1%} of {self.images} images are others"

    def shown(self) -> dict[str, str]:
        """Return the columns of a table."""
        return {
            "largest deviation": f"{self.deviation:.1e}",
            "same class": f"{self.agreement:.2%}",
            self.metric: "" if self.accuracy is None else f"{self.accuracy:.2%}",
            "of the network": "" if self.accuracy_of_network is None else f"{self.accuracy_of_network:.2%}",
        }


class ClassComparison(Comparison):
    """Compares the scores of a classifier."""

    def __init__(self) -> None:
        self._wanted, self._found, self._labels = list[Floats](), list[Floats](), list[Floats]()

    def update(self, wanted: Outputs, found: Outputs, targets: Any) -> None:
        check_finite(wanted, found)
        self._wanted.append(wanted[0])
        self._found.append(found[0])
        if targets is not None:
            self._labels.append(targets.numpy())

    def parity(self) -> Parity:
        theirs, ours = np.concatenate(self._wanted), np.concatenate(self._found)
        chosen, expected = ours.argmax(1), theirs.argmax(1)
        right = np.concatenate(self._labels) if self._labels else None
        return Parity(
            len(theirs),
            float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)),
            float((chosen == expected).mean()),
            None if right is None else float((chosen == right).mean()),
            None if right is None else float((expected == right).mean()),
        )


@torch.inference_mode()
def compare(
    network: nn.Module, run: RunAll, batches: Iterable[tuple[Tensor, Any]], comparison: Comparison
) -> AnyParity:
    """Run a network and a file on the same images.

    Args:
        network: takes pixels from 0 to 1.
        run: runs the file.
        batches: pixels, and targets or None.
        comparison: what takes in the outputs of both.

    Raises:
        ValueError: if an output is no finite number.
    """
    for pixels, targets in batches:
        outputs = network(pixels)
        wanted = tuple(each.float().numpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,)))
        comparison.update(wanted, run(pixels.numpy()), targets)
    return comparison.parity()


def check_finite(wanted: Outputs, found: Outputs) -> None:
    """Refuse outputs that are no finite numbers.

    Raises:
        ValueError: saying whose they are.
    """
    for whose, outputs in (("the network", wanted), ("the file", found)):
        if not all(np.isfinite(numbers).all() for numbers in outputs):
            raise ValueError(f"scores of {whose} are no finite numbers")
