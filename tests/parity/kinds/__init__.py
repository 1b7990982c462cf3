"""What kinds of case files there are: one module each, with ``claims(path, content)`` and ``run(path, content)``.

A module claims a file by what is in it, so files of other models in the same format are read too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from tests.parity.rows import Row

NAMES: tuple[str, ...] = (
    "nasvit_cases",
    "nasvit_units",
    "nasvit_losses",
    "nasvit_projection",
    "nasvit_train_step",
    "learning_rate",
    "sampling",
    "alphanet_cases",
    "alphanet_losses",
    "alphanet_sandwich",
    "fbnetv3_table",
    "fbnetv3_forward",
    "slimmable",
    "slimmable_macs",
    "autoslim",
    "netaug",
    "ghostnetv3",
    "recipe",
)


class Kind(Protocol):
    """A module that knows one kind of case file."""

    __name__: str

    def claims(self, path: Path, content: dict[str, Any]) -> bool:
        """True if the file is of this kind."""

    def run(self, path: Path, content: dict[str, Any]) -> Iterator[Row]:
        """Compare every case of the file."""


def find(path: Path, content: dict[str, Any]) -> Kind:
    """Return the module that knows this file.

    Raises:
        ValueError: if none does, or several do.
    """
    modules = [cast(Kind, importlib.import_module(f"{__name__}.{name}")) for name in NAMES]
    claiming = [module for module in modules if module.claims(path, content)]
    if len(claiming) == 1:
        return claiming[0]
    if claiming:
        raise ValueError(f"{path.name} is claimed by several kinds: {', '.join(m.__name__ for m in claiming)}")
    keys, known = ", ".join(map(str, content)), ", ".join(NAMES)
    raise ValueError(f"{path.name} is of no known kind (its keys: {keys}); known: {known}")
