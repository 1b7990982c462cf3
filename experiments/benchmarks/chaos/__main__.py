"""Run one kind of chaos: ``python -m experiments.benchmarks.chaos kills --rounds 400 --json FILE``."""

from __future__ import annotations

import tyro

from experiments.benchmarks.chaos import kills

COMMANDS = {"kills": kills.main}
"""The kinds of chaos by name."""

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m experiments.benchmarks.chaos", description=__doc__)
