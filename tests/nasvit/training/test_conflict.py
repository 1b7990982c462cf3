"""Projection against a plain loop over tensors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import Project, Sum, stage_of

SHAPES = {
    "stem.weight": (4, 3, 3, 3),
    "stem.bias": (4,),
    "attention.key.weight": (8, 8),
    "attention.key.bias": (8,),
    "mix_logits.bias": (2,),
    "head.weight": (100, 2),
    "head.bias": (100,),
}
NAMES = list(SHAPES)
Per = Literal["tensor", "layer"]


def gradients_of(tensors: dict[str, Tensor]) -> FlatGradients:
    """A buffer that holds these gradients."""
    parameters = [nn.Parameter(torch.zeros_like(tensor)) for tensor in tensors.values()]
    for parameter, tensor in zip(parameters, tensors.values(), strict=True):
        parameter.grad = tensor.clone()
    return FlatGradients(parameters)


def drawn(seed: int, size: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}


def combined(policy: Project | Sum, largest: dict[str, Tensor], others: dict[str, Tensor]) -> tuple[FlatGradients, Any]:
    gradients = gradients_of(largest)
    policy.after_largest(gradients)
    for view, other in zip(gradients.views, others.values(), strict=True):
        view += other
    return gradients, policy.combine(gradients)


def projected(
    largest: dict[str, Tensor], others: dict[str, Tensor], per: Per, clip: float | None, cap: float
) -> dict[str, Tensor]:
    """What the paper says, one group after the other."""
    if clip is not None:
        norm = sum(float((tensor**2).sum()) for tensor in others.values()) ** 0.5
        others = {name: tensor * min(1.0, clip / (norm + 1e-6)) for name, tensor in others.items()}
    result = {}
    for name in NAMES:
        layer = name.rpartition(".")[0]
        group = [n for n in NAMES if n.rpartition(".")[0] == layer] if per == "layer" else [name]
        inner = sum(float((largest[n] * others[n]).sum()) for n in group)
        square = sum(float((others[n] ** 2).sum()) for n in group)
        coefficient = min(max(-inner / (square + 1e-6), 0.0), cap)
        result[name] = largest[name] + others[name] + coefficient * others[name]
    return result


@pytest.mark.parametrize("per", ["tensor", "layer"])
@pytest.mark.parametrize("clip", [None, 0.5, 1e6])
@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 1.0, 10.0]))
def test_projection_agrees_with_a_loop_over_the_groups(per: Per, clip: float | None, seed: int, size: float) -> None:
    largest, others = drawn(2 * seed, size), drawn(2 * seed + 1)
    gradients, _ = combined(Project(NAMES, per=per, clip=clip), largest, others)
    for view, wanted in zip(gradients.views, projected(largest, others, per, clip, 2.0).values(), strict=True):
        torch.testing.assert_close(view, wanted, rtol=1e-12, atol=1e-13)


def test_a_projected_gradient_does_not_work_against_the_others_any_more() -> None:
    others = drawn(0)
    largest = {name: -0.5 * tensor + drawn(1)[name] * 0.1 for name, tensor in others.items()}
    gradients, report = combined(Project(NAMES, clip=None), largest, others)
    for view, other in zip(gradients.views, others.values(), strict=True):
        # What is left of the largest subnet's part stands at a right angle to the others' part.
        torch.testing.assert_close(
            ((view - other) * other).sum() / (other**2).sum(), torch.zeros(()).double(), atol=1e-5, rtol=0
        )
    assert float(report.share) == 1.0


def test_the_coefficient_is_capped() -> None:
    others = {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    largest = {name: -5 * tensor for name, tensor in others.items()}
    for cap, left in ((2.0, -5 + 1 + 2), (0.5, -5 + 1 + 0.5)):
        gradients, _ = combined(Project(NAMES, clip=None, cap=cap), largest, others)
        assert all(torch.equal(view, torch.full_like(view, left)) for view in gradients.views)


def test_gradients_that_agree_are_added_as_they_are() -> None:
    others = drawn(3)
    largest = {name: 2 * tensor for name, tensor in others.items()}
    gradients, report = combined(Project(NAMES, clip=None), largest, others)
    assert all(torch.equal(view, 3 * other) for view, other in zip(gradients.views, others.values(), strict=True))
    assert float(report.share) == 0.0


def test_measuring_leaves_the_sum() -> None:
    largest, others = drawn(4), drawn(5)
    measured, report = combined(Project(NAMES, clip=None, project=False), largest, others)
    added, nothing = combined(Sum(), largest, others)
    assert torch.equal(measured.rows, added.rows)
    assert nothing is None
    _, projecting = combined(Project(NAMES, clip=None), largest, others)
    assert torch.equal(report.conflicting, projecting.conflicting)


def test_the_meter_counts_groups_with_a_negative_inner_product_and_leaves_dead_parameters_out() -> None:
    largest, others = drawn(6), drawn(7)
    others["head.bias"] = torch.zeros(100, dtype=torch.float64)  # no subnet but the largest has it
    _, report = combined(Project(NAMES), largest, others)
    dead = {"attention.key.bias", "mix_logits.bias", "head.bias"}
    assert report.compared.tolist() == [name not in dead for name in NAMES]
    negative = [bool((largest[name] * others[name]).sum() < 0) and name not in dead for name in NAMES]
    assert report.conflicting.tolist() == negative
    assert float(report.share) == pytest.approx(sum(negative) / 4)
    for stage, share in report.by_stage.items():
        own = [name.startswith(stage) and name not in dead for name in NAMES]
        wanted = sum(bad for bad, here in zip(negative, own, strict=True) if here) / max(sum(own), 1)
        assert float(share) == pytest.approx(wanted), stage
    assert list(report.by_stage) == ["stem", "attention", "mix_logits", "head"]


def test_parameters_belong_to_stages_by_their_names() -> None:
    names = (
        "stem.conv.weight",
        "stages.2.0.norm.bias",
        "backbones.stages.1.0.weight",
        "head.mix.conv",
        "network.layer1.0.conv1",
    )
    assert [stage_of(name) for name in names] == ["stem", "stages.2", "stages.1", "head", "layer1"]


def test_a_layer_is_in_conflict_by_all_of_its_parameters_together() -> None:
    policy = Project(NAMES, per="layer")
    assert policy.group_names == ["stem", "attention.key", "mix_logits", "head"]
    largest, others = drawn(8), drawn(9)
    _, report = combined(policy, largest, others)
    head = sum(float((largest[name] * others[name]).sum()) for name in ("head.weight", "head.bias"))
    assert bool(report.conflicting[3]) is (head < 0)


def test_only_the_others_are_clipped_and_their_norm_before_is_reported() -> None:
    others = drawn(10)
    largest = {name: 1000 * tensor for name, tensor in others.items()}
    norm = torch.stack([tensor.square().sum() for tensor in others.values()]).sum().sqrt()
    gradients, report = combined(Project(NAMES, clip=1.0), largest, others)
    torch.testing.assert_close(report.subnet_norm, norm)
    for view, other in zip(gradients.views, others.values(), strict=True):
        torch.testing.assert_close(view, other * (1000 + 1 / (norm + 1e-6)))


def test_a_plain_sum_is_clipped_as_a_whole() -> None:
    gradients, _ = combined(Sum(clip=1.0), drawn(11), drawn(12))
    assert float(gradients.norm()) == pytest.approx(1.0, abs=1e-5)


def clipped(tensors: dict[str, Tensor], most: float) -> dict[str, Tensor]:
    return {name: tensor.clamp(-most, most) for name, tensor in tensors.items()}


def test_a_plain_sum_has_its_values_clipped_before_its_norm() -> None:
    largest, others = drawn(13), drawn(14)
    both = clipped({name: tensor + others[name] for name, tensor in largest.items()}, 0.5)
    gradients, _ = combined(Sum(clip_value=0.5), largest, others)
    assert all(torch.equal(view, both[name]) for name, view in zip(NAMES, gradients.views, strict=True))
    gradients, _ = combined(Sum(clip=1.0, clip_value=0.5), largest, others)
    wanted = gradients_of(both)
    wanted.clip_(1.0)
    assert torch.equal(gradients.rows, wanted.rows)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_values_of_the_others_are_clipped_before_projection_and_their_norm_before_is_reported(
    clip: float | None,
) -> None:
    largest, others = drawn(15, size=3.0), drawn(16)
    gradients, report = combined(Project(NAMES, clip=clip, clip_value=0.5), largest, others)
    wanted = projected(largest, clipped(others, 0.5), "tensor", clip, 2.0)
    for view, each in zip(gradients.views, wanted.values(), strict=True):
        torch.testing.assert_close(view, each, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(report.subnet_norm, gradients_of(others).norm())


def test_projection_begins_with_its_epoch_and_conflicts_are_measured_before() -> None:
    largest, others = drawn(17), drawn(18)
    always, measuring = Project(NAMES), Project(NAMES, project=False)
    later = Project(NAMES, project_from=3)
    with_it, without = (combined(policy, largest, others) for policy in (always, measuring))
    assert not torch.equal(with_it[0].rows, without[0].rows)
    for step, (wanted, _) in {11: without, 12: with_it, 13: with_it, 5: without}.items():  # 5: back after a collapse
        later.before_step(SimpleNamespace(step=step, steps_per_epoch=4))  # type: ignore[arg-type]
        gradients, report = combined(later, largest, others)
        assert torch.equal(gradients.rows, wanted.rows), step
        assert torch.equal(report.conflicting, with_it[1].conflicting)


def test_combining_before_the_largest_subnet_ran_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"combine\(\) needs after_largest\(\) in the same step"):
        Project(NAMES).combine(gradients_of(drawn(0)))
