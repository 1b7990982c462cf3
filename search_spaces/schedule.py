"""Schedules of the learning rate, as values: linear growth for the epochs of warm-up, then one of five shapes.

The decay is counted from the first step of the training, warm-up included, unless ``after_warmup`` counts it from the
end of the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, Union

from search_spaces.ranges import Checked, Range
from search_spaces.reading import legal_names
from search_spaces.values import FieldError, shown

Rate = Annotated[float, Range(0, 1000)]
"""A learning rate, or 0."""


class _Schedule(Checked):
    """What all schedules share: rates as floats, so that equal schedules have equal JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("after_warmup", "stairs"):
            switch = getattr(self, name, False)
            if not isinstance(switch, bool):
                raise FieldError([name], f"is {shown(switch)}; legal: true or false")


@dataclass(frozen=True)
class Cosine(_Schedule):
    """Half a period of a cosine from the peak to ``minimum``.

    Args:
        minimum: the rate at the end.
        warmup_start: the rate of the first step, if there is a warm-up.
        after_warmup: count the decay from the end of the warm-up.
    """

    kind: Literal["cosine"] = "cosine"
    minimum: Rate = 0.0
    warmup_start: Rate = 0.0
    after_warmup: bool = False


@dataclass(frozen=True)
class Linear(_Schedule):
    """A straight line from the peak to ``minimum``.

    Args:
        minimum: the rate at the end.
        warmup_start: the rate of the first step, if there is a warm-up.
        after_warmup: count the decay from the end of the warm-up.
    """

    kind: Literal["linear"] = "linear"
    minimum: Rate = 0.0
    warmup_start: Rate = 0.0
    after_warmup: bool = False


@dataclass(frozen=True)
class Step(_Schedule):
    """The peak, multiplied by ``factor`` at every milestone.

    Args:
        milestones: shares of the steps that the decay is counted over, ascending.
        factor: factor on the rate at every milestone.
        minimum: smallest rate.
        warmup_start: the rate of the first step, if there is a warm-up.
        after_warmup: count the milestones from the end of the warm-up.
    """

    kind: Literal["step"] = "step"
    milestones: tuple[Annotated[float, Range(0, 1, above=True)], ...] = (0.3, 0.6, 0.9)
    factor: Annotated[float, Range(0, 1, above=True)] = 0.1
    minimum: Rate = 0.0
    warmup_start: Rate = 0.0
    after_warmup: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.milestones) != sorted(self.milestones):
            raise FieldError(["milestones"], f"{list(self.milestones)}; legal: ascending shares above 0 to 1")
        object.__setattr__(self, "milestones", tuple(self.milestones))


@dataclass(frozen=True)
class Exponential(_Schedule):
    """The peak, multiplied by ``factor`` every so many epochs.

    Args:
        factor: factor on the rate.
        epochs: epochs between two of them.
        stairs: fall at once, after so many epochs; else a little in every step.
        minimum: smallest rate.
        warmup_start: the rate of the first step, if there is a warm-up.
        after_warmup: count the epochs from the end of the warm-up.
    """

    kind: Literal["exponential"] = "exponential"
    factor: Annotated[float, Range(0, 1, above=True)] = 0.97
    epochs: Annotated[float, Range(0, 100_000, above=True)] = 1.0
    stairs: bool = True
    minimum: Rate = 0.0
    warmup_start: Rate = 0.0
    after_warmup: bool = False


@dataclass(frozen=True)
class Constant(_Schedule):
    """The peak, to the end.

    Args:
        warmup_start: the rate of the first step, if there is a warm-up.
    """

    kind: Literal["constant"] = "constant"
    warmup_start: Rate = 0.0


Schedule = Union[Cosine, Linear, Step, Exponential, Constant]
SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": Cosine,
    "linear": Linear,
    "step": Step,
    "exponential": Exponential,
    "constant": Constant,
}


def read_schedule(value: Any) -> Schedule:
    """Return the schedule of a kind, such as ``"step"``, or of a mapping from ``plain_schedule``, or ``value`` itself.

    Raises:
        FieldError: a kind or field that is unknown, or a value that is illegal.
    """
    if isinstance(value, (Cosine, Linear, Step, Exponential, Constant)):
        return value
    given = dict(value) if isinstance(value, Mapping) else {"kind": value}
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise FieldError([], f"{shown(kind)} is no kind of schedule; {legal_names(str(kind), SCHEDULES)}")
    legal = [field.name for field in fields(SCHEDULES[kind])]
    for name in given:
        if name not in legal:
            raise FieldError([name], f"unknown field of a {kind} schedule; {legal_names(name, legal)}")
    return SCHEDULES[kind](**given)


def plain_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return the kind of a schedule and its fields that differ from the defaults, as JSON values."""
    standard = asdict(type(schedule)())
    entries = {name: value for name, value in asdict(schedule).items() if name == "kind" or value != standard[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in entries.items()}
