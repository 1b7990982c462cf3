"""What a folder is: data, classes, how far it got, when, for how long, and the file that makes it again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from nasvit.experiment import plan as plans
from nasvit.experiment.clock import LABELS, TIMES, minutes
from nasvit.experiment.stages.evaluate import RESULTS
from nasvit.experiment.workbench import CLASSES, PLAN, SPLIT
from nasvit.export.card import CARD, CONFIG
from nasvit.report.page.again import again
from nasvit.report.page.holding import LOG, Holding, card_of
from nasvit.report.page.reading import Fields, mapping_of, number_of
from nasvit.report.page.words import plain

_KINDS = ("wall", "processor")
MOST_CLASSES = 200
"""Names of classes that are listed."""


@dataclass(frozen=True)
class Stage:
    """What one stage took.

    Args:
        name: its name.
        wall: seconds on the clock.
        processor: seconds of processors.
        share: of the longest stage, from 0 to 1.
    """

    name: str
    wall: str
    processor: str
    share: float


@dataclass(frozen=True)
class Head:
    """What a folder is.

    Args:
        title: what was made.
        folder: the folder.
        finished: whether it is finished.
        state: how far it got, in words.
        note: remark of the configuration.
        facts: what is worth knowing, by name.
        classes: names of the classes.
        stages: what the stages took.
        in_all: what they took together.
        plan: how the time was divided, in sentences.
        config: the file that makes it again.
        again: how; empty if the file is no longer read.
        versions: versions of packages.
    """

    title: str
    folder: str
    finished: bool
    state: str
    note: str
    facts: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    stages: tuple[Stage, ...]
    in_all: str
    plan: tuple[str, ...]
    config: str
    again: str
    versions: str

    @property
    def listed_classes(self) -> str:
        """Names of the classes in one line, not more than can be read."""
        names, left = ", ".join(self.classes[:MOST_CLASSES]), len(self.classes) - MOST_CLASSES
        return f"{names} and {left} more" if left > 0 else names


def head(holding: Holding) -> Head:
    """Return what a folder is."""
    config, reader = holding.config, holding.reader
    finished = bool(holding.results) or holding.kind == "network"
    classes, stages, (text, command) = _classes(holding), [*_stages(holding)], again(holding)
    versions = holding.results.get("versions") or _card(holding).get("versions")
    times = times_of(holding).values()
    wall, processor = (sum(number_of(each[name]) for each in times) for name in _KINDS)
    return Head(
        title(holding),
        str(holding.folder),
        finished,
        "finished" if finished else _reached(holding),
        str(config.get("note") or ""),
        tuple(_facts(holding, classes)),
        classes,
        tuple(stages),
        f"{minutes(wall)} in all (processor {minutes(processor)})" if stages else "",
        tuple(_plan(reader.mapping(PLAN).get("plan"))),
        text,
        command,
        plain(mapping_of(versions)),
    )


def _source(holding: Holding) -> str:
    data = mapping_of(holding.config.get("data"))
    return str(holding.results.get("data") or data.get("source") or _origin(holding).get("data") or "")


def title(holding: Holding) -> str:
    """Return what was made of a folder, and of which images."""
    what = str(holding.config.get("space") or holding.config.get("network") or "")
    if holding.kind == "network":
        what = what or str(_card(holding).get("kind", "network"))
    on = _source(holding)
    return f"{what or holding.folder.name} on {on}" if on else what or holding.folder.name


def _card(holding: Holding) -> Fields:
    """Return the content of the card of a folder that is one network, or of the network that a training deployed."""
    folder = holding.entries[0].deployed if holding.kind != "experiment" and holding.entries else None
    return {} if folder is None else card_of(holding.reader, folder)


def _origin(holding: Holding) -> Fields:
    return mapping_of(_card(holding).get("origin"))


def _classes(holding: Holding) -> tuple[str, ...]:
    """Return the names of the classes, as the first card that there is tells them."""
    names = holding.reader.json(CLASSES)
    for entry in holding.entries:
        for folder in entry.networks.values():
            names = names or card_of(holding.reader, folder).get("classes")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _facts(holding: Holding, classes: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    config, results = holding.config, holding.results
    split, search = holding.reader.mapping(SPLIT), mapping_of(config.get("search"))
    counts = {
        "training": split.get("train") or results.get("training_images"),
        "held out": split.get("held_out"),
        "test": results.get("test_images"),
    }
    images = ", ".join(f"{count:,} {name}" for name, count in counts.items() if isinstance(count, int))
    budgets = "; ".join(map(str, search.get("budgets") or ()))
    trained, latest = mapping_of(_card(holding).get("image")), changed(holding)
    found = {
        "data": _source(holding),
        "images": images,
        "classes": str(len(classes) or len(split.get("held_out_per_class") or ()) or ""),
        "search space": str(config.get("space") or ""),
        "network": str(config.get("network") or ""),
        "kind": str(_card(holding).get("kind") or ""),
        "image size": f"{trained['side']} px, {trained.get('channels')} channels" if trained.get("side") else "",
        "weights": str(_origin(holding).get("weights") or "") if holding.kind == "network" else "",
        "budgets": budgets,
        "hours": plain(config["hours"]) if config.get("hours") else "",
        "seed": str(config.get("seed", "")),
        "device": str(results.get("device", "")),
        "last change": "" if latest is None else latest.strftime("%Y-%m-%d %H:%M UTC"),
    }
    return [(name, value) for name, value in found.items() if value]


def changed(holding: Holding) -> datetime | None:
    """Return when a folder was last written to, by the files that its stages write; None: they are not there yet."""
    names = (RESULTS, TIMES, CARD, CONFIG, f"train/{LOG}", f"training/{LOG}", "search/choices.json")
    paths = [path for name in names if (path := holding.folder / name).is_file()]
    paths += [path / LOG for entry in holding.entries for path in entry.trainings.values()]
    if not paths:
        return None
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in paths), timezone.utc)


def times_of(holding: Holding) -> dict[str, Fields]:
    """Return the seconds of every stage; of a training what its results say."""
    found = {name: mapping_of(each) for name, each in holding.reader.mapping(TIMES).items()}
    seconds = holding.results.get("training_seconds")
    if not found and isinstance(seconds, (int, float)):
        found = {"training": {"wall": seconds, "processor": seconds}}
    known = [name for name, each in found.items() if all(math.isfinite(number_of(each.get(kind))) for kind in _KINDS)]
    return {name: found[name] for name in known}


def _stages(holding: Holding) -> Iterable[Stage]:
    times = times_of(holding)
    longest = max((number_of(each["wall"]) for each in times.values()), default=0) or 1.0
    for name, each in times.items():
        wall, processor = number_of(each["wall"]), number_of(each["processor"])
        yield Stage(LABELS.get(name, name), minutes(wall), minutes(processor), wall / longest)


def _reached(holding: Holding) -> str:
    """Return how far an unfinished folder got."""
    if holding.kind == "fit":
        entry = holding.entries[0]
        there = "evaluation" if entry.networks else "training" if entry.trainings else "the start"
        return f"not finished: {there} was reached"
    stage = reached(holding)
    return f"not finished: {LABELS[stage]} was reached" if stage else "not finished: nothing was trained yet"


def reached(holding: Holding) -> str | None:
    """Return the last stage that was begun of an experiment, as ``times.json`` names it; None: none was."""
    begun = {*holding.reader.mapping(TIMES), *_by_files(holding)}
    return next((stage for stage in reversed(LABELS) if stage in begun), None)


def _by_files(holding: Holding) -> Iterable[str]:
    """Yield the stages that left files: how long they took is written a few seconds after they begin."""
    there = {
        "train": (holding.folder / "train").exists(),
        "search": (holding.folder / "search").exists(),
        "extract": any("extracted" in entry.networks for entry in holding.entries),
        "finetune": any(entry.trainings for entry in holding.entries),
    }
    return (stage for stage, is_there in there.items() if is_there)


def _plan(content: Any) -> list[str]:
    try:
        return [line.strip() for line in plans.from_json(content).lines()] if content else []
    except (KeyError, TypeError):
        return []  # of another version
