"""External teachers: any timm model, or a network that nasvit saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn


def load_teacher(name: str, classes: int) -> nn.Module:
    """Load a teacher, in evaluation mode and frozen.

    Args:
        name: the folder of a network that nasvit saved, or ``timm:MODEL`` (timm's own pretrained weights) or
            ``timm:MODEL:CHECKPOINT``.
        classes: number of classes that it must score.

    Raises:
        ValueError: if it scores another number of classes, or the name is neither of the two.
    """
    network: Any = _load_timm(name, classes) if name.startswith("timm:") else _load_saved(name)
    scored: Any = network.num_classes if hasattr(network, "num_classes") else network.head.classifier.out_features
    if scored != classes:
        raise ValueError(
            f"teacher {name!r} scores {scored} classes, the data has {classes}; choose one trained on them"
        )
    teacher: nn.Module = network.eval().requires_grad_(False)
    return teacher


def _load_timm(name: str, classes: int) -> nn.Module:
    import timm

    model, _, checkpoint = name.removeprefix("timm:").partition(":")
    if checkpoint:
        return timm.create_model(model, num_classes=classes, checkpoint_path=checkpoint)
    return timm.create_model(model, pretrained=True)


def _load_saved(name: str) -> nn.Module:
    from nasvit.export.deployed import load_saved

    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(
            f"teacher {name!r} is no folder; legal: a folder with a saved network, or timm:MODEL[:CHECKPOINT]"
        )
    return load_saved(folder)
