"""A whole training step of NASViT: losses, norms, conflicts, combined gradients, the first update by AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasvit.supernets.gradients import FlatGradients
from nasvit.tasks.distillation import AdaptiveAlphaDivergence, SoftTargetCrossEntropy, teacher_probabilities
from nasvit.training.conflict import ConflictReport, Join, Project, Sum, alone
from nasvit.training.sampling import Member
from nasvit.training.step import StepLosses, shared_step
from search_spaces import Architecture
from tests.parity import streams
from tests.parity.released import Release
from tests.parity.rows import Comparison, Row, differs

TOLERANCE = 1e-8
NOISE = 1e-12
SHARPNESS = 5.0
DOUBLED = "the release doubles gradients that the subnets do not reach (gradients set to None, torch 2); ours does not"
_RELEASED_DEAD = (".k.linear.bias", ".proj_l.linear.bias")


def claims(path: Path, content: dict[str, Any]) -> bool:
    """A list of steps with losses and random subnets."""
    steps = content.get("steps")
    return isinstance(steps, list) and all({"losses", "random_subnets", "teacher_keys"} <= set(step) for step in steps)


@dataclass
class Gradients:
    """What one step gave before anything was combined.

    Args:
        losses: the losses.
        largest: rows of the gradient buffer after the largest subnet.
        subnets: the same of the sum over the others, unclipped.
        reached: whether the largest subnet has each parameter, whether one of the others has it.
        statistics: batch-norm statistics after the step, by released name.
    """

    losses: StepLosses
    largest: Tensor
    subnets: Tensor
    reached: tuple[list[bool], list[bool]]
    statistics: dict[str, Tensor]

    @property
    def reached_by_any(self) -> list[bool]:
        """Whether the largest subnet or another has each parameter."""
        return [any(each) for each in zip(*self.reached, strict=True)]


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every step; steps that differ only in how gradients are combined share one run."""
    runs: dict[str, tuple[Release, Gradients]] = {}
    for step in content["steps"]:
        key = repr([step[name] for name in ("images", "teacher_keys", "teacher_logit_scale", "random_subnets")])
        if key not in runs:
            given = Release("nasvit", path.parent)
            runs = {key: (given, take_step(step, given))}
        yield from compare_step(step, *runs[key])


class _Recorder(Sum):
    """Keeps the gradients of a step apart, as a conflict policy that combines nothing."""

    def after_largest(self, gradients: FlatGradients) -> None:
        """Keep the gradient of the largest subnet."""
        self.largest = gradients.rows.clone()
        gradients.zero_()

    def combine(self, gradients: FlatGradients, join: Join = alone) -> ConflictReport | None:
        """Keep the sum of the others."""
        self.subnets = gradients.rows.clone()
        return None


def take_step(step: dict[str, Any], given: Release) -> Gradients:
    """Run the step's subnets in the release's order."""
    space, supernet, recorder = given.space, given.supernet, _Recorder()
    drawn = [given.architecture(config) for config in step["random_subnets"]]
    images = streams.nasvit_input(step["images"]["key"], step["images"]["shape"])
    shape = (images.shape[0], supernet.classes)
    scale = step["teacher_logit_scale"]
    teachers = [scale * streams.nasvit_input(key, shape) for key in step["teacher_keys"]]
    supernet.zero_grad()
    losses = shared_step(
        supernet,
        images,
        teacher_probabilities(teachers, temperature=1 / SHARPNESS),
        members=[Member(each) for each in (space.largest, space.smallest, *drawn)],
        criterion=SoftTargetCrossEntropy().of_probabilities,
        distill=AdaptiveAlphaDivergence(-1.0, 1.0, 5.0),
        conflict=recorder,
    )
    reached = _reached(given, [space.smallest, *drawn])
    statistics = {name: _statistic(given, name).clone() for name in step.get("bn_running_after", ())}
    return Gradients(losses, recorder.largest, recorder.subnets, reached, statistics)


def _reached(given: Release, others: list[Architecture]) -> tuple[list[bool], list[bool]]:
    def parameters(architecture: Architecture) -> set[int]:
        return {id(parameter.source) for parameter in given.supernet.at(architecture).parameters()}  # type: ignore[attr-defined]

    largest, rest = parameters(given.space.largest), set[int]().union(*map(parameters, others))
    every = list(map(id, given.supernet.parameters()))
    return [each in largest for each in every], [each in rest for each in every]


