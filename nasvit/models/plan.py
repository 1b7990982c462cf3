"""The channels of every layer of a network, as one frozen value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class ChannelPlan:
    """Number of channels of every layer of a network whose width is a choice.

    The order is that of the network: stem, the hidden and outgoing channels of every block, head
    (:meth:`nasvit.models.Family.decisions` names them).

    Args:
        channels: one number per decision.

    Raises:
        ValueError: if a number is not a whole number above zero.
    """

    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        for number, channels in enumerate(self.channels):
            if not isinstance(channels, int) or channels < 1:
                raise ValueError(f"channel plan: entry {number} is {channels!r}; legal: whole numbers from 1")

    @property
    def key(self) -> str:
        """A short stable name of this plan, for file names and state dicts."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the plan as JSON text."""
        return json.dumps({"channels": self.channels}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ChannelPlan:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: if the text is not the JSON of a plan.
        """
        try:
            return cls(tuple(json.loads(text)["channels"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'channel plan: {text[:60]!r} is not of the form {{"channels":[...]}}') from error
