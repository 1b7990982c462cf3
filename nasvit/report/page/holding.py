"""What a folder holds: an experiment, one training, or a network, each finished or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasvit.experiment.clock import TIMES
from nasvit.experiment.fit import CONFIG, DEPLOYED
from nasvit.experiment.stages.choice import CHOICES
from nasvit.experiment.stages.evaluate import RESULTS
from nasvit.experiment.stages.jobs import ASKED, KINDS
from nasvit.experiment.workbench import PLAN, RECORD, SPLIT, SUPERNET
from nasvit.export.card import CARD, IN_CONFIG, is_card
from nasvit.export.card import CONFIG as OF_HUB
from nasvit.report.page.reading import Fields, Reader, mapping_of

Kind = Literal["experiment", "fit", "network"]

_OF_EXPERIMENTS = (RECORD, PLAN, SPLIT, TIMES, SUPERNET, "train", "search", "subnets")
_OF_FITS = (CONFIG, "training", DEPLOYED)
LOG = "metrics.jsonl"


@dataclass(frozen=True)
class Entry:
    """One network, with all that was made of it.

    Args:
        name: name of its folder.
        title: its budget, or its name.
        networks: how each saved network of it was trained -> its folder.
        trainings: how it was trained -> the folder of the training.
        row: its row in the results; empty if it was not evaluated.
        choice: how the search chose it; empty for comparisons.
    """

    name: str
    title: str
    networks: Mapping[str, Path] = field(default_factory=dict)
    trainings: Mapping[str, Path] = field(default_factory=dict)
    row: Fields = field(default_factory=dict)
    choice: Fields = field(default_factory=dict)

    @property
    def deployed(self) -> Path | None:
        """Folder of the network that a user would take: the one that was trained last, for its own sake."""
        order = [DEPLOYED, "finetuned", "scratch", "scratch_time", "extracted", ""]
        return next((self.networks[how] for how in order if how in self.networks), None)

    @property
    def described(self) -> str:
        """Its title, and how it was trained."""
        how = "" if self.deployed is None else {**KINDS, "extracted": "extracted"}.get(self.deployed.name, "")
        return f"{self.title}, {how}" if how else self.title

    @property
    def architecture(self) -> Fields:
        """Fields of its architecture; none if it has none."""
        return mapping_of(self.choice.get("architecture") or self.row.get("architecture"))


@dataclass(frozen=True)
class Holding:
    """What a folder holds.

    Args:
        reader: reads its files.
        kind: what made it.
        config: configuration that was asked for.
        results: content of ``results.json``; empty before the end.
        entries: the networks, chosen ones first.
    """

    reader: Reader
    kind: Kind
    config: Fields
    results: Fields
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.reader.folder

    @property
    def chosen(self) -> tuple[Entry, ...]:
        """The networks that are no comparisons; all, where nothing says which are."""
        return tuple(entry for entry in self.entries if entry.choice) or self.entries

    @property
    def rows(self) -> list[Fields]:
        """The rows of the table of results."""
        return _rows(self.results)

    @property
    def metric(self) -> str:
        """Name of the number that networks are compared by."""
        return str(self.results.get("metric", "accuracy"))


def read_folder(folder: Path) -> Holding:
    """Return what a folder holds.

    Raises:
        ValueError: if there is no such folder, or nothing in it is nasvit's.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one that nasvit run, nasvit fit or nasvit export wrote into")
    reader, kind = Reader(folder), _kind(folder)
    if kind == "experiment":
        results = reader.mapping(RESULTS)
        config = reader.mapping(RECORD) or mapping_of(results.get("config"))
        entries = tuple(_subnets(reader, reader.objects(f"search/{CHOICES}"), _rows(results)))
        return Holding(reader, kind, config, results, entries)
    if kind == "fit":
        results = reader.mapping(RESULTS)
        config = reader.mapping(CONFIG) or mapping_of(results.get("config"))
        return Holding(reader, kind, config, results, (_fitted(folder, config),))
    config = mapping_of(mapping_of(card_of(reader, folder).get("origin")).get("config"))
    return Holding(reader, kind, config, {}, (Entry(folder.name, folder.name, {"": folder}),))


def _kind(folder: Path) -> Kind:
    """Return what made a folder: each file tells, since any may be missing."""
    if (folder / CARD).is_file() or is_card(folder):  # a damaged card is one, too
        return "network"
    if any((folder / name).exists() for name in _OF_FITS):
        return "fit"
    if any((folder / name).exists() for name in (*_OF_EXPERIMENTS, RESULTS)):
        return "experiment"
    raise ValueError(f"{folder} holds nothing that nasvit run, nasvit fit or nasvit export wrote")


def card_of(reader: Reader, folder: Path) -> Fields:
    """Return the content of the card of a saved network, its own or that of a hub; empty if there is none."""
    inside = folder.relative_to(reader.folder)
    return reader.mapping(inside / CARD) or mapping_of(reader.mapping(inside / OF_HUB).get(IN_CONFIG))


def _rows(results: Fields) -> list[Fields]:
    """Return the rows of results, those of earlier versions with what they lack."""
    rows = results.get("rows")
    whole = [each for each in rows if isinstance(each, dict)] if isinstance(rows, list) else []
    return [{"budget": "", "scores": {}, "epochs": {}} | each for each in whole if "name" in each]


def _subnets(reader: Reader, choices: list[dict[str, Any]], rows: list[Fields]) -> Iterable[Entry]:
    """Yield the chosen subnets, those that they are compared with, and any other that there is a folder of."""
    chosen = {str(each["name"]): each for each in choices if "name" in each}
    evaluated = {str(each["name"]): each for each in rows}
    top = reader.folder / "subnets"
    there = sorted(path.name for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    for name in dict.fromkeys([*chosen, *evaluated, *there]):
        choice, row = chosen.get(name, {}), evaluated.get(name, {})
        budget = choice.get("budget") or row.get("budget")
        networks = {how: top / name / how for how in (*KINDS, "extracted") if (top / name / how / CARD).is_file()}
        trainings = {how: top / name / f"{how}-training" for how in KINDS if _has_log(top / name / f"{how}-training")}
        yield Entry(name, str(budget or name), networks, trainings, row, choice)


def _fitted(folder: Path, config: Fields) -> Entry:
    name = str(config.get("network", folder.name))
    networks = {DEPLOYED: folder / DEPLOYED} if (folder / DEPLOYED / CARD).is_file() else {}
    names = {"training": "training", "slimmed-training": "training at the widths found"}
    trainings = {how: folder / name for name, how in names.items() if _has_log(folder / name)}
    return Entry(name, name, networks, trainings)


def _has_log(folder: Path) -> bool:
    return (folder / LOG).is_file()


def recipe_of(reader: Reader, entry: Entry) -> Fields:
    """Return the recipe that a network was trained by: of its own training, or else the one found with it."""
    for how in ("finetuned", "scratch"):
        if how in entry.trainings:
            asked = reader.mapping(entry.trainings[how].relative_to(reader.folder) / ASKED)
            recipe = mapping_of(mapping_of(asked.get("training")).get("recipe"))
            if recipe:
                return recipe
    return mapping_of(entry.row.get("recipe") or entry.choice.get("recipe"))
