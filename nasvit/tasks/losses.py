"""Label smoothing of the released slimmable networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    """Cross entropy with labels of which a share is spread over the other classes only.

    PyTorch's ``label_smoothing`` spreads it over all classes, the true one included.

    Args:
        smoothing: the share, from 0 to below 1.

    Raises:
        ValueError: if the share is out of range.

    Source: Yu and Huang, Universally Slimmable Networks (2019), released code.
    """

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing={self.smoothing}; legal: from 0 to below 1")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batch, of logits ``(batch, classes)`` and labels ``(batch,)``."""
        others = self.smoothing / (logits.shape[1] - 1)
        targets = torch.full_like(logits, others).scatter_(1, labels[:, None], 1 - self.smoothing)
        return F.cross_entropy(logits, targets)
