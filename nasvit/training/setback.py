"""What a training goes on with after a collapse, and what is said of one that it does not recover from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from nasvit.training.checkpoint import Checkpoint


class Setback(NamedTuple):
    """How often training went back, and from where on it gets its learning rate again.

    Args:
        times: times since it had its whole learning rate.
        step: the step that it went back to.
    """

    times: int
    step: int

    def halvings(self, step: int, given_back_in: int) -> float:
        """Return how many times the learning rate is halved at a step: one less every so many steps.

        Args:
            step: the step.
            given_back_in: steps until a halving is taken back.
        """
        return max(0.0, self.times - (step - self.step) / given_back_in)

    def again(self, step: int, given_back_in: int) -> Setback:
        """Return what follows from a collapse at a step."""
        before = self.times if self.halvings(step, given_back_in) else 0
        return Setback(before + 1, step)


NO_SETBACK = Setback(0, 0)


def seen(values: Mapping[str, float], model: nn.Module, good: Checkpoint | None) -> str:
    """Return what shows of a collapse: the losses of the step by subnet, and the weights that grew most.

    Args:
        values: numbers of the step.
        model: the collapsed model.
        good: a checkpoint before.
    """
    losses = ", ".join(
        f"{name.removeprefix('loss_') if name != 'loss' else 'loss'} {value:.3g}"
        for name, value in values.items()
        if name == "loss" or name.startswith("loss_")
    )
    return f"\nseen at that step: {losses}{'' if good is None else _growth(model, good)}"


def _growth(model: nn.Module, good: Checkpoint) -> str:
    before = good.state["model"]
    growth = {}
    for name, parameter in model.named_parameters():
        if name in before:
            now, then = float(parameter.detach().float().norm()), float(before[name].float().norm())
            growth[name] = (now / max(then, 1e-12) if math.isfinite(now) else math.inf, then, now)
    if not growth:
        return ""
    name = max(growth, key=lambda each: growth[each][0])
    _, then, now = growth[name]
    return f"; since step {good.step} the norm of {name} changed most, from {then:.3g} to {now:.3g}"
