"""Distillation losses against the numbers of the released code, and where those are not numbers."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nasvit.tasks.distillation import (
    AdaptiveAlphaDivergence,
    AlphaDivergence,
    Distillation,
    KLDivergence,
    SoftTargetCrossEntropy,
    channel_wise,
    teacher_probabilities,
)
from tests.shared import SHARED, needs_shared

LOSSES = (
    AdaptiveAlphaDivergence(),
    AlphaDivergence(-1.0),
    AlphaDivergence(0.0),
    AlphaDivergence(0.5),
    AlphaDivergence(1.0),
    AlphaDivergence(2.0),
    KLDivergence(),
    KLDivergence(temperature=4.0),
    SoftTargetCrossEntropy(),
)

# One sample of the released NASViT code: student and teacher logits, and what it computed from them.
STUDENT = [
    -0.6248736381530762,
    -1.6149965524673462,
    0.5567899942398071,
    -0.9705020189285278,
    1.3823260068893433,
    0.14014586806297302,
]
TEACHER = [
    1.5071165561676025,
    -0.35264208912849426,
    -1.155897855758667,
    -0.5994846224784851,
    0.7617170810699463,
    -0.2269883155822754,
]
OTHER_STUDENT = [
    -1.715990424156189,
    -0.4708264470100403,
    0.07860031723976135,
    -1.3063545227050781,
    -1.4592894315719604,
    -1.5510309934616089,
]
OTHER_TEACHER = [
    -1.3445627689361572,
    -0.9331884384155273,
    1.077776312828064,
    0.31643956899642944,
    -1.4738365411758423,
    0.6062961220741272,
]
RELEASED = {
    -1.0: (0.7131006132279946, -2.3223549971791115, [-0.15353510013055977, -0.052427144892520657, 0.5619372753133988]),
    1.0: (0.8274867178787085, 2.216091040699913, [-0.43347340698151676, -0.053041284352904915, 0.18342969065678835]),
}


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def value_and_gradient(loss: Any, student: Tensor, teacher: Tensor) -> tuple[float, Tensor]:
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    return float(value.detach()), gradient


@pytest.mark.parametrize("alpha", [-1.0, 1.0])
def test_a_divergence_and_its_gradient_are_those_of_the_released_code(alpha: float) -> None:
    divergence, surrogate, gradient = RELEASED[alpha]
    student, teacher = tensor([STUDENT]), tensor([TEACHER])
    loss = AlphaDivergence(alpha, clip=5.0)
    value, found = value_and_gradient(loss, student, teacher)
    assert value == pytest.approx(surrogate, rel=1e-12)
    assert found[0, :3].tolist() == pytest.approx(gradient, rel=1e-12)
    exact = loss.divergence(student.log_softmax(1), teacher.log_softmax(1))
    assert float(exact) == pytest.approx(divergence, rel=1e-12)


def test_the_adaptive_loss_takes_the_larger_divergence_of_each_sample() -> None:
    # The released code took alpha -1 for the first sample (0.449 against 0.291) and alpha 1 for the second.
    log_q, log_p = tensor([OTHER_STUDENT, STUDENT]).log_softmax(1), tensor([OTHER_TEACHER, TEACHER]).log_softmax(1)
    chosen = AdaptiveAlphaDivergence().surrogate(log_q, log_p)
    assert chosen.tolist() == pytest.approx([-2.183209730130168, 2.216091040699913], rel=1e-12)


@needs_shared
@pytest.mark.parametrize("name", ["mild", "sharp", "equal", "student_overconfident_and_under"])
def test_every_number_of_the_released_nasvit_losses_is_reproduced(name: str) -> None:
    case = next(
        case for case in json.loads((SHARED / "golden/nasvit/losses.json").read_text())["cases"] if case["name"] == name
    )
    student, teacher = tensor(case["output"]), tensor(case["target"])
    for key, golden in case["f_divergence"].items():
        alpha, clip = (float(part.split("=")[1]) for part in key.split(","))
        loss = AlphaDivergence(alpha, clip)
        log_q, log_p = student.log_softmax(1), teacher.log_softmax(1)
        assert loss.divergence(log_q, log_p).tolist() == pytest.approx(golden["divergence"], rel=1e-9, abs=1e-12)
        assert loss.surrogate(log_q, log_p).tolist() == pytest.approx(golden["surrogate"], rel=1e-9)
        _, gradient = value_and_gradient(loss, student, teacher)
        assert torch.allclose(gradient * len(student), tensor(golden["grad_of_surrogate_sum"]), rtol=1e-9, atol=1e-12)
    value, gradient = value_and_gradient(AdaptiveAlphaDivergence(), student, teacher)
    adaptive = case["adaptive"]
    assert torch.allclose(gradient, tensor(adaptive["grad"]), rtol=1e-9, atol=1e-12)
    if name != "equal":  # Both divergences are 0 there, and rounding chooses.
        assert value == pytest.approx(adaptive["mean"], rel=1e-9)


@needs_shared
def test_the_released_teacher_loss_is_reproduced() -> None:
    for case in json.loads((SHARED / "golden/nasvit/losses.json").read_text())["cases"]:
        student, teacher = tensor(case["output"]), tensor(case["target"])
        probabilities = teacher_probabilities([teacher], temperature=1 / 5)
        found = SoftTargetCrossEntropy().of_probabilities(student, probabilities)
        assert float(found) == pytest.approx(case["teacher_ce_temp5"]["loss"], rel=1e-9)


@needs_shared
def test_where_the_released_loss_is_not_a_number_ours_is() -> None:
    cases = json.loads((SHARED / "golden/nasvit/losses.json").read_text())["cases"]
    case = next(case for case in cases if case["name"] == "extreme_underflow")
    value, gradient = value_and_gradient(AdaptiveAlphaDivergence(), tensor(case["output"]), tensor(case["target"]))
    assert "nan" in json.dumps(case["adaptive"]).lower()
    assert np.isfinite(value) and bool(gradient.isfinite().all())


def alphanet_logits(name: str, scale: float) -> Tensor:
    raw = np.random.Philox(key=zlib.crc32(f"loss:{name}:8x10".encode())).random_raw(80)
    uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    z = (1.7320508075688772 * (2 * uniform - 1)).astype(np.float32).astype(np.float64)
    return torch.from_numpy(z.reshape(8, 10) * scale)


def alphanet_loss(case: dict[str, Any]) -> Any:
    if case["loss"] == "AdaptiveLossSoft":
        return AdaptiveAlphaDivergence(case["alpha_min"], case["alpha_max"], case["iw_clip"])
    if case["loss"] == "f_divergence":
        return AlphaDivergence(case["alpha"], case["iw_clip"])
    return SoftTargetCrossEntropy() if case["loss"].startswith("KLLossSoft") else None


@needs_shared
def test_every_number_of_the_released_alphanet_losses_is_reproduced() -> None:
    checked = 0
    for case in json.loads((SHARED / "golden/alphanet/loss_golden.json").read_text())["cases"]:
        student, teacher = alphanet_logits("q", case["scale"]), alphanet_logits("p", case["scale"])
        loss = alphanet_loss(case)
        if loss is None:
            continue
        value, gradient = value_and_gradient(loss, student, teacher)
        row = case.get("grad_row0", case.get("grad_of_mean_grad_loss_row0"))
        assert gradient[0, : len(row)].tolist() == pytest.approx(row, rel=1e-8, abs=1e-12)
        if "value_mean" in case:
            assert value == pytest.approx(case["value_mean"], rel=1e-9)
        else:
            found = loss.divergence(student.log_softmax(1), teacher.log_softmax(1))
            assert found[: len(case["loss_per_row"])].tolist() == pytest.approx(case["loss_per_row"], rel=1e-8)
        checked += 1
    assert checked == 20


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(
    student=st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4),
    teacher=st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4),
)
def test_values_and_gradients_are_finite_for_any_logits(loss: Any, student: list[float], teacher: list[float]) -> None:
    value, gradient = value_and_gradient(loss, torch.tensor([student]), torch.tensor([teacher]))
    assert np.isfinite(value) and bool(gradient.isfinite().all())


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_student_equal_to_its_teacher_gets_no_gradient(loss: Any) -> None:
    logits = tensor([STUDENT, TEACHER])
    _, gradient = value_and_gradient(loss, logits, logits)
    assert float(gradient.abs().max()) < 1e-15


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_following_the_gradient_brings_the_student_to_the_teacher(loss: Any) -> None:
    student, teacher = tensor([STUDENT]), tensor([TEACHER])
    for _ in range(4000):
        _, gradient = value_and_gradient(loss, student, teacher)
        student = student - 0.2 * gradient
    assert torch.allclose(student.softmax(1), teacher.softmax(1), atol=0.01)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_no_gradient_flows_to_the_teacher(loss: Any) -> None:
    student, teacher = tensor([STUDENT]).requires_grad_(), tensor([TEACHER]).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad is not None and teacher.grad is None


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_half_precision_logits_are_computed_in_float32(loss: Any) -> None:
    student, teacher = (torch.tensor([row], dtype=torch.bfloat16) for row in (STUDENT, TEACHER))
    assert loss(student, teacher).dtype == torch.float32
    assert loss(student, teacher) == pytest.approx(loss(student.float(), teacher.float()))


def test_alpha_one_has_the_gradient_of_soft_cross_entropy_and_of_kl_divergence() -> None:
    student, teacher = tensor([STUDENT]), tensor([TEACHER])
    gradients = [
        value_and_gradient(loss, student, teacher)[1]
        for loss in (AlphaDivergence(1.0), SoftTargetCrossEntropy(), KLDivergence())
    ]
    assert torch.allclose(gradients[0], gradients[1]) and torch.allclose(gradients[0], gradients[2])


def test_kl_divergence_with_a_temperature_is_the_one_of_the_divided_logits_times_its_square() -> None:
    student, teacher = tensor([STUDENT]), tensor([TEACHER])
    expected = 9 * F.kl_div((student / 3).log_softmax(1), (teacher / 3).softmax(1), reduction="batchmean")
    assert float(KLDivergence(temperature=3.0)(student, teacher)) == pytest.approx(float(expected))
    assert float(KLDivergence()(student, student)) == pytest.approx(0.0, abs=1e-15)


def test_teacher_probabilities_are_the_mean_of_sharpened_teachers() -> None:
    first, second = tensor([[1.0, 0.0]]), tensor([[0.0, 2.0]])
    found = teacher_probabilities([first, second], temperature=1 / 5)
    assert torch.allclose(found, ((5 * first).softmax(1) + (5 * second).softmax(1)) / 2)


def test_illegal_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="clip 0"):
        AlphaDivergence(1.0, clip=0)
    with pytest.raises(ValueError, match=r"alpha_min 1\.0 must be below alpha_max -1\.0"):
        AdaptiveAlphaDivergence(1.0, -1.0)
    with pytest.raises(ValueError, match="temperature -1"):
        KLDivergence(temperature=-1)
    with pytest.raises(ValueError, match="one teacher at least"):
        teacher_probabilities([])
    with pytest.raises(ValueError, match=r"student logits \(1, 6\), teacher logits \(2, 6\)"):
        AlphaDivergence(1.0)(tensor([STUDENT]), tensor([TEACHER, TEACHER]))


def test_maps_are_compared_channel_by_channel_over_positions_whatever_is_added_to_a_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(2, 2, 3, *size, generator=generator) for size in ((4, 5), (2, 3)))
    expected = torch.zeros(())
    for maps in (fine, coarse):
        one, other = (each.reshape(6, -1).softmax(1) for each in maps)
        expected = expected + (other * (other / one).log()).sum() / 6 / 2
    student, teacher = ([maps[number].requires_grad_() for maps in (fine, coarse)] for number in (0, 1))
    torch.testing.assert_close(channel_wise(student, teacher), expected)
    shifted = [each + torch.randn(2, 3, 1, 1, generator=generator) for each in teacher]
    torch.testing.assert_close(channel_wise(shifted, teacher), torch.zeros(()), rtol=0, atol=1e-6)
    assert torch.autograd.grad(channel_wise(student, teacher), teacher, allow_unused=True) == (None, None)
    with pytest.raises(
        ValueError, match=r"student's maps have channels, height and width \[\(3, 4, 5\)\], the teacher"
    ):
        channel_wise(student[:1], teacher)


def test_labels_and_teacher_are_blended_with_the_square_of_the_temperature() -> None:
    student, teacher = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True), torch.tensor([[0.0, 2.0, 0.0]])
    labels = F.cross_entropy(student, torch.tensor([1]))
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    expected = 0.3 * labels + 0.7 * 4 * (p * (p.log() - q.log())).sum()
    torch.testing.assert_close(Distillation(0.7, 2.0)(labels, student, teacher), expected)


def test_a_share_of_none_or_all_leaves_labels_or_teacher_alone() -> None:
    student, teacher, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.7)
    torch.testing.assert_close(Distillation(0.0)(labels, student, teacher), labels)
    torch.testing.assert_close(Distillation(1.0, 3.0)(labels, student, teacher), KLDivergence(3.0)(student, teacher))


@pytest.mark.parametrize(
    ("values", "words"), [((1.5, 1), "alpha: 1.5 is illegal"), ((0.5, 0), "temperature: 0 is illegal")]
)
def test_an_illegal_blend_is_refused_in_words(values: tuple[float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Distillation(*values)
