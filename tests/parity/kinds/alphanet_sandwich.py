"""AlphaNet's training step: losses and accumulated gradients of the sandwich rule."""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasvit.layers import Network
from nasvit.tasks.distillation import AdaptiveAlphaDivergence
from nasvit.training.conflict import Sum
from nasvit.training.sampling import Member
from nasvit.training.step import StepLosses, shared_step
from search_spaces import Architecture
from tests.parity.kinds.sampling import draw
from tests.parity.released import Release, on_batch_statistics
from tests.parity.rows import Comparison, Row
from tests.parity.streams import alphanet_input

TOLERANCE = 1e-8
NOISE = 1e-12
SEED = 20210719  # of the subnets random_0, random_1, ... in the same release's cases
SMOOTHING = 0.1


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Losses in order beside accumulated gradients."""
    return {"losses_in_order", "grad_l2"} <= set(content)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare losses, gradients, and which parameters are reached at all."""
    given = Release("alphanet", path.parent)
    subnets = [find_subnet(name, given, path.parent) for name, _ in content["losses_in_order"]]
    losses = take_step(content["input"], subnets, given)
    comparison = Comparison("losses", TOLERANCE)
    ours = [losses.first, *losses.others]
    for (name, expected), value in zip(content["losses_in_order"], ours, strict=True):
        comparison.values(name, value, expected)
    yield comparison.row()
    yield compare_gradients(content, given)
    yield compare_parameters(content, given, subnets)


def take_step(described: str, subnets: list[Architecture], given: Release) -> StepLosses:
    """Run the step that the file describes; the gradients stay in the supernet."""
    found = re.search(r"input_array\('(\w+)', \(([\d,]+)\)\), labels \[([\d,]+)\]", described)
    if found is None:
        raise ValueError(f"the input is not described as expected: {described!r}")
    shape, labels = ([int(number) for number in found[group].split(",")] for group in (2, 3))
    given.supernet.zero_grad()

    def prepare(network: torch.nn.Module, member: Member) -> None:
        assert isinstance(network, Network)
        on_batch_statistics(network)

    return shared_step(
        given.supernet,
        alphanet_input(found[1], shape),
        torch.tensor(labels),
        members=[Member(each) for each in subnets],
        criterion=functools.partial(F.cross_entropy, label_smoothing=SMOOTHING),
        distill=AdaptiveAlphaDivergence(-1.0, 1.0, 5.0),
        conflict=Sum(),
        prepare=prepare,
    )


def find_subnet(name: str, given: Release, folder: Path) -> Architecture:
    """Return a subnet by its name in the cases of the same folder; without those, draw it as the release did."""
    if name in ("min", "max"):
        return given.space.smallest if name == "min" else given.space.largest
    for path in sorted(folder.glob("cases_*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            if case["name"] == name:
                return given.architecture(case["config"])
    generator = random.Random(SEED)
    drawn = [draw(given.space, generator) for _ in range(int(name.removeprefix("random_")) + 1)]
    return given.architecture(drawn[-1])


def compare_gradients(content: dict[str, Any], given: Release) -> Row:
    """Compare the L2 norm of every listed parameter's accumulated gradient, and of all together."""
    comparison = Comparison("gradients", TOLERANCE)
    gradients = _gradients(given)
    for name, expected in content["grad_l2"].items():
        ours = float(gradients[name].norm())
        if expected is None or expected < NOISE:  # the true gradient is zero
            comparison.absolute(name, ours, 0.0, NOISE)
        else:
            comparison.values(name, ours, expected)
    whole = torch.cat([gradient.flatten() for gradient in gradients.values()])
    for field, clip in (("total_grad_l2_accumulated", None), ("total_grad_l2_after_clip_value_1", 1.0)):
        if field in content:
            clipped = whole if clip is None else whole.clamp(-clip, clip)
            comparison.values(field, clipped.norm(), content[field])
    return comparison.row()


def compare_parameters(content: dict[str, Any], given: Release, subnets: list[Architecture]) -> Row:
    """Compare which parameters no subnet of the step has, and which the release does not decay."""
    comparison = Comparison("parameters reached", TOLERANCE)
    names = given.parameter_names()
    reached = {
        id(parameter.source)  # type: ignore[attr-defined]
        for subnet in subnets
        for parameter in given.supernet.at(subnet).parameters()
    }
    parameters = given.supernet.parameters()
    untouched = [name for name, parameter in zip(names, parameters, strict=True) if id(parameter) not in reached]
    if "params_without_grad" in content:
        comparison.exact("params_without_grad", sorted(untouched), sorted(content["params_without_grad"]))
    if "n_params_total" in content:
        comparison.exact("n_params_total", len(names), content["n_params_total"])
    if "n_no_weight_decay_params" in content:
        undecayed = sum(".bn" in name or ".bias" in name for name in names)
        comparison.exact("n_no_weight_decay_params", undecayed, content["n_no_weight_decay_params"])
    return comparison.row()


def _gradients(given: Release) -> dict[str, Tensor]:
    return dict(zip(given.parameter_names(), given.supernet.gradients.views, strict=True))
