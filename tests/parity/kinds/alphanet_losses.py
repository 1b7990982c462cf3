"""AlphaNet's losses and their gradients, on logits made by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasvit.tasks.distillation import AdaptiveAlphaDivergence, AlphaDivergence, SoftTargetCrossEntropy
from tests.parity.rows import Comparison, Row, failed
from tests.parity.streams import symmetric_noise, tensor

TOLERANCE = 1e-8
SHAPE = (8, 10)


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with the name of a loss and a scale of the logits."""
    cases = content.get("cases")
    return isinstance(cases, list) and all({"loss", "scale"} <= set(case) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every loss."""
    for case in content["cases"]:
        student, teacher = (
            case["scale"] * tensor(symmetric_noise(f"loss:{name}:{_dimensions()}", SHAPE)).double() for name in "qp"
        )
        settings = ("scale", "alpha", "alpha_min", "alpha_max", "iw_clip")
        name = " ".join([case["loss"], *(f"{key}={case[key]:g}" for key in settings if key in case)])
        kinds = [compare for beginning, compare in _LOSSES.items() if case["loss"].startswith(beginning)]
        if not kinds:
            yield failed(name, f"the loss is unknown; known: {', '.join(_LOSSES)}")
            continue
        comparison = Comparison(name, TOLERANCE)
        kinds[0](comparison, case, student.requires_grad_(), teacher)
        yield comparison.row()


def _dimensions() -> str:
    return "x".join(map(str, SHAPE))


def _adaptive(comparison: Comparison, case: dict[str, Any], student: Tensor, teacher: Tensor) -> None:
    low, high, clip = case["alpha_min"], case["alpha_max"], case["iw_clip"]
    _mean(comparison, case, AdaptiveAlphaDivergence(low, high, clip)(student, teacher), student)
    logs = F.log_softmax(student, 1), F.log_softmax(teacher, 1)
    left, right = (AlphaDivergence(alpha, clip).divergence(*logs) for alpha in (low, high))
    comparison.values("f_div_left", left, case["f_div_left"])
    comparison.values("f_div_right", right, case["f_div_right"])
    comparison.exact("left_chosen", (left > right).int(), case["left_chosen"])


def _divergence(comparison: Comparison, case: dict[str, Any], student: Tensor, teacher: Tensor) -> None:
    loss = AlphaDivergence(case["alpha"], case["iw_clip"])
    logs = F.log_softmax(student, 1), F.log_softmax(teacher, 1)
    comparison.values("divergence", loss.divergence(*logs), case["loss_per_row"])
    surrogate = loss.surrogate(*logs)
    comparison.values("surrogate", surrogate, case["grad_loss_per_row"])
    (gradient,) = torch.autograd.grad(surrogate.mean(), student)
    comparison.values("gradient", gradient[0], case["grad_of_mean_grad_loss_row0"])


def _soft_labels(comparison: Comparison, case: dict[str, Any], student: Tensor, teacher: Tensor) -> None:
    """The release's ``KLLossSoft`` is cross entropy with soft labels: it leaves the teacher's entropy out."""
    if "T=1," not in case["loss"]:
        raise ValueError(f"{case['loss']!r}: only temperature 1 is known")
    _mean(comparison, case, SoftTargetCrossEntropy()(student, teacher), student)


def _smoothed(comparison: Comparison, case: dict[str, Any], student: Tensor, teacher: Tensor) -> None:
    smoothing = re.search(r"Smooth\(([\d.]+)\)", case["loss"])
    if smoothing is None or "arange(8) % 10" not in case["loss"]:
        raise ValueError(f"{case['loss']!r}: smoothing and targets are not told as expected")
    targets = torch.arange(SHAPE[0]) % SHAPE[1]
    _mean(comparison, case, F.cross_entropy(student, targets, label_smoothing=float(smoothing[1])), student)


def _mean(comparison: Comparison, case: dict[str, Any], value: Tensor, student: Tensor) -> None:
    comparison.values("value", value, case["value_mean"])
    (gradient,) = torch.autograd.grad(value, student)
    comparison.values("gradient", gradient[0], case["grad_row0"])
    if "grad_l2" in case:
        comparison.values("gradient l2", gradient.norm(), case["grad_l2"])


_LOSSES: dict[str, Callable[[Comparison, dict[str, Any], Tensor, Tensor], None]] = {
    "AdaptiveLossSoft": _adaptive,
    "f_divergence": _divergence,
    "KLLossSoft": _soft_labels,
    "CrossEntropyLossSmooth": _smoothed,
}
