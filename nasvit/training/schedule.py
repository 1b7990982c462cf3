"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from search_spaces.recipe import Recipe

Shape = Literal["cosine", "linear", "step", "exponential", "constant"]
_SHAPES = ("cosine", "linear", "step", "exponential", "constant")


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up, then a decay; call it with the number of the step the learning rate is for, from 0.

    The decay is counted from step 0, not from the end of the warm-up, as in the released NASViT and AlphaNet: at the
    end of the warm-up the rate moves from the warm-up line onto the decay curve, a small jump. With
    ``decay_after_warmup`` it is counted from the end of the warm-up, as in the released NetAug, and there is no jump.

    Args:
        steps: steps of the whole training. Later steps get the rate of the end.
        base: the rate after warm-up, before decay.
        warmup_steps: steps of linear growth from ``warmup_start`` to ``base``.
        warmup_start: rate of step 0 if there is a warm-up.
        minimum: rate at the end, for ``cosine`` and ``linear``; a floor for ``step`` and ``exponential``.
        shape: ``cosine``, ``linear``, ``step`` (multiplied by ``factor`` at every milestone), ``exponential``
            (multiplied by ``factor`` every ``period`` steps) or ``constant``.
        milestones: shares of the steps that the decay is counted over, for ``step``.
        factor: factor on the rate, for ``step`` and ``exponential``.
        period: steps in which the rate falls by the factor, for ``exponential``.
        stairs: whether it falls at once at the end of each period, for ``exponential``; else in every step.
        decay_after_warmup: count the decay from the end of the warm-up.

    Raises:
        ValueError: if a value is out of its range.

    Source: the released NASViT, whose rates this reproduces to the last bit.
    """

    steps: int
    base: float
    warmup_steps: int = 0
    warmup_start: float = 0.0
    minimum: float = 0.0
    shape: Shape = "cosine"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.9)
    factor: float = 0.1
    decay_after_warmup: bool = False
    period: float = 1.0
    stairs: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps}, steps {self.steps}: need 0 <= warmup_steps <= steps, steps >= 1"
            )
        if self.shape not in _SHAPES:
            raise ValueError(f"learning-rate shape {self.shape!r}: legal are {', '.join(_SHAPES)}")
        if not 0 <= self.minimum <= self.base or not 0 <= self.warmup_start:
            raise ValueError(
                f"learning rates: minimum {self.minimum}, base {self.base}, warmup_start {self.warmup_start}: need "
                "0 <= minimum <= base and warmup_start >= 0"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate of one step."""
        if step < 0:
            raise ValueError(f"step {step}: steps are counted from 0")
        if step < self.warmup_steps:
            return self.warmup_start + step * ((self.base - self.warmup_start) / self.warmup_steps)
        skipped = self.warmup_steps if self.decay_after_warmup else 0
        return self._decayed(min(step, self.steps) - skipped, max(self.steps - skipped, 1))

    def _decayed(self, step: int, steps: int) -> float:
        if self.shape == "cosine":
            return self.minimum + 0.5 * (self.base - self.minimum) * (1 + math.cos(math.pi * step / steps))
        if self.shape == "linear":
            return self.minimum + (self.base - self.minimum) * (1 - step / steps)
        if self.shape == "step":
            passed = sum(step >= share * steps for share in self.milestones)
            return max(self.minimum, self.base * self.factor**passed)
        if self.shape == "exponential":
            periods = step / self.period
            return max(self.minimum, self.base * self.factor ** (math.floor(periods) if self.stairs else periods))
        return self.base


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> LearningRate:
    """Return the learning rate of a recipe.

    Args:
        recipe: peak, epochs, warm-up and schedule.
        steps_per_epoch: optimizer steps in one pass over the training images, at least 1.
    """
    schedule: dict[str, Any] = asdict(recipe.schedule)
    if "epochs" in schedule:
        schedule["period"] = schedule.pop("epochs") * steps_per_epoch
    return LearningRate(
        recipe.epochs * steps_per_epoch,
        recipe.learning_rate,
        warmup_steps=recipe.warmup_epochs * steps_per_epoch,
        shape=schedule.pop("kind"),
        decay_after_warmup=schedule.pop("after_warmup", False),
        **schedule,
    )
