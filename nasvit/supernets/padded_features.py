"""Features of narrow networks for heads that were made for the widest one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.layers.network import Network


class PaddedFeatures(nn.Module):
    """A backbone whose maps have the same number of channels at every width: missing channels are zeros.

    One head that is not slimmable (a feature pyramid, a detector) works at all widths. On a map that ends in zeros a
    convolution computes the same as one with its first input channels alone.

    Source: Yu et al., Slimmable Neural Networks (2019), section 4.3, https://arxiv.org/abs/1812.08928, released code

    Args:
        network: the subnet of a width.
        channels: channels of the map after every stage.

    Shape:
        ``(batch, image channels, height, width)`` -> a list of ``(batch, channels[stage], height', width')``

    Raises:
        ValueError: if the number of stages differs.
    """

    def __init__(self, network: Network, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(network.stages):
            raise ValueError(
                f"channels={list(channels)}: one number a stage, and there are {len(network.stages)} stages"
            )
        self.network = network
        self.channels = tuple(channels)

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Return the padded map after every stage.

        Raises:
            ValueError: if a map has more channels than ``channels`` gives for its stage.
        """
        maps = self.network.forward_intermediates(images)
        return [_padded(each, channels) for each, channels in zip(maps, self.channels, strict=True)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.forward_intermediates(images)


def _padded(x: Tensor, channels: int) -> Tensor:
    missing = channels - x.shape[1]
    if missing < 0:
        raise ValueError(f"a map of {x.shape[1]} channels cannot be padded to {channels}")
    return F.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x
