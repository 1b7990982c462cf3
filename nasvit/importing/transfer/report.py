"""What became of weights that a training starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 4


@dataclass(frozen=True)
class Report:
    """Report of loading.

    Args:
        source: where the weights are from.
        loaded: names of the network's tensors that were loaded.
        numbers: number of values in them.
        how: by what tensors were matched, where it was not simply by their names; empty otherwise.
        reshaped: names of loaded tensors whose shape was another one, with what was done.
        anew: names of the network's tensors that were not loaded and so keep their random start, with the reason.
        left_out: reason -> names of the source's tensors that the network has no place for.
        sha256: SHA-256 of the source's file; empty if there is none.
        remark: what is not sure, in words; empty if nothing is.
    """

    source: str
    loaded: tuple[str, ...]
    numbers: int
    how: str = ""
    reshaped: Mapping[str, str] = field(default_factory=dict)
    anew: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: str = ""
    remark: str = ""

    def is_loaded(self, name: str) -> bool:
        """Return whether a parameter was loaded, as all were that were not made anew."""
        return name not in self.anew

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, for results and cards."""
        content: dict[str, Any] = {"source": self.source, "tensors": len(self.loaded), "numbers": self.numbers}
        told = {
            "sha256": self.sha256,
            "matched": self.how,
            "reshaped": self.reshaped,
            "made_anew": self.anew,
            "remark": self.remark,
        }
        left = {reason: list(names) for reason, names in self.left_out.items()}
        return content | {name: value for name, value in {**told, "left_out": left}.items() if value}

    def __str__(self) -> str:
        how = f", {self.how}" if self.how else ""
        lines = [f"starts from {self.source}: {len(self.loaded)} tensors, {self.numbers:,} numbers{how}"]
        for verb, named in (("reshaped", self.reshaped), ("made anew", self.anew)):
            lines += [f"    {verb} ({why}): {listing(names)}" for why, names in _by_reason(named).items()]
        lines += [f"    left out ({why}): {listing(names)}" for why, names in self.left_out.items() if names]
        return "\n".join([*lines, *([f"    {self.remark}"] if self.remark else [])])


def _by_reason(named: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in named.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def listing(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Return names in words: the first of them, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
