"""One way to train a network, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal

from search_spaces.files import from_json
from search_spaces.ranges import Checked, Range, Share, checked, types_of
from search_spaces.reading import legal_names
from search_spaces.saved import Saved
from search_spaces.schedule import Cosine, Schedule, plain_schedule, read_schedule
from search_spaces.values import FieldError, shown

OPTIMIZERS = ("sgd", "rmsprop_tf", "adamw", "lamb")
INITIALIZATIONS = ("default", "fan_out_normal", "fan_in_uniform", "truncated_normal")
_WORDS = {"optimizer": OPTIMIZERS, "autoaugment": ("none", "original", "v0"), "initialization": INITIALIZATIONS}

LearningRate = Annotated[float, Range(0, 1000, above=True)]
Epochs = Annotated[int, Range(1, 100_000)]
FirstEpochs = Annotated[int, Range(0, 100_000)]
BatchSize = Annotated[int, Range(1, 131_072)]
Probability = Annotated[float, Range(0, 1, below=True)]
Clip = Annotated[float, Range(0, 1e6)]
Alpha = Annotated[float, Range(0, 1000)]


@dataclass(frozen=True)
class Recipe(Checked, Saved):
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
        schedule: how the learning rate moves: "cosine", "linear", "step", "exponential" or "constant", or one with its
            details, such as ``{kind: step, milestones: [0.5, 0.75], factor: 0.1}``; see :mod:`search_spaces.schedule`.
        loaded_rate: factor on the learning rate of what was loaded (``weights``); what was made anew has the whole one.
        frozen_epochs: first epochs in which what was loaded stays as it is, and only what was made anew trains. The
            statistics of batch norms follow the new images all the same.
        autoaugment: policy of AutoAugment, as timm has them: "original" (of the paper) or "v0" (of its release, which
            AlphaNet trains with); "none" = off. With RandAugment both vary every image.
        initialization: how the random weights of convolutions and linear layers are drawn, where a plain network trains
            from such: "default" is the network's own way; see :func:`nasvit.training.initialization.draw_weights`.
        dropblock: share of the maps of residual branches that is dropped in squares of 7x7 pixels (DropBlock), in our
            blocks of convolutions; 0 = off.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    optimizer: Literal["sgd", "rmsprop_tf", "adamw", "lamb"]
    learning_rate: LearningRate
    epochs: Epochs
    batch_size: BatchSize
    warmup_epochs: FirstEpochs = 0
    weight_decay: Annotated[float, Range(0, 100)] = 0.0
    clip_norm: Clip = 0.0
    clip_value: Clip = 0.0
    label_smoothing: Probability = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    randaugment: Annotated[int, Range(0, 10)] = 0
    random_erasing: Share = 0.0
    dropout: Probability = 0.0
    drop_path_rate: Probability = 0.0
    ema_decay: Probability = 0.0
    schedule: Schedule = Cosine()
    loaded_rate: Annotated[float, Range(0, 1, above=True)] = 1.0
    frozen_epochs: FirstEpochs = 0
    autoaugment: Literal["none", "original", "v0"] = "none"
    initialization: Literal["default", "fan_out_normal", "fan_in_uniform", "truncated_normal"] = "default"
    dropblock: Probability = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("schedule", *_WORDS):
            object.__setattr__(self, name, checked_entry(name, getattr(self, name)))
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
        given = from_json(text, "a recipe")
        if not isinstance(given, Mapping):
            raise FieldError([], f"a recipe is a mapping of fields, not {shown(given)}")
        check_names(given)
        return cls(**given)


DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
"""The fields that may be left out, with their default values."""

LATER = ("clip_value", "schedule", "loaded_rate", "frozen_epochs", "autoaugment", "initialization", "dropblock")
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
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise FieldError([name], f"{shown(value)} is unknown; {legal_names(str(value), _WORDS[name])}")
        return value
    return checked(types_of(Recipe)[name], value, (name,))


def _checked_schedule(value: Any) -> Schedule:
    try:
        return read_schedule(value)
    except FieldError as error:
        raise error.under("schedule") from None
