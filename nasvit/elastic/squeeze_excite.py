"""Squeeze-and-excite of many widths in one memory."""

from __future__ import annotations

from collections.abc import Callable

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.conv import ElasticConv2d
from nasvit.layers.activation import activation
from nasvit.layers.squeeze_excite import SqueezeExcite


class ElasticSqueezeExcite(Elastic):
    """Squeeze-and-excite of many widths.

    Args:
        channels: channels of the widest layer.
        squeezed: returns the squeezed channels for a number of channels.
        counted: the most channels that the squeezed ones are counted from; None: those of the widest layer.
        act: activation between the two convolutions.
        gate: activation that turns the result into weights.
    """

    def __init__(
        self,
        channels: int,
        squeezed: Callable[[int], int],
        *,
        counted: int | None = None,
        act: str = "relu",
        gate: str = "hard_sigmoid",
    ) -> None:
        super().__init__()
        self.squeezed = squeezed
        most = squeezed(channels if counted is None else counted)
        self.reduce = ElasticConv2d(channels, most, bias=True)
        self.expand = ElasticConv2d(most, channels, bias=True)
        self.act, self.gate = act, gate

    @shared
    def at(self, channels: int, counted: int | None = None) -> SqueezeExcite:
        """Return the plain layer of one width.

        Args:
            channels: channels.
            counted: channels that the squeezed ones are counted from; ``channels`` if left out.

        Raises:
            ValueError: if this layer holds no such size.
        """
        squeezed = self.squeezed(channels if counted is None else counted)
        reduce, expand = self.reduce.at(channels, squeezed), self.expand.at(squeezed, channels)
        return SqueezeExcite(reduce, expand, activation(self.act), activation(self.gate))
