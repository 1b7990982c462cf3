"""Detection of collapsed training: the loss jumps back to chance level, or is not a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

MOST_SKIPPED = 25
"""Steps in a row whose gradients may not be finite; a float16 training leaves some out until its scale fits."""


class TrainingCollapsedError(RuntimeError):
    """A training collapsed several times; the message suggests gentler settings."""


@dataclass(frozen=True)
class Collapse:
    """A detected collapse.

    Args:
        step: the step at which the loss showed it.
        reason: one sentence for the log.
    """

    step: int
    reason: str


class CollapseDetector:
    """Detects a collapse from the losses of the largest subnet.

    Large supernets were seen to fall to chance accuracy in the middle of training, as if initialized anew, and not to
    recover. The median of the last losses is compared with the loss of guessing, so one bad batch is no collapse, nor
    is a start that has not learned yet.

    Args:
        chance_loss: loss of a guess, the logarithm of the number of classes.
        window: number of last losses in the median.
        learned: the network has learned once the median is below this share of ``chance_loss``.
        collapsed: it has collapsed when the median is above this share of it again.
        diverged: a network that never learned has diverged when the median is above so many times ``chance_loss`` and
            the first loss; of detectors, whose chance loss nobody knows, the first loss alone.

    Raises:
        ValueError: if the values are out of their ranges.
    """

    def __init__(
        self,
        chance_loss: float,
        *,
        window: int = 20,
        learned: float = 0.8,
        collapsed: float = 0.95,
        diverged: float = 10.0,
    ) -> None:
        if not (chance_loss > 0 and window >= 1 and 0 < learned < collapsed):
            raise ValueError(
                f"chance_loss {chance_loss}, window {window}, learned {learned}, collapsed {collapsed}: need "
                "chance_loss > 0, window >= 1 and 0 < learned < collapsed"
            )
        self._chance_loss = chance_loss
        self._window = window
        self._learned_share = learned
        self._collapsed_share = collapsed
        self._diverged_share = diverged
        self._first: float | None = None
        self._losses: list[float] = []
        self._has_learned = False
        self._skipped = 0

    @property
    def healthy(self) -> bool:
        """Whether the last losses show no sign of a collapse, so that a checkpoint now is a good one."""
        if self._skipped:
            return False
        if not self._has_learned or not self._losses:
            return True
        # The last loss too: the median notices a collapse only after half a window of steps.
        return (
            median(self._losses) < self._learned_share * self._chance_loss
            and self._losses[-1] < self._collapsed_share * self._chance_loss
        )

    def update(self, step: int, loss: float, *, skipped: bool = False) -> Collapse | None:
        """Take in the loss of a step.

        Args:
            step: optimizer steps done.
            loss: cross entropy of the largest subnet; not a number if the loss of any subnet is not a number.
            skipped: whether the step was left out because its gradients were not finite.

        Returns:
            The collapse, or None. After a collapse, load the state of the checkpoint gone back to, or
            ``reset``.
        """
        if not math.isfinite(loss):
            return Collapse(step, f"a loss is {loss} at step {step}")
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped > MOST_SKIPPED:
            return Collapse(step, f"the gradients of {self._skipped} steps in a row are not finite at step {step}")
        self._first = loss if self._first is None else self._first
        self._losses = [*self._losses, loss][-self._window :]
        if len(self._losses) < self._window:
            return None
        middle = median(self._losses)
        self._has_learned = self._has_learned or middle < self._learned_share * self._chance_loss
        if self._has_learned and middle > self._collapsed_share * self._chance_loss:
            return Collapse(
                step,
                f"the loss of the largest subnet is back at chance level at step {step}: median of the last "
                f"{self._window} is {middle:.3f}, guessing gives {self._chance_loss:.3f}",
            )
        return self._divergence(step, middle)

    def _divergence(self, step: int, middle: float) -> Collapse | None:
        assert self._first is not None
        guess = self._chance_loss if math.isfinite(self._chance_loss) else 0.0
        start = max(guess, self._first)  # distillation may add to the loss what guessing does not have
        if middle <= self._diverged_share * start:
            return None
        said = "the first was" if start > guess else "guessing gives"
        reason = f"median of the last {self._window} is {middle:.3g}, {said} {start:.3f}"
        return Collapse(step, f"the loss diverged at step {step}: {reason}")

    def reset(self) -> None:
        """Forget the last losses, but not that the network had learned."""
        self._losses, self._skipped = [], 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the detector for a resumed run."""
        return {
            "losses": list(self._losses),
            "has_learned": self._has_learned,
            "skipped": self._skipped,
            "first": self._first,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self._losses = [float(loss) for loss in state["losses"]]
        self._has_learned = bool(state["has_learned"])
        self._skipped = int(state.get("skipped", 0))
        self._first = state.get("first")
