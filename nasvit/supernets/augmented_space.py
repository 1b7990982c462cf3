"""A subnet of a search space inside wider ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasvit.elastic.initialization import initialize
from nasvit.layers.network import Network
from nasvit.supernets.factors import Factors, checked_factors
from nasvit.supernets.supernet import Supernet
from search_spaces import Architecture, Space
from search_spaces.stages import Stage
from search_spaces.values import Number

WIDENED = ("width", "expand_ratio", "mlp_ratio", "first_expand_ratio")
"""The fields of an architecture that augmentation enlarges."""


class AugmentedSupernet(Supernet):
    """A subnet that a search found, inside wider ones: it has their first channels, and trains with one of them a step.

    Blocks of one stage share their factors, as they share their width and expand ratio in a search space; blocks that
    do not expand stay so. Batch norms train on batch statistics and are calibrated where the tiny network is extracted.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), section 4.3, https://arxiv.org/abs/2110.08890

    Args:
        space: the space that was searched.
        architecture: the tiny network.
        classes: number of classes.
        width: factors on the channels of stem, stages and head. Those of transformer stages are rounded to whole heads.
        expand: factors on expand ratios, and on the MLP ratios of transformer blocks.
        seed: seed of the initial weights.

    Raises:
        ValueError: if factors are missing or the least is not 1, or the space does not hold the architecture.
    """

    def __init__(
        self,
        space: Space,
        architecture: Architecture,
        classes: int,
        *,
        width: Sequence[float] = (1.0, 1.8, 2.6),
        expand: Sequence[float] = (1.0, 1.6, 2.2, 2.8),
        seed: int = 0,
    ) -> None:
        factors = checked_factors("width", width), checked_factors("expand", expand)
        super().__init__(_widened(space.restrict(architecture), *factors), classes, seed=seed)
        self.base = architecture
        initialize(self, seed, fan="in")

    def sample(self, generator: torch.Generator, *, widths: bool = True, expands: bool = True) -> Architecture:
        """Draw an augmented network: one factor for the width and one for the expand ratio of every stage.

        Args:
            generator: the source of randomness.
            widths: augment widths; otherwise they are the tiny network's.
            expands: augment expand and MLP ratios; otherwise they are the tiny network's.
        """
        chosen: dict[str, list[Any]] = {name: [] for name in WIDENED}
        for decision in self.space.decisions:
            if decision.field in chosen:
                value = decision.value_in(self.base)
                if value is not None and (widths if decision.field == "width" else expands):
                    value = decision.values[int(torch.randint(len(decision.values), (1,), generator=generator))]
                chosen[decision.field].append(value)
        drawn: dict[str, Any] = {name: tuple(values) for name, values in chosen.items() if values}
        return replace(self.base, **drawn)

    def extract(
        self,
        architecture: Architecture | None = None,
        calibration: Iterable[Tensor] | None = None,
        *,
        resize: bool = True,
    ) -> Network:
        """Return an independent copy of the tiny network, or of another subnet; arguments as in :class:`Supernet`."""
        return super().extract(self.base if architecture is None else architecture, calibration, resize=resize)


def _widened(space: Space, width: Factors, expand: Factors) -> Space:
    assert space.transformer is not None or not any(stage.hybrid for stage in space.stages)
    heads = 1 if space.transformer is None else space.transformer.head_dim
    return replace(
        space,
        name=f"{space.name}-augmented",
        stem=replace(space.stem, width=_multiples(space.stem.width[0], width, 1)),
        stages=tuple(_widened_stage(stage, width, expand, heads if stage.hybrid else 1) for stage in space.stages),
        head=replace(space.head, width=_multiples(space.head.width[0], width, 1)),
    )


def _widened_stage(stage: Stage, width: Factors, expand: Factors, unit: int) -> Stage:
    return replace(
        stage,
        width=_multiples(stage.width[0], width, unit),
        expand_ratio=_expanded(stage.expand_ratio, expand),
        first_expand_ratio=_expanded(stage.first_expand_ratio, expand),
        mlp_ratio=tuple(each for ratio in stage.mlp_ratio[:1] for each in _products(ratio, expand)),
    )


def _expanded(only: tuple[Number, ...], factors: Factors) -> tuple[Number, ...]:
    """Return the expand ratios that augmented blocks have; blocks that do not expand stay so."""
    return only if only in ((), (1,)) else _products(only[0], factors)


def _multiples(channels: int, factors: Factors, unit: int) -> tuple[int, ...]:
    return tuple(sorted({round(channels * factor / unit) * unit for factor in factors}))


def _products(ratio: Number, factors: Factors) -> tuple[Number, ...]:
    return tuple(sorted({ratio if factor == 1 else round(ratio * factor, 6) for factor in factors}))
