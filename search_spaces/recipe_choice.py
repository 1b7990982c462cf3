"""The choices for one field of a recipe, as YAML files hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from search_spaces.ranges import Checked, Range
from search_spaces.schedule import Constant, Cosine, Exponential, Linear, Step
from search_spaces.values import MOST_VALUES, FieldError, Number

Scalar = str | int | float | Cosine | Linear | Step | Exponential | Constant
"""One value of a field; a schedule may be named by its kind alone."""

_End = Annotated[Number, Range(-1e9, 1e9)]


@dataclass(frozen=True)
class RecipeChoice(Checked):
    """The long form of a field's choices; give either ``values``, or ``low`` and ``high`` with one of the steps.

    Args:
        values: the choices.
        low: the first of evenly spaced choices.
        high: the last choice.
        steps: number of choices, both ends included.
        step: distance between two choices; it must lead from ``low`` to ``high`` (linear scale only).
        scale: even distances ("linear") or even ratios ("log").
        integer: round every choice to a whole number; no two may become equal.
        when: ``{field: value or values}``: the choices hold only where that field has one of these values.
        otherwise: the choices elsewhere (a scalar, a list, or a mapping like this one, which may have a ``when``
            on the same field). Left out: the recipe's own default.

    Raises:
        ValueError: naming the field and the mistake.
    """

    values: tuple[Scalar, ...] = ()
    low: _End | None = None
    high: _End | None = None
    steps: Annotated[int, Range(2, MOST_VALUES)] | None = None
    step: Annotated[Number, Range(0, 1e9, above=True)] | None = None
    scale: Literal["linear", "log"] = "linear"
    integer: bool = False
    when: dict[str, tuple[Scalar, ...]] | None = None
    otherwise: Scalar | tuple[Scalar, ...] | RecipeChoice | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise FieldError([], "needs either values, or low and high")
        if not self.values:
            self._check_range()
        if self.when is not None and len(self.when) != 1:
            raise FieldError(["when"], f"names {len(self.when)} fields; legal: one")
        if self.otherwise is not None and self.when is None:
            raise FieldError(["otherwise"], 'needs a "when"')

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            raise FieldError([], "needs both low and high")
        if not self.low < self.high:
            raise FieldError(["high"], f"{self.high} is not above low {self.low}")
        if (self.steps is None) == (self.step is None):
            raise FieldError([], "needs either steps (how many choices) or step (their distance)")
        if self.scale == "log" and (self.low <= 0 or self.step is not None):
            raise FieldError(["scale"], "log needs low above 0, and steps instead of step")
        if self.step is not None and (self.high - self.low) / self.step >= MOST_VALUES:
            problem = f"{self.step} makes more than {MOST_VALUES} choices from {self.low} to {self.high}; widen it"
            raise FieldError(["step"], problem)
        if self.step is not None and not _divides(self.step, self.high - self.low):
            raise FieldError(["step"], f"{self.step} does not lead from {self.low} to {self.high}")

    def listed(self) -> tuple[Scalar, ...]:
        """Return the choices, ascending; numbers are rounded to ten digits, so that 0.3 is 0.3."""
        if self.values or self.low is None or self.high is None:
            return self.values
        if self.step is not None:
            count = round((self.high - self.low) / self.step) + 1
        else:
            count = self.steps or 0
        parts = [index / (count - 1) for index in range(count)]
        if self.scale == "log":
            spaced = [math.exp((1 - part) * math.log(self.low) + part * math.log(self.high)) for part in parts]
        else:
            spaced = [(1 - part) * self.low + part * self.high for part in parts]
        return tuple(round(value) if self.integer else float(f"{value:.10g}") for value in spaced)


@dataclass(frozen=True)
class Case:
    """The values of one field under one condition.

    Args:
        name: name of the gene, if there is more than one value.
        field: the recipe's field.
        values: legal values, in their canonical form.
        condition: ``(other field, its values)`` under which the case holds; None: always.
    """

    name: str
    field: str
    values: tuple[Any, ...]
    condition: tuple[str, tuple[Any, ...]] | None = None

    @property
    def ordinal(self) -> bool:
        """True if the values have an order."""
        return all(isinstance(value, (int, float)) for value in self.values)


def _divides(step: float, length: float) -> bool:
    return math.isclose(round(length / step) * step, length, rel_tol=1e-9)
