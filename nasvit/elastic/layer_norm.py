"""Layer norms of many widths in one memory."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.layers.layer_norm import JointLayerNorm


class ElasticLayerNorm(Elastic):
    """Layer norms of many widths: gain and bias of a narrower one are the leading ones of a wider one.

    Args:
        num_channels: channels of the widest layer norm.
        over: ``"token"`` normalizes every token on its own (``nn.LayerNorm``), ``"joint"`` all tokens of an image
            together (:class:`nasvit.layers.JointLayerNorm`).

    Shape:
        The layer of ``at``: ``(batch, height, width, num_channels) -> (batch, height, width, num_channels)``
    """

    def __init__(self, num_channels: int, *, over: Literal["token", "joint"] = "token") -> None:
        super().__init__()
        self.num_channels, self.over = num_channels, over
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    @shared
    def at(self, num_channels: int) -> nn.LayerNorm | JointLayerNorm:
        """Return the layer norm of one width as a plain layer that shares this one's memory.

        Raises:
            ValueError: if this layer holds no such width.
        """
        check_size("ElasticLayerNorm", "num_channels", num_channels, self.num_channels)
        with torch.device("meta"):
            norm = nn.LayerNorm(num_channels) if self.over == "token" else JointLayerNorm(num_channels)
        norm.weight = self.view("weight", slice(num_channels))
        norm.bias = self.view("bias", slice(num_channels))
        return norm
