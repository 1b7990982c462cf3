"""The kinds of batch norms of elastic networks: any elastic block takes any of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from nasvit.elastic.batch_norm import ElasticBatchNorm2d, ElasticNorm, ElasticSwitchableBatchNorm2d, Widths
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d

NormFactory = Callable[[Widths], ElasticNorm]
"""Builds a batch norm from the channels at each switch."""
NormKind = Literal["switchable", "universal", "shared"]


def calibrated_norm(widths: Widths) -> ElasticNorm:
    """Return a batch norm with one gain and bias for all subnets and no statistics: every subnet is calibrated."""
    return ElasticBatchNorm2d(max(widths))


def switchable_norm(widths: Widths) -> ElasticNorm:
    """Return one batch norm for each switch."""
    return ElasticSwitchableBatchNorm2d(widths)


def shared_norm(widths: Widths) -> ElasticNorm:
    """Return one batch norm for all subnets, statistics included."""
    return ElasticBatchNorm2d(max(widths), stored_statistics=True)


def universal_norm(widths: Widths) -> ElasticNorm:
    """Return a batch norm with one gain and bias for all subnets, and statistics for each calibrated one."""
    return ElasticUniversalBatchNorm2d(max(widths))


NORMS: dict[NormKind, NormFactory] = {
    "switchable": switchable_norm,
    "universal": universal_norm,
    "shared": shared_norm,
}
