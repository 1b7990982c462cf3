"""1x1 convolution that costs a GPU nothing to prepare."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PointwiseConv2d(nn.Conv2d):
    """Convolution with a kernel of one pixel; on a GPU, in channels-last layout, it is computed as a matrix product.

    It is the same either way. But cuDNN prepares every size of a convolution when it first sees it, which takes
    longer than the convolution, and a supernet has thousands of sizes; matrix products are ready at once.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: stride, in pixels.
        bias: whether to add a bias per channel out.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        on_gpu = isinstance(input, Tensor) and input.device.type == "cuda"  # torch.fx gives no tensors
        product = self.product(input) if on_gpu else None
        return super().forward(input) if product is None else product

    def product(self, input: Tensor) -> Tensor | None:
        """Return the convolution as a matrix product, if nothing has to be copied for it."""
        pixels = input.permute(0, 2, 3, 1)
        if self.stride != (1, 1) or not pixels.is_contiguous():
            return None
        return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
