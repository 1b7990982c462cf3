"""Batch norms of any width that share gain and bias and keep statistics for each calibrated subnet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nasvit.elastic.base import check_size, shared
from nasvit.elastic.batch_norm import ANY, ElasticNorm, Switch
from nasvit.layers.batch_norm import BatchNorm2d


class Statistics(nn.Module):
    """Stored statistics of one batch norm of one subnet.

    Args:
        num_features: channels.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))


class ElasticUniversalBatchNorm2d(ElasticNorm):
    """Batch norms of any width: gain and bias are shared, statistics are kept for each subnet that was calibrated.

    A subnet without statistics trains on batch statistics and refuses to evaluate.

    Source: Yu and Huang, Universally Slimmable Networks (2019), section 3.3, https://arxiv.org/abs/1903.05134

    Args:
        num_features: channels of the widest batch norm.

    Shape:
        The layer of ``at``: ``(batch, num_features, height, width) -> (batch, num_features, height, width)``
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.statistics = nn.ModuleDict()

    @shared
    def at(self, num_features: int, switch: Switch = ANY) -> BatchNorm2d:
        check_size("ElasticUniversalBatchNorm2d", "num_features", num_features, self.num_features)
        with torch.device("meta"):
            norm = BatchNorm2d(num_features)
        norm.weight = self.view("weight", slice(num_features))
        norm.bias = self.view("bias", slice(num_features))
        if switch.key in self.statistics:
            norm.track_running_stats = True
            for name, buffer in self.statistics[switch.key].named_buffers():
                setattr(norm, name, buffer)
        return norm

    def reset_statistics(self, num_features: int, key: str) -> None:
        """Give one subnet statistics (mean 0, variance 1), new ones if it has some; live subnets keep the old.

        The owner of the templates around this layer must drop them afterwards (:meth:`Elastic.forget`).
        """
        like = self.weight
        self.statistics[key] = Statistics(num_features).to(device=like.device, dtype=like.dtype)
        self.forget()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for statistics of subnets that were calibrated elsewhere; children are loaded after this."""
        start = f"{prefix}statistics."
        for name, tensor in state_dict.items():
            if name.startswith(start) and name.endswith(".running_mean"):
                key = name[len(start) :].rpartition(".")[0]
                if key not in self.statistics:
                    self.reset_statistics(len(tensor), key)
        super()._load_from_state_dict(state_dict, prefix, *rest)
