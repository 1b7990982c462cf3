"""Parameters that were loaded: a smaller learning rate, and epochs in which they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import ConflictPolicy, ConflictReport, Join, alone
from nasvit.training.sampling import Moment
from search_spaces.recipe import Recipe

IsLoaded = Callable[[str], bool]
"""Tells of a parameter's dotted name whether it was loaded."""

LOADED, FACTOR = "loaded", "factor"
"""Entries of an optimizer's groups: whether their parameters were loaded, and the factor on their learning rate."""


def loaded_parameters(model: nn.Module, recipe: Recipe, is_loaded: IsLoaded | None) -> list[nn.Parameter]:
    """Return the parameters of a model that were loaded, where the recipe treats them differently.

    Args:
        model: the model to train.
        recipe: its recipe.
        is_loaded: tells which parameters were loaded; None: nothing was.

    Raises:
        ValueError: if the recipe says something of loaded parameters and there are none, or only such ones to freeze.
    """
    if recipe.loaded_rate == 1 and not recipe.frozen_epochs:
        return []
    if is_loaded is None:
        raise ValueError(
            "loaded_rate and frozen_epochs say how loaded weights train, and this network starts from random ones; "
            "leave them out, or give weights"
        )
    loaded = [parameter for name, parameter in model.named_parameters() if is_loaded(name)]
    if recipe.frozen_epochs and len(loaded) == len(list(model.parameters())):
        raise ValueError(
            f"frozen_epochs: {recipe.frozen_epochs}, but everything was loaded and nothing made anew, so that nothing "
            "would train in them; leave it out"
        )
    return loaded


class Freezing:
    """A conflict policy in whose first epochs the gradients of loaded parameters count for nothing.

    They are taken out before anything is clipped or compared, so that what was made anew trains as if it were alone.

    Args:
        policy: what is done with the other gradients.
        frozen: the parameters.
        epochs: epochs in which they are frozen.
    """

    def __init__(self, policy: ConflictPolicy, frozen: Sequence[nn.Parameter], epochs: int) -> None:
        self.policy, self.frozen, self.epochs = policy, list(frozen), epochs
        self.active = epochs > 0
        self._rows: Tensor | None = None
        self._of: FlatGradients | None = None

    @property
    def copies(self) -> int:
        """How many gradients as large as the buffer the policy keeps."""
        return self.policy.copies

    @property
    def kept(self) -> Sequence[Tensor]:
        """Those that it keeps already."""
        return self.policy.kept

    def before_step(self, moment: Moment) -> None:
        """Find out whether the parameters are still frozen."""
        self.active = is_frozen(moment.step, moment.steps_per_epoch, self.epochs)
        self.policy.before_step(moment)

    def after_largest(self, gradients: FlatGradients) -> None:
        """Take the buffer with the gradient of the largest subnet alone."""
        self._clear(gradients)
        self.policy.after_largest(gradients)

    def combine(self, gradients: FlatGradients, join: Join = alone) -> ConflictReport | None:
        """Take the buffer with the gradients added since, and leave in it the gradient for the optimizer."""
        self._clear(gradients)
        return self.policy.combine(gradients, join)

    def _clear(self, gradients: FlatGradients) -> None:
        if not self.active:
            return
        if self._rows is None or self._of is not gradients:
            frozen = {id(parameter) for parameter in self.frozen}
            owners = torch.tensor([id(each) in frozen for each in gradients.parameters], device=gradients.rows.device)
            self._rows, self._of = owners[gradients.owner][:, None], gradients
        gradients.rows.masked_fill_(self._rows, 0.0)


def is_frozen(step: int, steps_per_epoch: int, epochs: int) -> bool:
    """Return whether a step, counted from 0, is one of the first epochs."""
    return step < epochs * steps_per_epoch


@contextmanager
def without_loaded(optimizer: torch.optim.Optimizer, frozen: bool) -> Iterator[None]:
    """Let the steps of an optimizer, inside, leave loaded parameters alone: their weights, and their moments too.

    A learning rate of 0 would move the moments; parameters that need no gradient would cut the views of a supernet off.

    Args:
        optimizer: the optimizer.
        frozen: whether they are frozen; False changes nothing.
    """
    groups = optimizer.param_groups
    if frozen:
        optimizer.param_groups = [group for group in groups if not group.get(LOADED, False)]
    try:
        yield
    finally:
        optimizer.param_groups = groups
