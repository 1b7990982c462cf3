"""Batch norm whose statistics belong to one network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.compute import Compute


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` that trains on batch statistics and refuses to evaluate before it has stored ones.

    It starts without stored statistics (``running_mean is None``). :func:`nasvit.calibrate` gives it some, or
    :meth:`track_statistics` makes it follow the batches of ordinary training.

    Args:
        num_features: channels.
        eps: added to the variance.

    Shape:
        ``(batch, num_features, height, width) -> (batch, num_features, height, width)``
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__(num_features, eps=eps, track_running_stats=False)
        self.joined: Compute | None = None

    def track_statistics(self, momentum: float | None = 0.1) -> None:
        """Store statistics from now on (mean 0, variance 1 until the first batch), as ``nn.BatchNorm2d`` does."""
        store_statistics(self, momentum)

    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.joined is not None:
            return self._forward_joined(input, self.joined)
        if not self.training and self.running_mean is None:
            raise RuntimeError(
                "this network has no batch-norm statistics of its own yet, and those of another subnet would be wrong; "
                "call nasvit.calibrate(network, batches) before evaluating it"
            )
        return super().forward(input)

    def _forward_joined(self, x: Tensor, compute: Compute) -> Tensor:
        """Normalize by the statistics of the joined batch of all processes (equal shards)."""
        exact = x if x.dtype == torch.float64 else x.float()  # mixed precision would lose the variance
        moments = torch.stack([exact.mean((0, 2, 3)), (exact * exact).mean((0, 2, 3))])
        mean, square = _SumOverProcesses.apply(moments, compute) / compute.count
        variance = (square - mean * mean).clamp(min=0)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        if self.running_mean is not None and self.running_var is not None:
            count = x.numel() // x.shape[1] * compute.count
            self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        return (exact * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def store_statistics(norm: _BatchNorm, momentum: float | None) -> None:
    """Let any batch norm store statistics from now on, beginning with mean 0 and variance 1."""
    like = next((each for each in (norm.weight, norm.running_mean) if each is not None), torch.empty(0)).detach()
    norm.momentum, norm.track_running_stats = momentum, True
    norm.running_mean = like.new_zeros(norm.num_features)
    norm.running_var = like.new_ones(norm.num_features)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=like.device)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, compute: Compute) -> Tensor:
        context.compute = compute
        return compute.sum_(tensor.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        compute: Compute = context.compute
        return compute.sum_(gradient.clone(memory_format=torch.contiguous_format)), None


def sync_batch_norm(network: nn.Module, compute: Compute) -> None:
    """Let every batch norm of ``network`` use the joined batch of all processes while training.

    Args:
        network: the network.
        compute: the processes; alone, the batch of this one.
    """
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.joined = compute if compute.count > 1 else None
