"""Batch norm by the joined batch of several processes, beside one by a batch that holds all their images."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasvit.compute import Compute
from nasvit.layers import BatchNorm2d, sync_batch_norm


class Twin:
    """The processes as one of two sees them whose images are the same."""

    count = 2

    def stack(self, tensor: Tensor) -> Tensor:
        return torch.stack([tensor, tensor])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
@pytest.mark.parametrize("kind", [BatchNorm2d, nn.BatchNorm2d])
def test_a_joined_batch_norm_computes_what_one_of_the_whole_batch_does(
    kind: type[nn.BatchNorm2d], dtype: torch.dtype, near: float, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    norm, whole = kind(5).to(exact), nn.BatchNorm2d(5).to(exact)
    if isinstance(norm, BatchNorm2d):
        norm.track_statistics()
    nn.init.uniform_(norm.weight)
    whole.load_state_dict(norm.state_dict())
    processes: Any = Twin()
    sync_batch_norm(norm, processes)
    images = (3 * torch.randn(4, 5, 6, 6) + 1).to(dtype).contiguous(memory_format=layout)
    mine, all_of_them = images.clone().requires_grad_(), torch.cat([images, images]).to(exact).requires_grad_()
    gradient = torch.randn(4, 5, 6, 6).to(dtype)
    found, wanted = norm.train()(mine), whole(all_of_them)
    found.backward(gradient)
    wanted.backward(torch.cat([gradient, gradient]).to(exact))
    assert mine.grad is not None and all_of_them.grad is not None
    assert found.dtype == mine.grad.dtype == dtype
    torch.testing.assert_close(found.to(exact), wanted[:4], rtol=near, atol=near)
    torch.testing.assert_close(mine.grad.to(exact), all_of_them.grad[:4], rtol=near, atol=near)
    for one, both in zip(norm.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(2 * one.grad, both.grad, rtol=1e-3, atol=1e-4)  # averaged over processes later
    for name, statistic in whole.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), statistic, rtol=1e-5, atol=1e-5)


class _Watched(TorchDispatchMode):
    """Keeps what the backward pass of batch norm is given as saved statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.native_batch_norm_backward.default:
            self.saved.append(args[5:7])
        return func(*args, **(kwargs or {}))


def test_the_backward_pass_brings_the_statistics_that_kernels_of_nvidia_gpus_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Compute, "stack", lambda self, tensor: torch.stack([tensor, tensor]))
    norm = BatchNorm2d(3)
    sync_batch_norm(norm, Compute(rank=0, count=2))
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    with _Watched() as watched:
        norm(x).square().sum().backward()
    ((mean, inverse),) = watched.saved
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(inverse, 1 / (x.var((0, 2, 3), correction=0) + norm.eps).sqrt())


def test_a_norm_of_another_library_is_what_it_was_after_the_training() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    sync_batch_norm(network, Compute(rank=0, count=2))
    assert type(network[0]) is not nn.BatchNorm2d
    sync_batch_norm(network, None)
    assert type(network[0]) is nn.BatchNorm2d
    pickle.dumps(network)
