"""``nasvit latency build`` and ``nasvit latency use``: typed functions that the command line calls."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from nasvit.any_network import Elastic
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.estimate import estimate_seconds, first_measurements
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import Subject
from nasvit.experiment.measured import Asked, subject_of
from nasvit.registry import find_architecture
from nasvit.report.console import describe, open_console
from nasvit.training.progress import Progress
from predictors.latency import LatencyTable
from search_spaces import SearchSpace, Space
from search_spaces.files import read_json
from search_spaces.ranges import Range, checks
from search_spaces.reading import from_json_value

Name = Annotated[Positional[str], tyro.conf.arg(metavar="SPACE|NETWORK|EXPERIMENT.yaml")]


def latency_build(
    space: Name,
    out: Path,
    settings: OmitArgPrefixes[MeasurementSettings] = MeasurementSettings(),  # noqa: B008 - frozen
    network: OmitArgPrefixes[Asked] = Asked(),  # noqa: B008 - frozen
    elastic: Elastic = Elastic(),  # noqa: B008 - frozen
    dry_run: bool = False,
) -> None:
    """Measure the blocks of a space on a device, and how well their sum predicts whole networks; a rerun goes on.

    A network that is made elastic is measured like a space: layer by layer, in all the sizes that it can have.

    Args:
        space: a name that nasvit spaces lists, a file SPACE.yaml, a network such as timm:resnet18, or the file of an
            experiment: then it is of exactly what that searches, with the head of a detector or segmenter.
        out: the table to write, such as pi5.json; every measurement is kept beside it at once, so nothing is lost.
        settings: device, runtime, number of networks and noise policy.
        network: images of a network that is named without an experiment.
        elastic: what is decided in such a network.
        dry_run: only print the number of measurements and an estimate of their time.
    """
    subject, settings = subject_of(space, settings, network, elastic)
    plan, console = MeasurementPlan(subject, settings, out), open_console(120)
    _announce(plan, console)
    if dry_run:
        plan.discard_exported()
        return
    total = first_measurements(plan, done=False) + first_measurements(plan, done=True)
    with Progress(f"measuring {subject.space.name}", total, done=first_measurements(plan, done=True)) as progress:
        table = build_table(plan, lambda module: progress.advance(note=module.name))
    show_quality(table, console)
    same = "" if (network, elastic) == (Asked(), Elastic()) else " (with the same images and choices as here)"
    console.print(f"the table is {out}; use it: nasvit latency use {out} {space}{same}", soft_wrap=True)


def _announce(plan: MeasurementPlan, console: Console) -> None:
    left, policy = first_measurements(plan, done=False), plan.settings.policy
    time_left = datetime.timedelta(seconds=round(estimate_seconds(plan)))
    console.print(
        f"{plan.subject.space.name} on {plan.conditions['device']}: {len(plan.blocks)} unique blocks and "
        f"{len(plan.networks)} whole networks in {policy.rounds} rounds; {left} measurements are left, "
        f"about {time_left} (on a busy machine more: up to {policy.again} more rounds)",
        soft_wrap=True,
    )


def show_quality(table: LatencyTable, console: Console) -> None:
    """Print how well the table predicts networks that it was not fitted on, and how noisy the measurements were."""
    record, rows = table.record, Table(title="error on networks that nothing was fitted on", title_justify="left")
    for heading in ("prediction", "networks", "median error", "largest error", "bias", "Kendall tau"):
        rows.add_column(heading, justify="left" if heading == "prediction" else "right", no_wrap=True)
    corrected = f"{table.scale:.3f} x sum {table.offset:+.3g} ms"
    for name, field in ((corrected, "error"), ("plain sum of blocks", "error_of_plain_sum")):
        error = record[field]
        shares = [f"{100 * error[key]:.1f} %" for key in ("median_relative_error", "largest_relative_error", "bias")]
        rows.add_row(name, str(error["networks"]), *shares, f"{error['kendall_tau']:.3f}")
    console.print(rows)
    if record.get("interpolated"):
        console.print(
            f"{record['interpolated']} of {record['places']} layers have too many combinations of sizes: some were "
            "timed, and the others are interpolated",
            soft_wrap=True,
        )
    noise, fitted = record["noise"], record["correction"]["fitted_on"]
    console.print(
        f"scale and offset were fitted on {fitted} other networks; between rounds measurements differ by "
        f"{100 * noise['median_spread']:.1f} % (median), {noise['noisy']} of {noise['measured']} by more than "
        f"{100 * record['policy']['tolerance']:.0f} %",
        soft_wrap=True,
    )


@checks
def latency_use(
    table: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE.json")],
    space: Name,
    network: OmitArgPrefixes[Asked] = Asked(),  # noqa: B008 - frozen
    elastic: Elastic = Elastic(),  # noqa: B008 - frozen
    architecture: str | None = None,
    sample: Annotated[int, Range(0, 10_000)] = 0,
) -> None:
    """Print the latencies that a table predicts for subnets of its space.

    Args:
        table: a file that nasvit latency build wrote.
        space: what was measured: a name that nasvit spaces lists, a file SPACE.yaml, a network such as timm:resnet18,
            or the file of an experiment.
        network: images of a network that is named without an experiment.
        elastic: what is decided in such a network.
        architecture: a subnet to predict besides the smallest and the largest: a file ARCHITECTURE.json; of a space,
            also a published subnet, or the folder of a saved one.
        sample: number of random subnets to predict besides.
    """
    subject, _ = subject_of(space, MeasurementSettings(), network, elastic)
    loaded, console = subject.load(table), open_console(120)
    console.print(describe_device(loaded, str(table)), soft_wrap=True)
    subnets = _subnets(subject, architecture, sample)
    rows = Table(title_justify="left")
    for heading in ("subnet", "latency", "architecture"):
        rows.add_column(heading, justify="right" if heading == "latency" else "left")
    predicted = loaded.latency(subject.space.encode(list(subnets.values())))
    for (name, subnet), milliseconds in zip(subnets.items(), predicted, strict=True):
        rows.add_row(name, f"{milliseconds:.4g} ms", describe(subnet))
    console.print(rows)


def _subnets(subject: Subject[Any], which: str | None, sample: int) -> dict[str, Any]:
    """Return the subnets to predict, by the names to print."""
    space = subject.space
    subnets = {"smallest": space.smallest, "largest": space.largest}
    if which is not None:
        subnets[Path(which).name] = _found(space, which)
    drawn = space.decode(space.genome.sample(sample, np.random.default_rng(0)))
    return subnets | {f"random-{number}": subnet for number, subnet in enumerate(drawn)}


def _found(space: SearchSpace, which: str) -> Any:
    """Return an architecture of a space by its name."""
    if isinstance(space, Space):
        return find_architecture(space, which)
    if not Path(which).is_file():
        raise ValueError(f"there is no file {which!r}; legal: an architecture's JSON file")
    return space.architecture(read_json(which))


@dataclass(frozen=True)
class _Error:
    """The error of a table on networks that nothing was fitted on."""

    networks: int
    median_relative_error: float
    kendall_tau: float


@dataclass(frozen=True)
class _Told:
    """What a table says of how it was measured; earlier ones do not say where, nor in which precision."""

    device: str
    runtime: str
    threads: int
    batch_size: int
    date: str
    error: _Error
    versions: dict[str, str]
    command: str | None = None
    runs_on: str | None = None
    precision: str = "float32"


def describe_device(table: LatencyTable, name: str = "the table") -> str:
    """Return one line with the device, the conditions and the error of a table.

    Raises:
        ValueError: if it does not say them; ``name`` is what the message calls it.
    """
    told = from_json_value(_Told, table.record, name, more=True)
    ran = f"{told.runtime} {told.versions.get(told.runtime, '')}" + (" by command" if told.command else "")
    place, error = told.runs_on or "cpu", told.error
    where = f"{told.threads} threads" if place == "cpu" else f"on {place}"
    return (
        f"{told.device}: {ran}, {where}, {told.precision}, batch size {told.batch_size}, measured {told.date}; on "
        f"{error.networks} held-out networks the median error was {100 * error.median_relative_error:.1f} % and "
        f"Kendall's tau {error.kendall_tau:.3f}"
    )
