"""The feature pyramid that heads read the backbone's maps through."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

READS = "inner_blocks.{}.0.weight"
"""Name of the weight of a pyramid that reads a map of the backbone."""


class Pyramid(nn.Module):
    """Maps of equal channels: each is the backbone's, and the coarser ones added to it.

    Source: Lin et al., Feature Pyramid Networks (2017), section 3, https://arxiv.org/abs/1612.03144; torchvision's.

    Args:
        channels: channels of the backbone's maps, finest first.
        width: channels of the result.
        extra: whether two coarser maps follow, each half as high and wide.

    Shape:
        list of ``(batch, channels[i], height, width)`` -> list of ``(batch, width, height, width)``
    """

    def __init__(self, channels: Sequence[int], width: int, *, extra: bool = False) -> None:
        super().__init__()
        more = LastLevelP6P7(width, width) if extra else None
        self.pyramid = FeaturePyramidNetwork(list(channels), width, extra_blocks=more)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        named = OrderedDict((str(number), each) for number, each in enumerate(maps))
        return list(self.pyramid(named).values())
