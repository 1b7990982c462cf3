"""A whole plain network: resize, stem, stages, head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class Resize(nn.Module):
    """Resize square images to one side, bicubically; images of that size pass untouched.

    Args:
        side: side of the result, in pixels.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, side, side)``
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2:] == (self.side, self.side):
            return images
        return F.interpolate(images, size=(self.side, self.side), mode="bicubic", align_corners=False)

    def extra_repr(self) -> str:
        return f"{self.side}"


class Network(nn.Module):
    """A plain image classifier of ordinary PyTorch modules.

    Args:
        resize: brings images to the resolution of the network, or None to take them as they are.
        stem: first layers.
        stages: the blocks of each stage.
        head: last layers, from the map to class scores.

    Shape:
        ``(batch, image channels, height, width) -> (batch, classes)``
    """

    def __init__(
        self, resize: nn.Module | None, stem: nn.Module, stages: Sequence[Sequence[nn.Module]], head: nn.Module
    ) -> None:
        super().__init__()
        self.resize = resize
        self.stem = stem
        # Lists, not nn.Sequential: that would keep a stage's input alive until the whole stage is done.
        self.stages = nn.ModuleList(nn.ModuleList(blocks) for blocks in stages)
        self.head = head

    def forward_intermediates(self, images: Tensor) -> list[Tensor]:
        """Return the map after every stage, as backbones of detectors and segmenters need them."""
        x = self.stem(images if self.resize is None else self.resize(images))
        maps = []
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
            maps.append(x)
        return maps

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last map, which the head pools."""
        x = self.stem(images if self.resize is None else self.resize(images))
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        return x

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.forward_features(images))
        return scores


class Resized(nn.Module):
    """A network that takes images of any size.

    Args:
        resize: brings images to the resolution of the network.
        network: the network.

    Shape:
        ``(batch, channels, height, width)`` -> what the network returns
    """

    def __init__(self, resize: Resize, network: nn.Module) -> None:
        super().__init__()
        self.resize, self.network = resize, network

    def forward(self, images: Tensor) -> Any:
        return self.network(self.resize(images))
