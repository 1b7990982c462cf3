"""Run one kind of chaos: ``python -m experiments.benchmarks.chaos inputs --count 10000 --json FILE``."""

from __future__ import annotations

import tyro

from experiments.benchmarks.chaos import inputs

COMMANDS = {"inputs": inputs.main}
"""The kinds of chaos by name."""

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m experiments.benchmarks.chaos", description=__doc__)