def _statistic(given: Release, name: str) -> Tensor:
    from nasvit.importing.attentive import released_name

    for ours, buffer in given.supernet.named_buffers():
        if released_name(given.supernet, ours) == name:
            return buffer
    raise ValueError(f"there are no statistics {name}")


@dataclass
class Combined:
    """A step's gradients after a policy combined them, and what AdamW made of them; all per parameter."""

    report: ConflictReport
    subnets: list[Tensor]
    gradients: list[Tensor]
    updates: list[Tensor]


def combine(step: dict[str, Any], given: Release, taken: Gradients) -> Combined:
    """Combine recorded gradients by the policy of a step and let AdamW take its first step."""
    buffer = given.supernet.gradients
    parameters = list(given.supernet.parameters())
    names = [name for name, _ in given.supernet.named_parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    policy = Project(names, clip=step["clip"], project=not step["proj_student"])
    buffer.rows.copy_(taken.largest)
    policy.after_largest(buffer)
    buffer.rows.copy_(taken.subnets)
    report = policy.combine(buffer)
    clipped = taken.subnets * (step["clip"] / (report.subnet_norm + 1e-6)).clamp(max=1.0)
    optimizer = torch.optim.AdamW(parameters, lr=step["adamw"]["lr"], weight_decay=0.0)
    given.supernet.guard(optimizer)
    optimizer.step()
    updates = [parameter.detach() - old for parameter, old in zip(parameters, before, strict=True)]
    with torch.no_grad():
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)
    gradients = [view.clone() for view in buffer.views]
    return Combined(report, _per_parameter(buffer, clipped), gradients, updates)


def _per_parameter(buffer: FlatGradients, rows: Tensor) -> list[Tensor]:
    kept = buffer.rows.clone()
    buffer.rows.copy_(rows)
    values = [view.clone() for view in buffer.views]
    buffer.rows.copy_(kept)
    return values


def compare_step(step: dict[str, Any], given: Release, taken: Gradients) -> Iterator[Row]:
    """Compare one step."""
    name = f"{step['name']} project={not step['proj_student']} zero_grad={step['zero_grad']} clip={step['clip']}"
    combined = combine(step, given, taken)
    names = given.parameter_names()
    largest = _per_parameter(given.supernet.gradients, taken.largest)
    yield _losses(f"{name} losses and norms", step, taken, combined, largest, names)
    yield _conflicts(f"{name} conflicts", step, taken, combined, largest, names)
    if "bn_running_after" in step:
        yield _statistics(f"{name} batch-norm statistics", step, taken)
    if step["zero_grad"] == "none" and taken.reached[1] != taken.reached_by_any:
        yield differs(f"{name} gradients and update", DOUBLED)
    else:
        yield _gradients(f"{name} gradients and update", step, taken, combined, largest, names)


def _losses(
    name: str, step: dict[str, Any], taken: Gradients, combined: Combined, largest: list[Tensor], names: list[str]
) -> Row:
    comparison = Comparison(name, TOLERANCE)
    comparison.values("loss of the largest", taken.losses.first, step["losses"]["supernet"])
    smallest, *drawn = taken.losses.others
    comparison.values("loss of the smallest", smallest, step["losses"]["min"])
    comparison.values("losses of the random ones", torch.stack(drawn), step["losses"]["random"])
    comparison.values("subnet norm", combined.report.subnet_norm, step["subnet_grad_norm_before_clip"])
    alive = _alive(combined, taken, names)
    comparison.values("supernet norm", _norm(largest, alive), step["supernet_grad_l2"])
    comparison.values("clipped subnet norm", _norm(combined.subnets, alive), step["subnet_grad_l2_after_clip"])
    counts = ("n_params_with_supernet_grad", "n_params_with_subnet_grad", "n_combined")
    for field, reached in zip(counts, (*taken.reached, taken.reached_by_any), strict=True):
        comparison.exact(field, sum(reached), step[field])
    return comparison.row()


