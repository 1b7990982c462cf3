"""Activations by the names that search spaces use."""

from __future__ import annotations

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "swish": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str) -> nn.Module:
    """Return the activation called ``name``.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; legal: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
