"""Other ways to draw the random weights that a training starts from than the network's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DEVIATION, _CUT = 0.02, 2.0


@torch.no_grad()
def draw_weights(network: nn.Module, how: str, seed: int) -> None:
    """Draw the weights of all convolutions and linear layers anew; biases, gains and tables stay as they are.

    Args:
        network: a plain network.
        how: ``default``: nothing is drawn. ``fan_out_normal``: convolutions normal, with variance 2 / fan-out (He et
            al., 2015, https://arxiv.org/abs/1502.01852), linear layers as in ``truncated_normal``. ``fan_in_uniform``:
            within 1 / sqrt(fan-in), PyTorch's own rule. ``truncated_normal``: deviation 0.02, cut at two of them, as
            transformers are.
        seed: any integer.
    """
    numbers = torch.Generator().manual_seed(seed)
    for module in network.modules() if how != "default" else ():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        weight, groups = module.weight, module.groups if isinstance(module, nn.Conv2d) else 1
        positions = weight[0, 0].numel()
        if how == "fan_in_uniform":
            values = (torch.rand(weight.shape, generator=numbers) * 2 - 1) * (weight.shape[1] * positions) ** -0.5
        elif how == "fan_out_normal" and isinstance(module, nn.Conv2d):
            deviation = (2 * groups / (len(weight) * positions)) ** 0.5
            values = torch.randn(weight.shape, generator=numbers) * deviation
        else:
            values = _truncated(weight, numbers)
        weight.copy_(values)


def _truncated(weight: Tensor, numbers: torch.Generator) -> Tensor:
    return torch.randn(weight.shape, generator=numbers).clamp(-_CUT, _CUT) * _DEVIATION