def _conflicts(
    name: str, step: dict[str, Any], taken: Gradients, combined: Combined, largest: list[Tensor], names: list[str]
) -> Row:
    comparison = Comparison(name, TOLERANCE)
    report = combined.report
    comparison.exact("n_conflicting", int(report.conflicting.sum()), step["n_conflicting"])
    if "conflicting_params" in step:
        ours = sorted(name for name, conflict in zip(names, report.conflicting.tolist(), strict=True) if conflict)
        comparison.exact("conflicting_params", ours, sorted(step["conflicting_params"]))
    inner = torch.stack([(a * b).sum() for a, b in zip(largest, combined.subnets, strict=True)])
    norms = torch.stack([a.norm() * b.norm() for a, b in zip(largest, combined.subnets, strict=True)])
    cosine = (inner / norms)[report.compared]
    if "n_inner_exactly_zero" in step:
        comparison.exact("n_inner_exactly_zero", int((inner[report.compared] == 0).sum()), step["n_inner_exactly_zero"])
    if "smallest_nonzero_abs_cosine" in step:
        smallest = cosine.abs()[cosine != 0].min()
        comparison.values("smallest_nonzero_abs_cosine", smallest, step["smallest_nonzero_abs_cosine"], 1e-6)
    if "n_nonzero_abs_cosine_below_1e-6" in step:
        close = int(((cosine != 0) & (cosine.abs() < 1e-6)).sum())
        comparison.exact("nonzero cosines below 1e-6", close, step["n_nonzero_abs_cosine_below_1e-6"])
    _compare_noise(comparison, step, taken, combined, names)
    return comparison.row()


def _compare_noise(
    comparison: Comparison, step: dict[str, Any], taken: Gradients, combined: Combined, names: list[str]
) -> None:
    """Compare which parameters are left out because there is nothing but rounding noise."""
    alive = _alive(combined, taken, names)
    noise = _noise(combined.gradients, taken.reached_by_any, names)
    faint = [n for n in _noise(combined.subnets, taken.reached[1], names) if alive[names.index(n)]]
    comparison.exact("n_noise_params", alive.count(False), step["n_noise_params"])
    comparison.exact("conflict_denominator", step["n_combined"] - alive.count(False), step["conflict_denominator"])
    for field, ours in (("noise_params", noise), ("faint_params", faint)):
        if field in step:
            comparison.exact(field, sorted(ours), sorted(step[field]))


def _statistics(name: str, step: dict[str, Any], taken: Gradients) -> Row:
    comparison = Comparison(name, TOLERANCE)
    for field, expected in step["bn_running_after"].items():
        ours = taken.statistics[field]
        comparison.total(f"{field} sum", ours.sum(), expected["sum"], expected["l2"])
        comparison.values(f"{field} l2", ours.norm(), expected["l2"])
    return comparison.row()


def _gradients(
    name: str, step: dict[str, Any], taken: Gradients, combined: Combined, largest: list[Tensor], names: list[str]
) -> Row:
    comparison = Comparison(name, TOLERANCE)
    alive = _alive(combined, taken, names)
    comparison.values("combined norm", _norm(combined.gradients, alive), step["combined_grad_l2"])
    comparison.values("update norm", _norm(combined.updates, alive), step["adamw"]["update_l2"])
    place = {released: number for number, released in enumerate(names)}
    for released, expected in step["per_param"].items():
        number = place[released]
        if alive[number]:
            _compare_parameter(comparison, released, expected, combined, largest[number], number)
    return comparison.row()


def _compare_parameter(
    comparison: Comparison, name: str, expected: dict[str, float], combined: Combined, largest: Tensor, number: int
) -> None:
    subnets, gradient = combined.subnets[number], combined.gradients[number]
    values = {
        "sup_l2": largest.norm(),
        "sub_l2": subnets.norm(),
        "combined_l2": gradient.norm(),
        "update_l2": combined.updates[number].norm(),
    }
    for field, ours in values.items():
        if field in expected:
            comparison.values(f"{name} {field}", ours, expected[field])
    if "combined_sum" in expected:
        comparison.total(f"{name} combined_sum", gradient.sum(), expected["combined_sum"], expected["combined_l2"])
    if "inner" in expected:
        product = expected["sup_l2"] * expected["sub_l2"]
        comparison.total(f"{name} inner", (largest * subnets).sum(), expected["inner"], product)


def _alive(combined: Combined, taken: Gradients, names: list[str]) -> list[bool]:
    """Parameters whose true gradient is not zero; of the others there is rounding noise only."""
    noise = _noise(combined.gradients, taken.reached_by_any, names)
    return [not (name.endswith(_RELEASED_DEAD) or name in noise) for name in names]


def _noise(gradients: list[Tensor], reached: list[bool], names: list[str]) -> list[str]:
    """Return which of the parameters that were reached have rounding noise for a gradient, which may be 0, too."""
    return [
        name
        for name, gradient, there in zip(names, gradients, reached, strict=True)
        if there and not name.endswith(_RELEASED_DEAD) and float(gradient.norm()) < NOISE
    ]


def _norm(tensors: list[Tensor], alive: list[bool]) -> Tensor:
    norms = torch.stack([t.norm() for t, lives in zip(tensors, alive, strict=True) if lives])
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm
