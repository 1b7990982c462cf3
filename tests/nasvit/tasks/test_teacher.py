"""Several teachers as one, with the probabilities that the released NASViT teaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasvit.tasks.distillation import Distillation, KLDivergence, SoftTargetCrossEntropy, teacher_probabilities
from nasvit.tasks.teacher import Teachers

IMAGES = torch.zeros(3, 1, 8, 8)


class Says(nn.Module):
    """A teacher with the same scores for all images."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores.expand(len(images), -1)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_softmax_of_the_scores_is_the_mean_of_the_teachers_probabilities(temperature: float) -> None:
    first, second = Says(1.0, 0.5, -2.0), Says(-1.0, 0.0, 3.0)
    taught = Teachers([first, second], temperature)(IMAGES)
    wanted = teacher_probabilities([first(IMAGES), second(IMAGES)], temperature=temperature)
    torch.testing.assert_close(taught.softmax(1), wanted)
    torch.testing.assert_close(taught.exp(), wanted)  # they sum to 1 already


def test_a_low_temperature_sharpens_one_teacher() -> None:
    torch.testing.assert_close(
        Teachers([Says(1.0, 0.0)], 0.2)(IMAGES).softmax(1), torch.tensor([[5.0, 0.0]]).softmax(1).expand(3, 2)
    )


def test_teachers_that_are_sure_leave_the_loss_and_its_gradient_finite() -> None:
    taught = Teachers([Says(400.0, 0.0, -400.0), Says(400.0, 0.0, -300.0)], 0.2)(IMAGES)
    for loss in (KLDivergence(), SoftTargetCrossEntropy(), lambda student, teacher: Distillation(0.5, 4.0)(
        student.new_zeros(()), student, teacher
    )):  # fmt: skip
        student = torch.tensor([[-50.0, 0.0, 60.0]]).repeat(3, 1).requires_grad_()
        value = loss(student, taught)  # type: ignore[operator]
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()  # type: ignore[arg-type]


def test_half_precision_teachers_are_averaged_in_single_precision() -> None:
    first, second = Says(1.0, 0.5, -2.0), Says(-1.0, 0.0, 3.0)
    first.scores, second.scores = first.scores.half(), second.scores.bfloat16()
    assert Teachers([first, second])(IMAGES).dtype == torch.float32


def test_teachers_stay_in_evaluation_mode() -> None:
    teachers = Teachers([nn.Sequential(nn.Dropout()), Says(0.0)]).train()
    assert not any(module.training for module in teachers.modules())


def test_no_teacher_and_no_temperature_are_refused() -> None:
    with pytest.raises(ValueError, match="0 teachers at temperature 1"):
        Teachers([])
    with pytest.raises(ValueError, match="1 teachers at temperature 0"):
        Teachers([Says(0.0)], 0.0)
