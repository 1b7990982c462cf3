"""Linear layers of many sizes in one memory."""

from __future__ import annotations

import torch
from torch import nn

from nasvit.elastic.base import Elastic, check_size, shared


class ElasticLinear(Elastic):
    """Linear layers of many sizes in one memory: a smaller one is a prefix of every larger one.

    Source: Cai et al., Once-for-All (2020), https://arxiv.org/abs/1908.09791

    Args:
        in_features: inputs of the widest layer.
        out_features: outputs of the widest layer.
        bias: whether to add a bias per output.
        deviation: standard deviation of the initial weights, normal; None: 0.02, truncated at two deviations (Liu et
            al., Swin Transformer, 2021).

    Shape:
        The layer of ``at``: ``(..., in_features) -> (..., out_features)``
    """

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, deviation: float | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.deviation = in_features, out_features, deviation
        self.weight = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @shared
    def at(self, in_features: int, out_features: int) -> nn.Linear:
        """Return the layer of one size as a plain ``nn.Linear`` that shares this one's memory.

        Raises:
            ValueError: if this layer holds no such size.
        """
        check_size("ElasticLinear", "in_features", in_features, self.in_features)
        check_size("ElasticLinear", "out_features", out_features, self.out_features)
        with torch.device("meta"):
            linear = nn.Linear(in_features, out_features, bias=self.bias is not None)
        linear.weight = self.view("weight", slice(out_features), slice(in_features))
        if self.bias is not None:
            linear.bias = self.view("bias", slice(out_features))
        return linear
