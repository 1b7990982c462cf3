"""Batch norms of many widths: shared, or one for each switch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.layers.batch_norm import BatchNorm2d


class ElasticBatchNorm2d(Elastic):
    """Batch norms of many widths that share gain and bias; statistics belong to each subnet.

    A shared batch norm trains on batch statistics, because the statistics of one width are wrong for another
    (Yu et al., Slimmable Neural Networks, 2019, section 3.2, https://arxiv.org/abs/1812.08928).

    Args:
        num_features: channels of the widest batch norm.
        stored_statistics: also hold statistics, of which a narrower batch norm gets the leading ones. Only for
            imported checkpoints, NetAug and parity with released code; every subnet that trains moves them.

    Shape:
        The layer of ``at``: ``(batch, num_features, height, width) -> (batch, num_features, height, width)``
    """

    def __init__(self, num_features: int, *, stored_statistics: bool = False) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        if stored_statistics:
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
            self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    @shared
    def at(self, num_features: int) -> BatchNorm2d:
        """Return the batch norm of one width as a plain layer that shares this one's memory.

        Raises:
            ValueError: if this layer holds no such width.
        """
        check_size("ElasticBatchNorm2d", "num_features", num_features, self.num_features)
        with torch.device("meta"):
            norm = BatchNorm2d(num_features)
        norm.weight = self.view("weight", slice(num_features))
        norm.bias = self.view("bias", slice(num_features))
        if self._buffers:
            norm.track_running_stats = True
            norm.running_mean = self._buffers["running_mean"][:num_features]  # type: ignore[index]
            norm.running_var = self._buffers["running_var"][:num_features]  # type: ignore[index]
            norm.num_batches_tracked = self._buffers["num_batches_tracked"]
        return norm


class ElasticSwitchableBatchNorm2d(Elastic):
    """One batch norm of its own, gain, bias and statistics, for each switch.

    Source: Yu et al., Slimmable Neural Networks (2019), section 3.2, https://arxiv.org/abs/1812.08928. Switches are
    told apart by index, not by width, so two switches of equal width keep separate batch norms.

    Args:
        widths: channels at each switch.

    Shape:
        The layer of ``at``: ``(batch, widths[switch], height, width) -> (batch, widths[switch], height, width)``
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.switches = nn.ModuleList(ElasticBatchNorm2d(width, stored_statistics=True) for width in widths)

    @shared
    def at(self, switch: int) -> BatchNorm2d:
        """Return the batch norm of one switch as a plain layer that shares this one's memory.

        Raises:
            ValueError: if there is no such switch.
        """
        if not 0 <= switch < len(self.switches):
            raise ValueError(f"ElasticSwitchableBatchNorm2d: switch={switch} is outside 0..{len(self.switches) - 1}")
        own = self.switches[switch]
        assert isinstance(own, ElasticBatchNorm2d)
        return own.at(own.num_features)
