"""NASViT's losses: divergences, their surrogates and gradients, and the cross entropy with teachers.

Where a probability underflows the release gives NaN or infinity. Ours is computed from log-probabilities and stays
finite: a difference by design.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nasvit.tasks.distillation import (
    AdaptiveAlphaDivergence,
    AlphaDivergence,
    SoftTargetCrossEntropy,
    teacher_probabilities,
)
from tests.parity.rows import Comparison, Row, as_array, differs

TOLERANCE = 1e-9
NOISE = 1e-12
_NOT_FINITE = "the release is not finite here (a probability underflows), ours is"


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with logits of a student (output) and a teacher (target)."""
    cases = content.get("cases")
    return isinstance(cases, list) and all({"output", "target"} <= set(case) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every loss of every case."""
    for case in content["cases"]:
        student, teacher = torch.tensor(case["output"], dtype=torch.float64), _tensor(case["target"])
        for setting, expected in case.get("f_divergence", {}).items():
            yield _divergence(f"{case['name']} {setting}", setting, expected, student, teacher)
        if "adaptive" in case:
            yield _adaptive(f"{case['name']} adaptive", case["adaptive"], student, teacher)
        for name, expected in case.items():
            if name.startswith("teacher_ce_temp"):
                yield _cross_entropy(f"{case['name']} {name}", name, expected, student, teacher)


def _divergence(name: str, setting: str, expected: dict[str, Any], student: Tensor, teacher: Tensor) -> Row:
    alpha, clip = (float(number) for number in re.findall(r"=(-?[\d.]+)", setting))
    loss = AlphaDivergence(alpha, clip)
    logits = student.clone().requires_grad_()
    log_student, log_teacher = F.log_softmax(logits, 1), F.log_softmax(teacher, 1)
    surrogate = loss.surrogate(log_student, log_teacher)
    (gradient,) = torch.autograd.grad(surrogate.sum(), logits)
    return _row(
        name,
        {
            "divergence": (loss.divergence(log_student, log_teacher), expected["divergence"]),
            "surrogate": (surrogate, expected["surrogate"]),
            "gradient": (gradient, expected["grad_of_surrogate_sum"]),
        },
    )


def _adaptive(name: str, expected: dict[str, Any], student: Tensor, teacher: Tensor) -> Row:
    loss = AdaptiveAlphaDivergence(-1.0, 1.0, 5.0)
    logits = student.clone().requires_grad_()
    mean = loss(logits, teacher)
    (gradient,) = torch.autograd.grad(mean, logits)
    log_student, log_teacher = F.log_softmax(student, 1), F.log_softmax(teacher, 1)
    values = {
        "per sample": (loss.surrogate(log_student, log_teacher), expected["per_sample"]),
        "mean": (mean, expected["mean"]),
        "gradient": (gradient, expected["grad"]),
    }
    if _tied(log_student, log_teacher):
        # Both divergences are zero but for rounding, so rounding picks the surrogate; the gradient is zero either way.
        values = {"gradient": values["gradient"]}
    defined = _defined(student, teacher)
    if defined.all():
        return _row(name, values)
    kept = {
        label: (values[label][0][defined], as_array(values[label][1])[defined.numpy()])
        for label in ("per sample", "gradient")
    }
    row = _row(name, kept) if defined.any() else differs(name, _NOT_FINITE)
    return differs(name, _NOT_FINITE, row.deviation) if row.status == "pass" else row


def _defined(student: Tensor, teacher: Tensor) -> Tensor:
    """Samples whose probabilities are all above zero: of the others the release's KL divergence is NaN.

    NaN also decides which of the two surrogates the release takes, so even its finite values mean nothing there.
    """
    return (student.softmax(1) > 0).all(1) & (teacher.softmax(1) > 0).all(1)


def _tied(log_student: Tensor, log_teacher: Tensor) -> bool:
    divergences = [AlphaDivergence(alpha).divergence(log_student, log_teacher) for alpha in (-1.0, 1.0)]
    return bool(torch.stack(divergences).abs().max() < NOISE)


def _cross_entropy(name: str, field: str, expected: dict[str, Any], student: Tensor, teacher: Tensor) -> Row:
    sharpness = float(field.removeprefix("teacher_ce_temp"))
    logits = student.clone().requires_grad_()
    probabilities = teacher_probabilities([teacher], temperature=1 / sharpness)
    loss = SoftTargetCrossEntropy().of_probabilities(logits, probabilities)
    (gradient,) = torch.autograd.grad(loss, logits)
    return _row(name, {"loss": (loss, expected["loss"]), "gradient": (gradient, expected["grad"])})


def _row(name: str, values: dict[str, tuple[Tensor, Any]]) -> Row:
    """Compare where the release is finite; where it is not, ours must be."""
    comparison, undefined = Comparison(name, TOLERANCE), False
    for label, (ours, expected) in values.items():
        wanted, mine = as_array(expected), as_array(ours)
        finite = np.isfinite(wanted)
        undefined |= not finite.all()
        if not np.isfinite(mine).all():
            comparison.exact(f"{label} is not finite", False, True)
        elif finite.all() and np.abs(wanted).max() < NOISE:
            comparison.absolute(label, float(np.abs(mine).max()), 0.0, NOISE)
        elif finite.any():
            comparison.values(label, mine[finite], wanted[finite])
    row = comparison.row() if comparison.compared else None
    if undefined and (row is None or row.status == "pass"):
        return differs(name, _NOT_FINITE, row.deviation if row else math.nan)
    assert row is not None
    return row


def _tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)
