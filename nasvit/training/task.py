"""What is trained: a supernet by sandwich steps, or one plain network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.layers import sync_batch_norm
from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.tasks.objective import Objective
from nasvit.training.conflict import ConflictPolicy
from nasvit.training.regularization import regularize
from nasvit.training.sandwich import sandwich_step
from search_spaces.recipe import Recipe

Values = dict[str, float]
Autocast = Callable[[], AbstractContextManager[Any]]


class Task(Protocol):
    """What the trainer needs to know of the thing it trains."""

    @property
    def model(self) -> nn.Module:
        """The weights that are trained."""

    def zero_grad(self) -> None:
        """Set all gradients to zero."""

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, autocast: Autocast) -> Values:
        """Add the gradients of one batch; return numbers for the log, ``loss`` among them."""

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Protect the optimizer's steps, if there is anything to protect."""


@dataclass
class SupernetTask:
    """Train a network with shared weights by sandwich steps.

    Args:
        model: the supernet.
        sampler: draws the subnets of a step, the largest first.
        distill: loss of the other subnets, from their logits and the largest subnet's; None: all learn from the
            targets, as the switches of a slimmable network do.
        conflict: what to do where gradients disagree.
        recipe: label smoothing, dropout and stochastic depth of the largest subnet.
        teacher: an external teacher; the largest subnet then learns its probabilities instead of the targets.
    """

    model: SharedNetwork
    sampler: Callable[[np.random.Generator], Sequence[Any]]
    distill: Callable[[Tensor, Tensor], Tensor] | None
    conflict: ConflictPolicy
    recipe: Recipe
    teacher: nn.Module | None = None

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.model.zero_grad()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are the supernet's."""
        self.model.guard(optimizer)

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, autocast: Autocast) -> Values:
        """Add the gradients of one sandwich step; ``loss`` is the largest subnet's, not a number if any subnet's is."""
        if self.teacher is not None:
            with torch.no_grad(), autocast():
                targets = self.teacher(images).float().softmax(1)
        losses = sandwich_step(
            self.model,  # type: ignore[arg-type]
            images,
            targets,
            subnets=self.sampler(rng),
            criterion=self._criterion,
            distill=self.distill,
            conflict=self.conflict,
            prepare=self._prepare,
            autocast=autocast,
        )
        values = {"loss": float(losses.largest) if losses.finite else math.nan}
        if losses.others:
            values["loss_smallest"] = float(losses.others[0])
        if losses.conflict is not None:
            values["conflict_share"] = float(losses.conflict.share)
        return values

    def _criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = 0.0 if self.teacher is not None else self.recipe.label_smoothing
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def _prepare(self, network: nn.Module, is_largest: bool) -> None:
        if is_largest and (self.recipe.dropout or self.recipe.drop_path_rate):
            regularize(network, dropout=self.recipe.dropout, drop_path_rate=self.recipe.drop_path_rate)
        if torch.distributed.is_initialized():
            sync_batch_norm(network)


class NetworkTask:
    """Train one plain network.

    Args:
        model: the network; its batch norms keep statistics from now on.
        recipe: label smoothing, dropout, stochastic depth, clipping.
        objective: what it learns from; the labels, smoothed as the recipe says, if left out.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, objective: Objective | None = None) -> None:
        self.model = model
        self.recipe = recipe
        self.objective = Objective(recipe.label_smoothing) if objective is None else objective
        regularize(model, dropout=recipe.dropout, drop_path_rate=recipe.drop_path_rate)
        if torch.distributed.is_initialized():
            sync_batch_norm(model)
        self.gradients = FlatGradients(model.parameters())

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.gradients.zero_()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are in the buffer."""
        optimizer.register_step_pre_hook(lambda *_: self.gradients.check())

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, autocast: Autocast) -> Values:
        """Add the gradients of one batch."""
        self.model.train()
        loss_of = self.objective.of_batch(images, targets, autocast)
        with autocast():
            logits = self.model(images)
        loss = loss_of(logits)
        loss.backward()  # type: ignore[no-untyped-call]
        self.gradients.all_reduce()
        if self.recipe.clip_norm:
            self.gradients.clip_(self.recipe.clip_norm)
        return {"loss": float(loss.detach())}
