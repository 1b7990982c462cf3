"""Run one kind of chaos: ``python -m experiments.benchmarks.chaos kills --rounds 400 --json FILE``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tyro

from experiments.benchmarks.chaos import folders, inputs, kills

COMMANDS: dict[str, Callable[..., Any]] = {"kills": kills.main, "inputs": inputs.main, "folders": folders.main}
"""The kinds of chaos by name."""

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m experiments.benchmarks.chaos", description=__doc__)
