"""Batch norm whose statistics belong to one network."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
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
            return _normalize_jointly(self, input, self.joined)
        if not self.training and self.running_mean is None:
            raise RuntimeError(
                "this network has no batch-norm statistics of its own yet, and those of another subnet would be wrong; "
                "call nasvit.calibrate(network, batches) before evaluating it"
            )
        return super().forward(input)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def store_statistics(norm: _BatchNorm, momentum: float | None) -> None:
    """Let any batch norm store statistics from now on, beginning with mean 0 and variance 1."""
    like = next((each for each in (norm.weight, norm.running_mean) if each is not None), torch.empty(0)).detach()
    norm.momentum, norm.track_running_stats = momentum, True
    norm.running_mean = like.new_zeros(norm.num_features)
    norm.running_var = like.new_ones(norm.num_features)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=like.device)


def lacks_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch norm that should store statistics and has none yet."""
    tracks = isinstance(module, _BatchNorm) and (module.track_running_stats or isinstance(module, BatchNorm2d))
    return tracks and module.running_mean is None


def _normalize_jointly(norm: nn.BatchNorm2d, x: Tensor, compute: Compute) -> Tensor:
    """Normalize by the statistics of the joined batch of all processes (equal shards), and store them if it does."""
    y, mean, variance = _NormalizeJointly.apply(x, norm.weight, norm.bias, norm.eps, compute)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
        momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        count = x.numel() // x.shape[1] * compute.count
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), momentum)
    return y


class _NormalizeJointly(torch.autograd.Function):
    """Batch norm by the joined batch of all processes; each sends two numbers a channel, forward and backward.

    Inputs are the images, weight, bias, epsilon and the processes; outputs the normalized images, and mean and
    variance ``(channels,)`` of the joined batch. As in ordinary training, gradients are those of the sum of all
    processes' losses, of which weight and bias get the part of this process's images.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, compute: Compute
    ) -> tuple[Tensor, Tensor, Tensor]:
        means, variances = compute.stack(torch.stack(_moments(x))).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        context.save_for_backward(x, weight, mean, variance)
        context.mark_non_differentiable(mean, variance)
        context.eps, context.compute = eps, compute
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        gradient, compute = gradients[0], context.compute
        x, weight, mean, variance = context.saved_tensors
        like_x = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        gradient = gradient.contiguous(memory_format=like_x)
        inverse = torch.rsqrt(variance + context.eps)
        # Kernels of NVIDIA GPUs take mean and inverse deviation as what a forward pass saved, others the statistics.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, inverse, False, context.eps, [False, True, True]
        )
        joined = compute.stack(torch.stack([of_weight, of_bias])).sum(0) / (x.numel() // x.shape[1] * compute.count)
        scale = weight * inverse
        slope = -scale * inverse * joined[0]
        shift = -scale * joined[1] - slope * mean
        of_x = torch.addcmul(_per_channel(shift), x, _per_channel(slope)).addcmul_(gradient, _per_channel(scale))
        return of_x.to(x.dtype), of_weight, of_bias, None, None


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of every channel, in float32 at least: fewer digits would lose the variance."""
    exact = x if x.dtype == torch.float64 else x.float()
    if x.device.type == "cpu":  # measured ten times as fast there
        mean, variance = torch.batch_norm_update_stats(exact, None, None, 0.0)
        return mean, variance
    variance, mean = torch.var_mean(exact, (0, 2, 3), correction=0)
    return mean, variance


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


class _Joinable(nn.BatchNorm2d):
    """What batch norms of other libraries become a kind of, so that they can see the joined batch too."""

    joined: Compute | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.joined is None:
            return super().forward(input)
        x = _normalize_jointly(self, input, self.joined)
        for name in ("drop", "act"):  # what timm puts behind a norm, as a part of it
            x = getattr(self, name, _same)(x)
        return x


def _same(x: Tensor) -> Tensor:
    return x


@cache
def _joinable(kind: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    live = {"plain": kind.plain} if hasattr(kind, "plain") else {}  # live classes say what a copy of them is
    return type(kind.__name__, (_Joinable, kind), {"__module__": kind.__module__, **live})


def sync_batch_norm(network: nn.Module, compute: Compute | None) -> None:
    """Let every batch norm of ``network`` use the joined batch of all processes while training.

    These are ``nn.BatchNorm2d`` with gain and bias, and what derives from it; other norms see one process's images.

    Args:
        network: the network.
        compute: the processes; None, or one alone: the batch of this process, and every norm is what it was.
    """
    joined = None if compute is None or compute.count == 1 else compute
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.joined = joined
        elif isinstance(module, _Joinable) and joined is None:
            module.__class__ = type(module).__bases__[1]
        elif isinstance(module, nn.BatchNorm2d) and module.affine and joined is not None:
            if not isinstance(module, _Joinable):
                module.__class__ = _joinable(type(module))  # type: ignore[arg-type]
            module.joined = joined  # type: ignore[assignment]
