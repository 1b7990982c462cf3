"""The backbone: a network's layers up to the last map that is needed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class FeatureInfo(list[dict[str, Any]]):
    """What the maps of a backbone are, one entry a map, by timm's names.

    Entries have ``num_chs`` (channels), ``reduction`` (stride: pixels of the images for one of the map) and ``module``
    (name of the layer or operation in the network that makes the map).
    """

    def channels(self) -> list[int]:
        """Return the channels of every map."""
        return [entry["num_chs"] for entry in self]

    def reduction(self) -> list[int]:
        """Return the stride of every map."""
        return [entry["reduction"] for entry in self]

    def module_name(self) -> list[str]:
        """Return the name of what makes every map."""
        return [entry["module"] for entry in self]


class Backbone(nn.Module):
    """A network that answers with maps.

    Args:
        body: returns the maps.
        feature_info: what the maps of ``body`` are.
        widen: give maps with fewer channels than ``feature_info`` says zeros at their end, so that one head that is not
            slimmable fits all widths. On such a map a convolution computes the same as one with its first input
            channels alone (Yu et al., Slimmable Neural Networks (2019), section 4.3, https://arxiv.org/abs/1812.08928).

    Shape:
        ``(batch, image channels, height, width)`` -> a list of ``(batch, channels, height / stride, width / stride)``
    """

    def __init__(self, body: nn.Module, feature_info: FeatureInfo, *, widen: bool = False) -> None:
        super().__init__()
        self.body, self.feature_info, self.widen = body, feature_info, widen

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps.

        Raises:
            ValueError: if one has more channels than ``feature_info`` says.
        """
        maps: list[Tensor] = self.body(images)
        if not self.widen:
            return maps
        return [_widened(each, channels) for each, channels in zip(maps, self.feature_info.channels(), strict=True)]

    def extra_repr(self) -> str:
        return f"strides={self.feature_info.reduction()}, channels={self.feature_info.channels()}"


def _widened(x: Tensor, channels: int) -> Tensor:
    missing = channels - x.shape[1]
    if missing < 0:
        raise ValueError(f"a map of {x.shape[1]} channels cannot get {channels}; take those of the widest network")
    return F.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x
