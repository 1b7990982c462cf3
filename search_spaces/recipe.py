"""One way to train a network, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from search_spaces.reading import legal_names
from search_spaces.saved import Saved
from search_spaces.schedule import Cosine, Schedule, plain_schedule, read_schedule
from search_spaces.values import FieldError, plain_number

OPTIMIZERS = ("sgd", "rmsprop_tf", "adamw", "lamb")


@dataclass(frozen=True)
class Recipe(Saved):
    """The hyperparameters of one training: frozen, hashable, equal recipes are equal values.

    Args:
        optimizer: "sgd" (Nesterov momentum 0.9), "rmsprop_tf" (momentum 0.9), "adamw" or "lamb".
        learning_rate: peak learning rate, for the batch size given here.
        epochs: passes over the training images, warm-up included.
        batch_size: images per optimizer step.
        warmup_epochs: epochs of linear warm-up, at most ``epochs``.
        weight_decay: decoupled for adamw and lamb.
        clip_norm: largest norm of the whole gradient; 0 = off.
        clip_value: largest size of every single number of the gradient, clipped before its norm; 0 = off. AlphaNet's
            release has 1.
        label_smoothing: probability given to all classes alike.
        mixup: alpha of Mixup; 0 = off.
        cutmix: alpha of CutMix; 0 = off.
        randaugment: magnitude of RandAugment, 0 to 10; 0 = off.
        random_erasing: probability of erasing a rectangle.
        dropout: probability of dropping a feature before the classifier.
        drop_path_rate: probability of skipping the last block; it grows linearly from 0 at the first.
        ema_decay: decay of the moving average of the weights; 0 = off.
        schedule: how the learning rate moves: "cosine", "linear", "step" or "constant", or one with its details, such
            as ``{kind: step, milestones: [0.5, 0.75], factor: 0.1}``; see :mod:`search_spaces.schedule`.
        loaded_rate: factor on the learning rate of what was loaded (``weights``); what was made anew has the whole one.
        frozen_epochs: first epochs in which what was loaded stays as it is, and only what was made anew trains. The
            statistics of batch norms follow the new images all the same.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    optimizer: Literal["sgd", "rmsprop_tf", "adamw", "lamb"]
    learning_rate: float
    epochs: int
    batch_size: int
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment: int = 0
    random_erasing: float = 0.0
    dropout: float = 0.0
    drop_path_rate: float = 0.0
    ema_decay: float = 0.0
    schedule: Schedule = Cosine()
    loaded_rate: float = 1.0
    frozen_epochs: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked_entry(field.name, getattr(self, field.name)))
        if self.warmup_epochs > self.epochs:
            raise FieldError(["warmup_epochs"], f"{self.warmup_epochs} is more than epochs {self.epochs}")
        if self.frozen_epochs > self.epochs:
            raise FieldError(["frozen_epochs"], f"{self.frozen_epochs} is more than epochs {self.epochs}")
        lowest = getattr(self.schedule, "minimum", 0.0)
        if lowest > self.learning_rate:
            raise FieldError(["schedule", "minimum"], f"{lowest} is more than learning_rate {self.learning_rate}")

    def to_json(self) -> str:
        """Return the canonical JSON text: all fields in fixed order, no spaces, without :data:`LATER` at defaults."""
        entries = asdict(self) | {"schedule": plain_schedule(self.schedule)}
        for name in LATER:
            if getattr(self, name) == DEFAULTS[name]:
                del entries[name]
        return json.dumps(entries, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what ``to_json`` wrote; fields with a default may be missing.

        Raises:
            ValueError: not JSON, or a field unknown, missing or illegal.
        """
        given = json.loads(text)
        if not isinstance(given, Mapping):
            raise FieldError([], f"a recipe is a mapping of fields, not {given!r}")
        check_names(given)
        return cls(**given)


@dataclass(frozen=True)
class _Range:
    """Legal numbers from ``low`` to ``high``; an end that is excluded is not legal itself."""

    low: float
    high: float = float("inf")
    whole: bool = False
    low_excluded: bool = False
    high_excluded: bool = False

    def __contains__(self, number: float) -> bool:
        below = number < self.low or (self.low_excluded and number == self.low)
        above = number > self.high or (self.high_excluded and number == self.high)
        return not below and not above and not (self.whole and isinstance(number, float))

    def __str__(self) -> str:
        lower = f"above {self.low:g}" if self.low_excluded else f"from {self.low:g}"
        upper = "" if self.high == float("inf") else f" to {'below ' if self.high_excluded else ''}{self.high:g}"
        return f"{'whole ' if self.whole else ''}numbers {lower}{upper}"


_PROBABILITY = _Range(0, 1, high_excluded=True)
_LEGAL = {
    "learning_rate": _Range(0, low_excluded=True),
    "epochs": _Range(1, whole=True),
    "batch_size": _Range(1, whole=True),
    "warmup_epochs": _Range(0, whole=True),
    "weight_decay": _Range(0),
    "clip_norm": _Range(0),
    "clip_value": _Range(0),
    "label_smoothing": _PROBABILITY,
    "mixup": _Range(0),
    "cutmix": _Range(0),
    "randaugment": _Range(0, 10, whole=True),
    "random_erasing": _Range(0, 1),
    "dropout": _PROBABILITY,
    "drop_path_rate": _PROBABILITY,
    "ema_decay": _PROBABILITY,
    "loaded_rate": _Range(0, 1, low_excluded=True),
    "frozen_epochs": _Range(0, whole=True),
}
DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
"""The fields that may be left out, with their default values."""

LATER = ("clip_value", "schedule", "loaded_rate", "frozen_epochs")
"""The fields that came later: texts and keys of recipes without them stay what they were before there were such."""

FIELDS = tuple(field.name for field in fields(Recipe))
"""The names of all fields, in order."""


def check_names(given: Mapping[str, Any]) -> None:
    """Refuse fields that a recipe does not have, and a recipe without the fields that have no default.

    Raises:
        FieldError: naming the field.
    """
    for name in given:
        if name not in FIELDS:
            raise FieldError([name], f"unknown field of a recipe; {legal_names(name, FIELDS)}")
    for name in FIELDS:
        if name not in given and name not in DEFAULTS:
            raise FieldError([name], "is missing and has no default")


def checked_entry(name: str, value: Any) -> Any:
    """Return the value of one field in its canonical form (whole numbers as int or float, by the field's type).

    Raises:
        FieldError: naming the field, the value and the legal ones.
    """
    if name == "schedule":
        return _checked_schedule(value)
    if name == "optimizer":
        if value not in OPTIMIZERS:
            raise FieldError([name], f"{value!r} is unknown; {legal_names(str(value), OPTIMIZERS)}")
        return value
    try:
        number = plain_number(value)
    except ValueError as error:
        raise FieldError([name], f"{error}; legal: {_LEGAL[name]}") from None
    if number not in _LEGAL[name]:
        raise FieldError([name], f"{value!r} is illegal; legal: {_LEGAL[name]}")
    return number if _LEGAL[name].whole else float(number)


def _checked_schedule(value: Any) -> Schedule:
    try:
        return read_schedule(value)
    except FieldError as error:
        raise error.under("schedule") from None
