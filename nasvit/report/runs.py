"""``nasvit runs``: the runs in a folder, how far each of them is, and what it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from nasvit.experiment import plan as plans
from nasvit.experiment.clock import LABELS, minutes
from nasvit.experiment.pipeline import stages_of
from nasvit.experiment.workbench import PLAN
from nasvit.files.held import holder_of
from nasvit.report.console import open_console, short
from nasvit.report.page.again import experiment_of
from nasvit.report.page.head import changed, reached, times_of, title
from nasvit.report.page.holding import Entry, Holding, read_folder
from nasvit.report.page.networks import width_words
from nasvit.report.page.reading import Fields, mapping_of, number_of
from nasvit.tasks.task import title_of

_ORDER = "finetuned", "scratch", "extracted", "supernet"
"""What a network's score is taken from: its last training for its own sake."""


@dataclass(frozen=True)
class Found:
    """A network of a run, in words; what is not known yet is empty.

    Args:
        name: its budget, or its name.
        macs: multiply-adds.
        params: parameters.
        score: score on test images, with its metric.
    """

    name: str
    macs: str = ""
    params: str = ""
    score: str = ""


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        name: name of its folder.
        what: network or space, and images.
        state: how far it is.
        when: when it was last written to.
        took: what it took so far; empty if nobody counted.
        networks: what it found, or the budgets that it looks for networks within.
        notes: which process is writing there, and which files are damaged.
    """

    name: str
    what: str
    state: str
    when: datetime
    took: str
    networks: tuple[Found, ...]
    notes: tuple[str, ...]


def show_runs(folder: Path) -> None:
    """Print the runs in a folder, the latest first.

    Args:
        folder: folder whose folders are runs, or one run.

    Raises:
        ValueError: if there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the one that runs are in, such as runs")
    found, broken = runs_in(folder)
    if found:
        console = open_console()
        console.print(_table(found))
    else:
        print(f"no runs of nasvit run or nasvit fit are in {folder}")
    for line in [*(f"{run.name}: {note}" for run in found for note in run.notes), *broken]:
        print(line)


def runs_in(folder: Path) -> tuple[list[Run], list[str]]:
    """Return the runs in a folder, the latest first, and a line for every one that cannot be read.

    Args:
        folder: folder whose folders are runs, or one run; other folders in it are passed over.
    """
    found, broken = [], []
    for path in _candidates(folder):
        try:
            run = _read(path)
        except Exception as error:  # whatever is in it: the others are shown
            said = str(error).strip().partition("\n")[0]
            broken.append(f"{path.name}: cannot be read: {type(error).__name__}: {said}")
            continue
        found += [] if run is None else [run]
    return sorted(found, key=lambda run: run.when, reverse=True), broken


def _candidates(folder: Path) -> list[Path]:
    whole = folder.absolute()
    try:
        alone = _read(whole)
    except Exception:
        alone = None
    return [whole] if alone is not None else sorted(path for path in folder.iterdir() if path.is_dir())


def _read(folder: Path) -> Run | None:
    """Return the run in a folder; None if it is none."""
    holder = holder_of(folder)
    try:
        holding = read_folder(folder)
    except ValueError:
        if holder is None:
            return None
        return Run(folder.name, "", "running, just begun", _of_folder(folder), "", (), (_written_by(holder),))
    if holding.kind == "network" or ("data" not in holding.config and not holding.reader.notes and holder is None):
        return None
    state, notes = _state(holding), () if holder is None else (_written_by(holder),)
    if not holding.results:
        state = f"{'running' if holder else 'stopped'}: {state}"
    wall = sum(number_of(each["wall"]) for each in times_of(holding).values())
    networks = tuple(_networks(holding))
    return Run(
        folder.name,
        title(holding),
        state,
        changed(holding) or _of_folder(folder),
        minutes(wall) if wall else "",
        networks,
        (*notes, *holding.reader.notes),
    )


def _of_folder(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)


def _written_by(holder: dict[str, Any]) -> str:
    owner = holder["owner"]
    return (
        f"`{holder.get('command')}` writes there since {holder.get('since')}, process {owner.get('process')} on "
        f"{owner.get('host')}"
    )


def _state(holding: Holding) -> str:
    """Return how far a run is, whether or not it goes on."""
    if holding.results:
        return "finished"
    if holding.kind == "fit":
        return "evaluation" if holding.entries[0].networks else "training" if holding.entries[0].trainings else "begun"
    stage = reached(holding)
    if stage is None:
        return "nothing was trained yet"
    experiment = experiment_of(holding)
    plan = holding.reader.mapping(PLAN).get("plan")
    if experiment is not None and plan:
        experiment = plans.planned(experiment, plans.from_json(plan))
    named = "finetune" if stage == "compare" else stage
    stages = [] if experiment is None else stages_of(experiment)
    number = f"stage {stages.index(named) + 1} of {len(stages)}, " if named in stages else ""
    return f"{number}{LABELS[stage]}"


def _networks(holding: Holding) -> Iterator[Found]:
    if holding.kind == "fit":
        yield from _fitted(holding)
        return
    entries = holding.chosen
    for entry in entries:
        yield _chosen(holding, entry)
    if not entries:
        yield from (Found(str(each)) for each in mapping_of(holding.config.get("search")).get("budgets") or ())


def _chosen(holding: Holding, entry: Entry) -> Found:
    scores = mapping_of(entry.row.get("scores"))
    score = next((scores[how] for how in _ORDER if how in scores), None)
    costs = entry.row if "macs" in entry.row else mapping_of(entry.choice.get("costs"))
    return _found(entry.title, costs, score, holding.metric)


def _fitted(holding: Holding) -> Iterable[Found]:
    results, metric = holding.results, holding.metric
    widths = [each for each in results.get("widths") or () if isinstance(each, dict)]
    if widths:
        return [_found(f"width {width_words(each.get('width'))}", each, each.get("score"), metric) for each in widths]
    score = mapping_of(results.get("deployed")).get(metric)
    return [_found(holding.entries[0].title, results, score, metric)]


def _found(name: str, costs: Fields, score: object, metric: str) -> Found:
    macs, params = (short(number_of(costs[each])) if each in costs else "" for each in ("macs", "params"))
    return Found(name, macs, params, "" if score is None else f"{title_of(metric)} {number_of(score):.2%}")


def _table(runs: Iterable[Run]) -> Table:
    table = Table(show_edge=False)
    for heading in ("run", "of", "state", "last change", "time", "network", "MACs", "parameters", "on test images"):
        is_number = heading in ("time", "MACs", "parameters", "on test images")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=heading == "run", overflow="fold")
    for run in runs:
        networks = run.networks or (Found(""),)
        for number, each in enumerate(networks):
            when = run.when.strftime("%Y-%m-%d %H:%M UTC")
            about = (run.name, run.what, run.state, when, run.took) if number == 0 else ("",) * 5
            table.add_row(*about, each.name, each.macs, each.params, each.score)
    return table
