"""How well the sum of measured blocks predicts whole networks, on this machine.

    python -m experiments.benchmarks.latency_build micro8 --runtimes torch onnxruntime --json FILE

Builds a latency table for each space and runtime (killed, it goes on) and writes what the tables say of themselves,
without their blocks: device, conditions, noise policy, how noisy it was, scale and offset, and the error on networks
that nothing was fitted on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional

import search_spaces
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.exporting import RuntimeName
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from nasvit.files.records import write_json
from nasvit.report.latency import show_quality
from nasvit.training.progress import Progress

LEFT_OUT = ("blocks", "networks", "date")


@dataclass(frozen=True)
class Settings:
    """What is built.

    Args:
        spaces: names of spaces.
        runtimes: each of them for every space.
        folder: where tables and timing logs are kept.
        json: the summary to write.
        build: everything else.
    """

    spaces: Positional[tuple[str, ...]]
    runtimes: tuple[RuntimeName, ...] = ("torch",)
    folder: Path = Path("runs/latency")
    json: Path | None = None
    build: OmitArgPrefixes[MeasurementSettings] = field(default_factory=lambda: MeasurementSettings(classes=10))


def summary(settings: Settings, space: str, runtime: RuntimeName) -> dict[str, Any]:
    """Build one table and return it without the blocks, with how busy the machine was."""
    out = settings.folder / f"{space}-{runtime}.json"
    subject = SpaceSubject(search_spaces.load(space))
    plan = MeasurementPlan(subject, replace(settings.build, runtime=runtime), out)
    policy = plan.settings.policy
    most = (len(plan.blocks) + len(plan.networks)) * (policy.rounds + policy.again)
    with Progress(f"{space} {runtime}", most) as progress:
        table = build_table(plan, lambda module: progress.advance(note=module.name))
    show_quality(table, Console(width=120))
    kept = {name: value for name, value in table.record.items() if name not in LEFT_OUT}
    busy = {"processors": os.cpu_count(), "load_average_15_minutes": round(os.getloadavg()[2], 1)}
    return {**kept, "unique_blocks": len(plan.blocks), "machine": busy}


def main(settings: Settings) -> None:
    """Build all tables."""
    records = [summary(settings, space, runtime) for space in settings.spaces for runtime in settings.runtimes]
    if settings.json is not None:
        command = f"python -m experiments.benchmarks.latency_build {' '.join(settings.spaces)}"
        command += f" --runtimes {' '.join(settings.runtimes)} --json FILE"
        write_json(settings.json, {"command": command, "tables": records})


if __name__ == "__main__":
    main(tyro.cli(Settings))
