"""The feature pyramid that heads read the backbone's maps through."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

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
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelP6P7

        super().__init__()
        more = LastLevelP6P7(width, width) if extra else None
        self.pyramid = FeaturePyramidNetwork(list(channels), width, extra_blocks=more)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        named = OrderedDict((str(number), each) for number, each in enumerate(maps))
        return list(self.pyramid(named).values())


class PyramidBackbone(nn.Module):
    """A backbone with a pyramid, as torchvision's detectors take it: ``FasterRCNN``, ``MaskRCNN``, ``KeypointRCNN``.

    Args:
        backbone: returns maps, finest first; see :func:`nasvit.features`.
        width: channels of the pyramid.
        pyramid: the pyramid of another backbone of as many channels, to share; None: a new one.

    Shape:
        ``(batch, image channels, height, width)`` -> maps ``(batch, width, ...)`` by the names "0", "1", ...
    """

    def __init__(self, backbone: nn.Module, width: int = 256, pyramid: Pyramid | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid or Pyramid(backbone.feature_info.channels(), width)  # type: ignore[operator, union-attr]
        self.out_channels = width

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.pyramid(self.backbone(images))
        return OrderedDict((str(number), each) for number, each in enumerate(maps))
