"""Activations by the names that search spaces use."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class HardSigmoid(nn.Module):
    """``relu6(x + 3) / 6``.

    Not ``nn.Hardsigmoid``: its backward pass multiplies by a sixth rounded to float32 even where numbers are float64
    (off by 3e-8), which hides smaller differences when gradients are compared.

    Shape:
        Any shape, kept.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "swish": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": HardSigmoid,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str) -> nn.Module:
    """Return the activation called ``name``.

    Raises:
        ValueError: if there is no activation of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; legal: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
