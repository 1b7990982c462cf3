"""Gradients put in by hand, combined by the projection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import Project
from tests.parity.rows import Comparison, Row, differs

TOLERANCE = 1e-9
DOUBLED = "the release doubles gradients that the subnets do not reach (gradients set to None, torch 2); ours does not"


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with the gradients of the supernet and of the subnets."""
    cases = content.get("cases")
    return isinstance(cases, list) and all({"grad_supernet", "grad_subnets", "out"} <= set(case) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every combination; ``proj_student=True`` is the release's name for no projection."""
    for case in content["cases"]:
        for setting, expected in case["out"].items():
            name = f"{case['name']} zero_grad={case['zero_grad']} {setting}"
            if case["zero_grad"] == "none" and None in case["grad_subnets"]:
                yield differs(name, DOUBLED)
                continue
            comparison = Comparison(name, TOLERANCE)
            ours = combine(case["grad_supernet"], case["grad_subnets"], project=setting.endswith("False"))
            for number, (mine, wanted) in enumerate(zip(ours, expected, strict=True)):
                comparison.values(f"tensor {number}", mine, wanted)
            yield comparison.row()


def combine(
    supernet: list[list[float] | None], subnets: list[list[float] | None], *, project: bool
) -> list[torch.Tensor]:
    """Combine gradients of parameters as a training step does; None is a gradient that never came."""
    sizes = [len(a or b or []) for a, b in zip(supernet, subnets, strict=True)]
    parameters = [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes]
    gradients = FlatGradients(parameters)
    policy = Project([f"layer{number}.weight" for number in range(len(sizes))], clip=None, project=project)
    _add(gradients, supernet)
    policy.after_largest(gradients)
    _add(gradients, subnets)
    policy.combine(gradients)
    return [view.clone() for view in gradients.views]


def _add(gradients: FlatGradients, values: list[list[float] | None]) -> None:
    for view, numbers in zip(gradients.views, values, strict=True):
        if numbers is not None:
            view += torch.tensor(numbers, dtype=view.dtype)
