"""A moving average of the weights, kept in checkpoints."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class MovingAverage(Generic[Model]):
    """Exponential moving average of everything in a model's state dict, in a copy of the model.

    Args:
        model: the model to average; it is copied.
        decay: share of the old average kept at each update, from 0 to below 1.
        warmup: let the decay grow from 0 with the number of updates, so the start is forgotten soon.

    Raises:
        ValueError: if the decay is out of range.
    """

    def __init__(self, model: Model, decay: float, *, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay {decay}: must be at least 0 and below 1")
        from timm.utils.model_ema import ModelEmaV3  # which takes seconds

        self._average = ModelEmaV3(model, decay=decay, use_warmup=warmup)
        self._warmup = warmup
        self.updates = 0

    @property
    def model(self) -> Model:
        """The averaged model, in evaluation mode."""
        averaged: Model = self._average.module
        return averaged

    def update(self, model: Model) -> None:
        """Update the average with the weights after an optimizer step."""
        self.updates += 1
        # timm would copy the model at the first counted steps; without warm-up the start counts like every other value.
        self._average.update(model, step=self.updates if self._warmup else None)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged tensors and the number of updates."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])
