"""Batch norm and activation as one function: the same numbers, one map less kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.norm_act import normalize_and_activate

LAYOUTS = [torch.channels_last, torch.contiguous_format]


def norm_of(channels: int) -> BatchNorm2d:
    torch.manual_seed(0)
    norm = BatchNorm2d(channels).double()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    return norm


def gradients(layer: Callable[[Tensor], Tensor], x: Tensor, norm: nn.Module) -> list[Tensor]:
    y = layer(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad(y, [x, *norm.parameters()], weights)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("act", [nn.SiLU(), nn.Hardswish(), nn.ReLU(), nn.Sigmoid()])
def test_values_and_gradients_are_those_of_the_two_layers(act: nn.Module, layout: torch.memory_format) -> None:
    norm, x = norm_of(5), torch.randn(4, 5, 7, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    joined = gradients(lambda x: normalize_and_activate(x, norm, act), x, norm)
    for one, other in zip(joined, gradients(lambda x: act(norm(x)), x, norm), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def kept(act: nn.Module, norm: nn.Module) -> int:
    """Return how many maps are kept for the backward pass."""
    maps = set[int]()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4:
            maps.add(tensor.data_ptr())
        return tensor

    x = torch.randn(2, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        normalize_and_activate(x, norm, act)
    return len(maps)


def test_the_output_of_the_batch_norm_is_not_kept_unless_somebody_watches_it() -> None:
    assert kept(nn.SiLU(), norm_of(5)) == 1
    watched = norm_of(5)
    seen = list[Tensor]()
    watched.register_forward_hook(lambda *told: seen.append(told[2]))
    assert kept(nn.SiLU(), watched) == 2
    assert len(seen) == 1
    tracking = norm_of(5)
    tracking.track_statistics()
    assert kept(nn.SiLU(), tracking) == 2
    assert tracking.num_batches_tracked is not None
    assert int(tracking.num_batches_tracked) == 1
