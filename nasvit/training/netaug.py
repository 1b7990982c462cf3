"""NetAug as something the trainer trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.layers import sync_batch_norm
from nasvit.supernets.augment import Augmented
from nasvit.supernets.sorting import sort_channels
from nasvit.tasks.objective import Objective
from nasvit.training.regularization import regularize
from nasvit.training.task import Autocast, Values
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe


@dataclass(frozen=True)
class Phases:
    """What changes while NetAug trains.

    Args:
        widths: share of the training in which widths are augmented too; afterwards only expand ratios are.
        sort: sort channels by importance at the start of every epoch in which widths are augmented.

    Raises:
        ValueError: if the share is none.

    Source: Cai et al. (2022), released code: the widths stop after half of the epochs.
    """

    widths: float = 0.5
    sort: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.widths <= 1:
            raise ValueError(f"widths {self.widths}: a share of the training, from 0 to 1")


class NetAugTask:
    """Train a tiny network as a part of wider ones: each step adds its gradients and those of one augmented network.

    Give :meth:`before_step` to the trainer, which then turns the phases and sorts the channels. The augmented network
    of a step follows from the trainer's seed and the number of the step.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), section 3.2, https://arxiv.org/abs/2110.08890

    Args:
        model: the augmented network.
        recipe: label smoothing, dropout, stochastic depth, clipping, for both networks of a step.
        objective: what both learn from; the labels, smoothed as the recipe says, if left out.
        weight: of the augmented network's loss; the release has 1.
        phases: when widths are augmented and channels sorted.
    """

    def __init__(
        self,
        model: Augmented,
        recipe: Recipe,
        objective: Objective | None = None,
        *,
        weight: float = 1.0,
        phases: Phases = Phases(),
    ) -> None:
        self.model, self.recipe, self.weight, self.phases = model, recipe, weight, phases
        self.objective = Objective(recipe.label_smoothing) if objective is None else objective
        self.augments_widths = True

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.model.zero_grad()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are the network's."""
        self.model.guard(optimizer)

    def before_step(self, trainer: Trainer) -> None:
        """Choose the phase of the coming step; at the start of an epoch sort channels with all that follows them."""
        self.augments_widths = trainer.step < self.phases.widths * trainer.steps
        if self.phases.sort and self.augments_widths and trainer.step % len(trainer.loader) == 0:
            averages: list[Any] = [] if trainer.average is None else [trainer.average.model]
            sort_channels(self.model, [trainer.optimizer], averages)

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, autocast: Autocast) -> Values:
        """Add the gradients of one batch.

        Returns:
            ``loss``, the tiny network's (not a number if either is none), and ``loss_augmented``, weighted.
        """
        loss_of = self.objective.of_batch(images, targets, autocast)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        augmented = self.model.sample(generator, widths=self.augments_widths)
        losses = []
        for plan, weight in ((self.model.base, 1.0), (augmented, self.weight)):
            network = self._prepared(self.model.at(plan))  # type: ignore[arg-type]
            with autocast():
                logits = network(images)
            loss = weight * loss_of(logits)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
        self.model.gradients.all_reduce()
        if self.recipe.clip_norm:
            self.model.gradients.clip_(self.recipe.clip_norm)
        return {"loss": losses[0] if math.isfinite(losses[1]) else math.nan, "loss_augmented": losses[1]}

    def _prepared(self, network: nn.Module) -> nn.Module:
        regularize(network, dropout=self.recipe.dropout, drop_path_rate=self.recipe.drop_path_rate)
        if torch.distributed.is_initialized():
            sync_batch_norm(network)
        return network.train()
