"""All gradients in one buffer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasvit.supernets.gradients import ROW, FlatGradients, group_by_layer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(20, 7))


def test_gradients_arrive_in_the_buffer_with_the_strides_of_their_parameters() -> None:
    model = network().to(memory_format=torch.channels_last)
    gradients, plain = FlatGradients(model.parameters()), network().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 4, 4)
    for each in (model, plain):
        each(x).square().sum().backward()
    assert gradients.intact()
    for parameter, view, other in zip(model.parameters(), gradients.views, plain.parameters(), strict=True):
        assert parameter.grad is view
        assert view.stride() == parameter.stride()
        assert view.untyped_storage().data_ptr() == gradients.rows.untyped_storage().data_ptr()
        assert torch.equal(view, other.grad)


def test_every_parameter_starts_on_a_row_of_its_own() -> None:
    gradients = FlatGradients(network().parameters())
    assert [view.storage_offset() % ROW for view in gradients.views] == [0, 0, 0, 0]
    assert gradients.owner.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]  # 135, 5, 140 and 7 numbers in rows of 64


def test_norms_and_sums_agree_with_a_loop_over_tensors() -> None:
    model = network()
    gradients = FlatGradients(model.parameters())
    model(torch.randn(2, 3, 4, 4)).square().sum().backward()
    squares = torch.stack([view.square().sum() for view in gradients.views])
    torch.testing.assert_close(gradients.inner(gradients.rows, gradients.rows), squares)
    torch.testing.assert_close(gradients.norm(), squares.sum().sqrt())
    names, groups = group_by_layer([name for name, _ in model.named_parameters()])
    assert names == ["0", "2"]
    by_layer = gradients.inner(gradients.rows, gradients.rows, groups, 2)
    torch.testing.assert_close(by_layer, torch.stack([squares[:2].sum(), squares[2:].sum()]))


def test_clipping_agrees_with_pytorch() -> None:
    for largest in (0.5, 1e9):
        model, other = network(), network()
        gradients = FlatGradients(model.parameters())
        x = torch.randn(2, 3, 4, 4)
        for each in (model, other):
            each(x).square().sum().backward()
        before = nn.utils.clip_grad_norm_(other.parameters(), largest)
        torch.testing.assert_close(gradients.clip_(largest), before)
        for parameter, wanted in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, wanted.grad)


def test_clipping_of_values_agrees_with_pytorch() -> None:
    model, other = network(), network()
    gradients, x = FlatGradients(model.parameters()), torch.randn(2, 3, 4, 4)
    for each in (model, other):
        each(x).square().sum().backward()
    nn.utils.clip_grad_value_(other.parameters(), 0.5)
    gradients.clip_values_(0.5)
    assert float(gradients.rows.max()) == 0.5
    for parameter, wanted in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter.grad, wanted.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_clipping_of_values_does_not_hide_an_overflow(wrong: float) -> None:
    gradients = FlatGradients([nn.Parameter(torch.zeros(3))])
    gradients.views[0].copy_(torch.tensor([wrong, 2.0, -0.5]))
    gradients.clip_values_(1.0)
    assert gradients.views[0].isnan().tolist() == [True, False, False]
    assert gradients.views[0][1:].tolist() == [1.0, -0.5]


def test_gradients_that_were_there_are_kept() -> None:
    model = network()
    model(torch.ones(2, 3, 4, 4)).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    FlatGradients(model.parameters())
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))


def test_a_gradient_that_is_not_in_the_buffer_is_noticed() -> None:
    model = network()
    gradients = FlatGradients(model.parameters())
    gradients.check()
    model[2].bias.grad = torch.zeros(7)
    with pytest.raises(RuntimeError, match="not its slice of the gradient buffer any more"):
        gradients.check()


def test_parameters_of_two_kinds_are_refused_in_words() -> None:
    mixed = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    with pytest.raises(ValueError, match=r"one dtype and device, found torch\.float32 on cpu, torch\.float64 on cpu"):
        FlatGradients(mixed)
    with pytest.raises(ValueError, match="found none at all"):
        FlatGradients([])
