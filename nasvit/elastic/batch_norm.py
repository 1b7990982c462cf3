"""Batch norms of many widths: shared, or one for each switch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasvit.elastic.base import Elastic, check_size, shared
from nasvit.layers.batch_norm import BatchNorm2d

Widths = tuple[int, ...]
"""Channels at each switch of a network; of one without switches, the most channels alone."""


@dataclass(frozen=True)
class Switch:
    """The subnet that a batch norm belongs to.

    Args:
        index: index of the subnet among the network's switches, or None if it is none of them.
        key: key of the subnet's own statistics in universal batch norms, if any.
    """

    index: int | None = None
    key: str = ""


ANY = Switch()
"""Any subnet, where all share one batch norm."""


class ElasticNorm(Elastic):
    """Base of elastic batch norms, with a common signature of ``at``."""

    num_features: int

    @abstractmethod
    def at(self, num_features: int, switch: Switch = ANY) -> BatchNorm2d:
        """Return the batch norm of one subnet as a plain layer that shares this one's memory.

        Args:
            num_features: channels.
            switch: the subnet; batch norms that share everything ignore it.

        Raises:
            ValueError: if this layer holds no such width or subnet.
        """

    def gains(self) -> list[Tensor]:
        """Return the gains of all batch norms."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith("weight")]

    def channel_tensors(self) -> list[str]:
        """Name the tensors that change places with the channels of the widest subnet.

        Raises:
            ValueError: if a subnet has a batch norm of its own, which belongs to the channels as they are.
        """
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return [name for name, tensor in tensors.items() if tensor.shape == (self.num_features,)]


class ElasticBatchNorm2d(ElasticNorm):
    """Batch norms of many widths that share gain and bias; statistics belong to each subnet.

    A shared batch norm trains on batch statistics, because the statistics of one width are wrong for another
    (Yu et al., Slimmable Neural Networks, 2019, section 3.2, https://arxiv.org/abs/1812.08928).

    Args:
        num_features: channels of the widest batch norm.
        stored_statistics: also store statistics; a narrower batch norm takes the leading ones. Only for
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

    def at(self, num_features: int, switch: Switch = ANY) -> BatchNorm2d:
        return self._of_width(num_features)

    @shared
    def _of_width(self, num_features: int) -> BatchNorm2d:
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


class ElasticSwitchableBatchNorm2d(ElasticNorm):
    """One batch norm of its own, gain, bias and statistics, for each switch.

    Source: Yu et al., Slimmable Neural Networks (2019), section 3.2, https://arxiv.org/abs/1812.08928. Switches are
    told apart by index, not by width, so two switches of equal width keep separate batch norms.

    Args:
        widths: channels at each switch.

    Shape:
        The layer of ``at``: ``(batch, widths[switch], height, width) -> (batch, widths[switch], height, width)``
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.num_features, self.widths = max(widths), tuple(widths)
        self.switches = nn.ModuleList(ElasticBatchNorm2d(width, stored_statistics=True) for width in widths)

    @shared
    def at(self, num_features: int, switch: Switch = ANY) -> BatchNorm2d:
        if switch.index is None:
            raise ValueError(
                "a switchable batch norm belongs to one of the listed switches; for other channels build the network "
                'with norm="universal" and calibrate them'
            )
        check_size("ElasticSwitchableBatchNorm2d", "switch + 1", switch.index + 1, len(self.switches))
        if num_features != self.widths[switch.index]:
            legal = f"switch {switch.index} has {self.widths[switch.index]} channels"
            raise ValueError(f"ElasticSwitchableBatchNorm2d: num_features={num_features}, but {legal}")
        own = self.switches[switch.index]
        assert isinstance(own, ElasticBatchNorm2d)
        return own.at(num_features)

    def channel_tensors(self) -> list[str]:
        raise ValueError(
            "switchable batch norms belong to the channels as they are, so these cannot be sorted; sort before the "
            'switches are made, or build the network with norm="universal" or norm="shared"'
        )
