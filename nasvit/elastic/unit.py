"""Elastic convolution, batch norm and activation whose channels are planned layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.batch_norm import ElasticBatchNorm2d, ElasticSwitchableBatchNorm2d
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from nasvit.layers.activation import activation
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.conv_norm import ConvNorm

Widths = tuple[int, ...]
Norm = ElasticBatchNorm2d | ElasticSwitchableBatchNorm2d | ElasticUniversalBatchNorm2d
NormFactory = Callable[[Widths], Norm]


@dataclass(frozen=True)
class Switch:
    """Which subnet of a network is meant, as batch norms need to know.

    Args:
        index: its place among the network's switches, or None if it is none of them.
        key: what its own statistics are kept under, if universal batch norms hold such; the key of its channel plan.
    """

    index: int | None
    key: str


def switchable_norm(widths: Widths) -> Norm:
    """One batch norm of its own for each switch."""
    return ElasticSwitchableBatchNorm2d(widths)


def shared_norm(widths: Widths) -> Norm:
    """One batch norm for all, statistics included."""
    return ElasticBatchNorm2d(max(widths), stored_statistics=True)


def universal_norm(widths: Widths) -> Norm:
    """One gain and bias for all, statistics for each calibrated subnet."""
    return ElasticUniversalBatchNorm2d(max(widths))


def norm_at(norm: Norm, num_features: int, switch: Switch) -> BatchNorm2d:
    """Return the plain batch norm of one subnet.

    Raises:
        ValueError: if the batch norm is switchable and the subnet is none of its switches.
    """
    if isinstance(norm, ElasticUniversalBatchNorm2d):
        return norm.at(num_features, switch.key)
    if isinstance(norm, ElasticBatchNorm2d):
        return norm.at(num_features)
    if switch.index is None:
        raise ValueError(
            "a switchable batch norm belongs to one of the listed switches; for other channels build the network with "
            'norm="universal" and calibrate them'
        )
    return norm.at(switch.index)


class ElasticUnit(Elastic):
    """Elastic convolution, then a batch norm, then an activation (or none).

    Args:
        conv: the elastic convolution, full or depthwise.
        norm: the batch norm after it, or None.
        act: name of the activation after that, or None.
    """

    def __init__(
        self, conv: ElasticConv2d | ElasticDepthwiseConv2d, norm: Norm | None = None, act: str | None = None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = act

    @shared
    def at(self, in_channels: int, out_channels: int, switch: Switch) -> ConvNorm:
        """Return the plain layers of one subnet.

        Raises:
            ValueError: if the convolution holds no such size, or a depthwise one should change its channels.
        """
        if isinstance(self.conv, ElasticConv2d):
            conv = self.conv.at(in_channels, out_channels)
        elif in_channels == out_channels:
            conv = self.conv.at(in_channels)
        else:
            raise ValueError(f"depthwise convolution: {in_channels} channels in, {out_channels} out; they are the same")
        norm = None if self.norm is None else norm_at(self.norm, out_channels, switch)
        return ConvNorm(conv, norm, None if self.act is None else activation(self.act))


def full(
    in_widths: Widths, out_widths: Widths, norm: NormFactory, act: str | None, *, kernel_size: int = 1, stride: int = 1
) -> ElasticUnit:
    """Build a unit around a full convolution.

    Args:
        in_widths: channels in at each switch.
        out_widths: channels out at each switch.
        norm: builds the batch norm from the channels at each switch.
        act: name of the activation, or None.
        kernel_size: side of the kernel, in pixels.
        stride: stride, in pixels.
    """
    conv = ElasticConv2d(max(in_widths), max(out_widths), kernel_size, stride=stride)
    return ElasticUnit(conv, norm(out_widths), act)


def depthwise(widths: Widths, norm: NormFactory, act: str | None, *, kernel_size: int, stride: int) -> ElasticUnit:
    """Build a unit around a depthwise convolution; arguments as in :func:`full`."""
    return ElasticUnit(ElasticDepthwiseConv2d(max(widths), kernel_size, stride=stride), norm(widths), act)
