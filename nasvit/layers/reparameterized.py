"""Convolutions trained as several branches that become one convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.layers.conv_norm import ConvNorm

FOLDABLE = (nn.BatchNorm2d, nn.SyncBatchNorm)
"""Batch norms that can become part of the convolution before them."""


class Reparameterized(nn.Module):
    """Sum of convolutions of one shape, each with its batch norm, and perhaps of a 1x1 one and the input itself.

    :meth:`fuse` returns one convolution that computes the same in evaluation.

    Source: Ding et al., RepVGG (2021), https://arxiv.org/abs/2101.03697; with several branches and a 1x1 depthwise one
    as in Liu et al., GhostNetV3 (2024), https://arxiv.org/abs/2404.11202

    Args:
        branches: convolutions with batch norm and without activation, equal in all but values.
        scale: a 1x1 convolution with its batch norm, of the same stride and groups, or None.
        identity: batch norm of the input itself, or None; needs stride 1 and as many channels out as in.
        act: activation after the sum, or None.

    Raises:
        ValueError: if the branches differ, or no single convolution computes their sum.

    Shape:
        The shape of a branch.
    """

    def __init__(
        self,
        branches: Sequence[ConvNorm],
        scale: ConvNorm | None = None,
        identity: nn.BatchNorm2d | None = None,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.scale = scale
        self.identity = identity
        self.act = act
        self._check()

    def _check(self) -> None:
        if not self.branches:
            raise ValueError("Reparameterized: no branches; one convolution is the least")
        conv = self._conv()
        for branch in self._conv_branches():
            if _shape_of(branch.conv) != _shape_of(conv):
                raise ValueError(f"Reparameterized: the branches differ: {branch.conv} and {conv}")
            if branch.act is not None:
                raise ValueError("Reparameterized: a branch has an activation, so the sum is no convolution")
        if self.scale is not None or self.identity is not None:
            self._check_centered(conv)
        if self.scale is not None and (self.scale.conv.stride, self.scale.conv.groups) != (conv.stride, conv.groups):
            raise ValueError(f"Reparameterized: {self.scale.conv} strides or groups otherwise than {conv}")
        if self.identity is not None and (conv.stride != (1, 1) or conv.in_channels != conv.out_channels):
            raise ValueError(f"Reparameterized: {conv} changes size or channels, so the input cannot be added")

    def _check_centered(self, conv: nn.Conv2d) -> None:
        if not is_centered(conv):
            raise ValueError(
                f"Reparameterized: {conv} has no center under each pixel (odd kernel, padding {_centering(conv)}), so "
                "neither a 1x1 convolution nor the input can become part of it"
            )

    def _conv(self) -> nn.Conv2d:
        first = self.branches[0]
        assert isinstance(first, ConvNorm)
        return first.conv

    def _conv_branches(self) -> list[ConvNorm]:
        return [branch for branch in self.branches if isinstance(branch, ConvNorm)]

    def forward(self, x: Tensor) -> Tensor:
        branches = [*self.branches, *(branch for branch in (self.scale, self.identity) if branch is not None)]
        total: Tensor = branches[0](x)
        for branch in branches[1:]:
            total = total + branch(x)
        return total if self.act is None else self.act(total)

    @torch.no_grad()
    def fuse(self) -> ConvNorm:
        """Return one convolution that computes the same in evaluation, up to rounding.

        Raises:
            ValueError: if a batch norm stores no statistics, and so has no values of its own in evaluation, or the
                module is in training mode.
        """
        if self.training:
            raise ValueError("fuse: in training mode batch norms use the batch, not what is stored; call eval() first")
        conv = self._conv()
        parts = [folded(branch.conv, branch.norm) for branch in self._conv_branches()]
        if self.scale is not None:
            kernel, bias = folded(self.scale.conv, self.scale.norm)
            parts.append((_padded(kernel, conv), bias))
        if self.identity is not None:
            parts.append(_fold(_identity_kernel(conv), None, self.identity))
        fused = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            padding_mode=conv.padding_mode,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        assert fused.bias is not None
        fused.weight.copy_(torch.stack([kernel for kernel, _ in parts]).sum(0))
        fused.bias.copy_(torch.stack([bias for _, bias in parts]).sum(0))
        return ConvNorm(fused, None, self.act).eval()


def folded(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Return kernel and bias, in float64, of a convolution with its batch norm folded in.

    Raises:
        TypeError: if the norm is no batch norm.
        ValueError: if the batch norm stores no statistics.
    """
    bias = None if conv.bias is None else conv.bias.detach().double()
    kernel = conv.weight.detach().double()
    if norm is None:
        return kernel, kernel.new_zeros(conv.out_channels) if bias is None else bias
    if not isinstance(norm, FOLDABLE):
        raise TypeError(f"fuse: {type(norm).__name__} cannot be folded into a convolution; only BatchNorm2d can")
    return _fold(kernel, bias, norm)


def _fold(kernel: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("fuse: a batch norm stores no statistics; calibrate the network first (nasvit.calibrate)")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale, shift = scale * norm.weight.detach().double(), norm.bias.detach().double()
    mean = norm.running_mean.double() if bias is None else norm.running_mean.double() - bias
    return kernel * scale[:, None, None, None], shift - mean * scale


def _padded(kernel: Tensor, conv: nn.Conv2d) -> Tensor:
    height, width = conv.kernel_size
    return F.pad(kernel, (width // 2, width // 2, height // 2, height // 2))


def _identity_kernel(conv: nn.Conv2d) -> Tensor:
    """Return the kernel of ``conv``'s shape that passes every channel through."""
    kernel = torch.zeros(conv.weight.shape, dtype=torch.float64, device=conv.weight.device)
    channels = torch.arange(conv.out_channels, device=conv.weight.device)
    height, width = conv.kernel_size
    kernel[channels, channels % conv.weight.shape[1], height // 2, width // 2] = 1
    return kernel


def _shape_of(conv: nn.Conv2d) -> tuple[object, ...]:
    return (conv.weight.shape, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)


def is_centered(conv: nn.Conv2d) -> bool:
    """Return whether each pixel out stands on the pixel in under the kernel's center."""
    return conv.padding in (_centering(conv), "same") and all(side % 2 for side in conv.kernel_size)


def _centering(conv: nn.Conv2d) -> tuple[int, ...]:
    return tuple(side // 2 * step for side, step in zip(conv.kernel_size, conv.dilation, strict=True))


def has_branches(network: nn.Module) -> bool:
    """Return whether any convolution of a network is branched."""
    return any(isinstance(module, Reparameterized) for module in network.modules())


def replace_modules(network: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Replace modules inside ``network`` by others, under every name that they have."""
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in new:
                parent._modules[name] = new[child]
