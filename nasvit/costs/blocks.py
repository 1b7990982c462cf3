"""The blocks of a search space, each alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import ANY
from nasvit.elastic.in_spaces import Place
from nasvit.elastic.initialization import initialize
from nasvit.elastic.norms import calibrated_norm
from nasvit.elastic.registry import KINDS
from nasvit.layers.calibration import track_statistics
from nasvit.supernets.shared_network import independent
from predictors.blocks import BlockKey
from search_spaces import Space


def plain_block(space: Space, block: BlockKey, classes: int) -> nn.Module:
    """Build one block alone, with weights of its own, as it stands in a subnet of the space.

    Args:
        space: the search space that the block belongs to.
        block: sizes of the block.
        classes: number of classes, for a head.
    """
    elastic, plain = _built(space, block, classes)
    initialize(elastic, seed=0)
    module = independent(plain())
    track_statistics(module)
    return module.eval()


def meta_block(space: Space, block: BlockKey, classes: int) -> nn.Module:
    """Build one block on the meta device: without values, to be counted.

    Arguments as in :func:`plain_block`.
    """
    with torch.device("meta"):
        elastic, plain = _built(space, block, classes)
    elastic.requires_grad_(False)
    module = plain()
    track_statistics(module)
    return module.eval()


def _built(space: Space, block: BlockKey, classes: int) -> tuple[Elastic, Callable[[], nn.Module]]:
    """Return an elastic block of one size only, and the function that returns its plain block."""
    kind, place = KINDS[block.kind], Place(space, classes)
    elastic = kind.build(place, (block,), calibrated_norm)
    return elastic, lambda: kind.at(elastic, place, block, ANY)
