"""A network of a dense task: a backbone and a head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nasvit.heads.head import HeadModule


class DenseNetwork(nn.Module):
    """A backbone with the head of a detector or segmenter, in ordinary PyTorch.

    Args:
        backbone: returns its maps, finest first; see :func:`nasvit.features`.
        head: makes of them what the task wants.

    Shape:
        ``(batch, image channels, height, width)`` -> what the head returns: while it trains one tensor for the loss; in
        evaluation boxes and scores of a detector, logits ``(batch, classes, height, width)`` of a segmenter
    """

    def __init__(self, backbone: nn.Module, head: HeadModule) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Any:
        height, width = images.shape[2:]
        return self.head(self.backbone(images), (height, width))
