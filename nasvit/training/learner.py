"""The learner that a trainer trains: weights, sampling of subnets, and objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.layers import sync_batch_norm
from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.tasks.objective import LabelObjective, Objective
from nasvit.training.conflict import ConflictPolicy, Sum
from nasvit.training.execution import Execution
from nasvit.training.loaded import Freezing, IsLoaded, loaded_parameters
from nasvit.training.regularization import regularize
from nasvit.training.sampling import Alone, Member, Moment, Sampling
from nasvit.training.step import shared_step
from search_spaces.recipe import Recipe

Values = dict[str, float]
CONFLICT_IN = "conflict_share_in_"
"""What the names of the conflict shares of single stages begin with, in metrics."""

Losses = dict[str, Tensor]
"""Numbers of a step by name, as scalars on the device: reading them would make the host wait."""


class Trainable(Protocol):
    """Interface between the trainer and the model that it trains; :class:`Learner` implements it."""

    @property
    def model(self) -> nn.Module:
        """The weights that are trained."""

    @property
    def gradients(self) -> FlatGradients:
        """The gradients of all weights."""

    @property
    def loaded(self) -> Sequence[nn.Parameter]:
        """The parameters that were loaded, where the recipe treats them differently."""

    def zero_grad(self) -> None:
        """Set all gradients to zero."""

    def before_step(self, moment: Moment) -> None:
        """Prepare a step, by sorting channels for example; a function of step, seed and state alone."""

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, execution: Execution) -> Losses:
        """Add the gradients of one batch; return numbers for the log, ``loss`` among them."""

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are the model's, if they can be replaced."""


class Learner:
    """Weights that learn by shared steps: a plain network, or one with shared weights and a sampling rule.

    Args:
        model: a plain network, or, with ``sampling``, one that shares its weights among subnets.
        recipe: label smoothing, dropout, stochastic depth, DropBlock, clipping.
        objective: objective of the subnets; the labels, smoothed by the recipe, if left out.
        sampling: draws the subnets of a step; None: ``model`` is a plain network and learns alone.
        distill: loss of all but the first subnet, from their logits and the first one's; None: all learn from the
            objective.
        conflict: policy for gradients that disagree; None: they are added, and clipped by the recipe.
        is_loaded: tells of a parameter's name whether it was loaded; None: nothing was.

    Raises:
        ValueError: if the recipe says how loaded parameters train, and nothing was loaded.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        objective: Objective | None = None,
        *,
        sampling: Sampling | None = None,
        distill: Callable[[Tensor, Tensor], Tensor] | None = None,
        conflict: ConflictPolicy | None = None,
        is_loaded: IsLoaded | None = None,
    ) -> None:
        self.model, self.recipe, self.distill = model, recipe, distill
        self.objective = LabelObjective(recipe.label_smoothing) if objective is None else objective
        self.sampling = Alone() if sampling is None else sampling
        clipped = Sum(recipe.clip_norm or None, recipe.clip_value or None)
        self.conflict = clipped if conflict is None else conflict
        self.loaded = loaded_parameters(model, recipe, is_loaded)
        if recipe.frozen_epochs:
            self.conflict = Freezing(self.conflict, self.loaded, recipe.frozen_epochs)
        self.shared: SharedNetwork | _Single = model if isinstance(model, SharedNetwork) else _Single(model)

    @property
    def gradients(self) -> FlatGradients:
        """The gradients of all weights."""
        return self.shared.gradients

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.shared.zero_grad()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are the model's."""
        self.shared.guard(optimizer)

    def before_step(self, moment: Moment) -> None:
        """Let the sampling rule prepare itself, such as by sorting channels, and the conflict policy."""
        self.sampling.before_step(moment)
        self.conflict.before_step(moment)
        if isinstance(self.conflict, Freezing) and isinstance(self.shared, _Single):
            for parameter in self.loaded:  # backward passes end where nothing trains; views of a supernet would be lost
                parameter.requires_grad_(not self.conflict.active)

    def add_gradients(self, images: Tensor, targets: Tensor, rng: np.random.Generator, execution: Execution) -> Losses:
        """Add the gradients of one step.

        Returns:
            ``loss``, the first subnet's (not a number if any subnet's is not), and ``loss_NAME`` of every other one
            that has a name.
        """
        members = self.sampling(rng)
        losses = shared_step(
            self.shared,  # type: ignore[arg-type]
            images,
            self.objective.of_batch(images, targets, execution.autocast()),
            members=members,
            criterion=self.objective.loss,
            conflict=self.conflict,
            distill=self.distill,
            prepare=lambda subnet, member: self._prepare(subnet, member, execution),
            execution=execution,
        )
        values = {"loss": torch.where(losses.finite, losses.first, torch.nan)}
        values |= {f"loss_{each.name}": loss for each, loss in zip(members[1:], losses.others) if each.name}
        if losses.conflict is not None:
            values["conflict_share"] = losses.conflict.share
            values |= {f"{CONFLICT_IN}{stage}": share for stage, share in losses.conflict.by_stage.items()}
        return values

    def _prepare(self, subnet: nn.Module, member: Member, execution: Execution) -> None:
        self.objective.prepare(subnet)
        recipe, compute = self.recipe, execution.compute
        rates = {name: getattr(recipe, name) for name in ("dropout", "drop_path_rate", "dropblock")}
        if member.regularized and any(rates.values()):
            regularize(subnet, **rates, compute=compute)
        sync_batch_norm(subnet, compute if execution.running.batch_norm == "joined" else None)


class _Single:
    """A plain network as the only subnet of itself."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.gradients = FlatGradients(network.parameters())

    def at(self, subnet: None) -> nn.Module:
        """Return the network."""
        return self.network

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        if self.gradients.left:
            self.gradients = FlatGradients(self.network.parameters())
        self.gradients.zero_()

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every optimizer step check that the gradients are in the buffer."""
        optimizer.register_step_pre_hook(lambda *_: self.gradients.check())
