"""The classifier of any network: which of its tensors score the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nasvit.importing.transfer.source import Source


def classifier_tensors(network: nn.Module, classes: int) -> dict[str, Tensor]:
    """Return the tensors of a network's classifier by name: its weight first, perhaps a bias.

    It is what timm's ``get_classifier`` says, or else the last layer whose outputs are as many as the classes.

    Args:
        network: any network.
        classes: number of classes that it scores.
    """
    names = {id(module): name for name, module in network.named_modules()}
    found = [module for module in _told_by_timm(network) if id(module) in names]
    found = found or [module for module in network.modules() if _outputs(module) == classes][-1:]
    return {
        f"{names[id(module)]}.{name}".removeprefix("."): tensor
        for module in found
        for name, tensor in module.named_parameters()
    }


def _told_by_timm(network: nn.Module) -> Sequence[nn.Module]:
    tell = getattr(network, "get_classifier", None)
    told = tell() if callable(tell) else ()
    modules = told if isinstance(told, (tuple, list)) else (told,)
    return [module for module in modules if isinstance(module, nn.Module) and list(module.parameters())]


def _outputs(module: nn.Module) -> int:
    """Return the outputs of a linear layer or convolution, whatever its class; 0 for any other module."""
    weight = module._parameters.get("weight")
    return weight.shape[0] if weight is not None and weight.dim() in (2, 4) else 0


def rows_of_classes(source: Source, rows: int, classes: Sequence[str]) -> tuple[list[int] | None, str]:
    """Return which rows of a source's classifier score some classes, and why; None: the classifier is made anew.

    Classes that both sides name are found by their names; else as many classes are taken for the same ones.

    Args:
        source: the source.
        rows: number of rows of its classifier.
        classes: the classes that the network scores.
    """
    if source.names_classes and len(source.classes) == rows:
        if set(classes) <= set(source.classes):
            return [source.classes.index(name) for name in classes], f"{len(classes)} of {rows} classes, by their names"
        unknown = next(name for name in classes if name not in source.classes)
        return None, f"other classes, such as {unknown}"
    if rows == len(classes):
        return list(range(rows)), ""
    return None, f"{len(classes)} classes instead of {rows}"


def remark_on_classes(source: Source, rows: int, classes: Sequence[str]) -> str:
    """Return in words that classes of unknown names are taken for a network's; nothing if that is sure."""
    if source.names_classes or rows != len(classes):
        return ""
    return f"its classifier is kept: as many classes ({rows}), whose names it does not say, are taken for the same ones"


def is_scored_like(shape: Sequence[int], wanted: Sequence[int], rows: int, classes: int) -> bool:
    """Return whether a tensor scores classes too, as an auxiliary classifier does: it differs by their number alone."""
    return rows != classes and tuple(shape) == (rows, *wanted[1:]) and wanted[0] == classes


def leftover_classifier(left: Sequence[str], tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of tensors that are left if they are one layer with outputs, which had another name."""
    owners = {name.rpartition(".")[0] for name in left}
    parts = {name.rpartition(".")[2] for name in left}
    if len(owners) != 1 or not parts <= {"weight", "bias"} or "weight" not in parts:
        return ()
    weight = tensors[f"{next(iter(owners))}.weight".removeprefix(".")]
    return tuple(left) if weight.dim() in (2, 4) and torch.is_floating_point(weight) else ()
