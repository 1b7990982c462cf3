"""What is odd in data and stops nobody."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from nasvit.data.bad import in_one_line


@dataclass
class Remarks:
    """What is odd in data and does not stop anybody: each kind is counted, and the first of it is named."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Note one oddity."""
        count, first = self.found.get(kind, (0, where))
        self.found[kind] = count + 1, first

    def warn(self, source: str) -> None:
        """Give one warning of everything that was noted, if anything was."""
        told = "; ".join(
            f"{count} {kind}, the first: {in_one_line(first)}" for kind, (count, first) in self.found.items()
        )
        if told:
            warnings.warn(f"{in_one_line(source)}: {told}", stacklevel=2)
