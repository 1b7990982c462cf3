"""Training with weights and activations rounded as integers of 8 bits will round them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

RANGE, MOMENTUM = "input_range", 0.01
_WEIGHT_LEVELS, _INPUT_LEVELS = 127, 255


class InputRange(nn.Module):
    """Rounds a map to the 256 integers between the least and the largest value that it has had, 0 among them.

    Both ends follow the maps of a training as running averages; in evaluation they stay.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded map; gradients pass where it lies between the ends."""
        if self.training:
            self._follow(x.detach())
        scale = ((self.high - self.low) / _INPUT_LEVELS).clamp_min(1e-8)
        zero = (-self.low / scale).round().to(torch.int32)
        rounded = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, _INPUT_LEVELS)
        return rounded.to(x.dtype)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> None:
        low, high = x.amin().clamp_max(0).float(), x.amax().clamp_min(0).float()
        share = torch.where(self.high > self.low, MOMENTUM, 1.0)  # the first map counts whole
        fine = torch.isfinite(low) & torch.isfinite(high)  # a step that overflows is left out, and so is its map
        self.low.copy_(torch.where(fine, self.low + share * (low - self.low), self.low))
        self.high.copy_(torch.where(fine, self.high + share * (high - self.high), self.high))


def round_weight(weight: Tensor) -> Tensor:
    """Round a weight to 255 integers, symmetric about 0, with a scale for each of its output channels.

    A factor of a channel, such as that of a batch norm after it, commutes with this.
    """
    scale = (weight.detach().flatten(1).abs().amax(1).float() / _WEIGHT_LEVELS).clamp_min(1e-12)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded = torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -_WEIGHT_LEVELS, _WEIGHT_LEVELS)
    return rounded.to(weight.dtype)


def fake_quantize(network: M) -> M:
    """Let every convolution and linear layer of a network round its weights and its input; return the network.

    Gradients pass the rounding as if it were not there (straight-through), so a training learns to live with it. The
    parameters stay what and where they are; :func:`without_fake_quantization` returns the network of floats, whose
    integers, calibrated by a runtime's own tool, then lose less.

    Source: Jacob et al., Quantization and Training of Neural Networks (2018), section 3,
    https://arxiv.org/abs/1712.05877; scales by channel: Krishnamoorthi (2018), https://arxiv.org/abs/1806.08342

    Args:
        network: a plain network, which is changed in place.
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not hasattr(module, RANGE):
            module.add_module(RANGE, InputRange())
            module.register_forward_pre_hook(_rounded)
            module.register_forward_hook(_as_before, always_call=True)
    return network


@torch.no_grad()
def set_ranges(network: M, batches: Iterable[Tensor]) -> M:
    """Take the ranges of a network that rounds from some batches of images; return it in evaluation mode."""
    network.eval()
    ranges = [module for module in network.modules() if isinstance(module, InputRange)]
    for each in ranges:
        each.train()
    for images in batches:
        network(images)
    for each in ranges:
        each.eval()
    return network


def without_fake_quantization(network: M) -> M:
    """Return a copy of a network in evaluation mode that rounds nothing; its weights are those before rounding."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, RANGE):
            delattr(module, RANGE)
            for hooks, ours in ((module._forward_pre_hooks, _rounded), (module._forward_hooks, _as_before)):
                for key in [key for key, hook in hooks.items() if hook is ours]:
                    del hooks[key]
                    module._forward_hooks_always_called.pop(key, None)
    return network.eval()


def _rounded(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # An attribute of this name hides the parameter, which stays the one that the optimizer and the state dict know.
    module.__dict__["weight"] = round_weight(module._parameters["weight"])  # type: ignore[arg-type]
    return (getattr(module, RANGE)(inputs[0]), *inputs[1:])


def _as_before(module: nn.Module, inputs: Any, output: Any) -> None:
    module.__dict__.pop("weight", None)
