"""The page: sections of what a folder holds, each only if there is something to show, in one HTML text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jinja2

from nasvit.experiment.stages.unmeasured import UNMEASURED_BY
from nasvit.files.records import versions
from nasvit.report.console import short
from nasvit.report.page.blocks import network_blocks
from nasvit.report.page.curves import curves
from nasvit.report.page.drawing import Drawing, drawing
from nasvit.report.page.front import searched
from nasvit.report.page.head import head
from nasvit.report.page.holding import Entry, Holding, recipe_of
from nasvit.report.page.mistakes import mistakes, shown_network
from nasvit.report.page.networks import table, tiles
from nasvit.report.page.reading import mapping_of
from nasvit.report.page.shipped import files, times
from nasvit.report.page.words import architecture_words, recipe_words

T = TypeVar("T")

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        name: name of its template, and of its place in the page.
        title: its heading.
        content: what its template shows.
    """

    name: str
    title: str
    content: Any


@dataclass(frozen=True)
class Portrait:
    """One network, as the section of architectures shows it.

    Args:
        title: its name.
        words: its architecture in one line.
        drawing: its blocks; None if they are not known yet.
        recipe: what is on of its recipe.
    """

    title: str
    words: str
    drawing: Drawing | None
    recipe: list[tuple[str, str]]


@dataclass
class _Tried:
    """Makes what the page shows: what goes wrong in one part is a line, and not the end of the page."""

    problems: list[str] = field(default_factory=list)

    def __call__(self, what: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Exception as error:  # a damaged file may fail anywhere, and the rest is worth having
            words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.problems.append(f"{what} cannot be shown: {words}")
            return None


def page(holding: Holding, images: int) -> str:
    """Return the page of a folder as HTML.

    Args:
        holding: what the folder holds.
        images: test images that are tried, at most; 0: none.
    """
    tried = _Tried()
    top = tried("the head", lambda: head(holding))
    best = tried("the best network", lambda: shown_network(holding))
    shown = [each for each in _sections(holding, best, images, tried) if each.content]
    template = _environment().get_template("page.html")
    return template.render(
        head=top,
        tiles=tried("the numbers of the best network", lambda: tiles(holding, best)) or [],
        best="" if best is None else best.described,
        sections=shown,
        missing=tried("the rest", lambda: [*_missing(holding, best, {each.name for each in shown}, images)]) or [],
        problems=[*holding.reader.notes, *tried.problems],
        folder=holding.folder,
        version=versions()["nasvit"],
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    return environment


def _sections(holding: Holding, best: Entry | None, images: int, tried: _Tried) -> Iterable[Section]:
    yield Section("networks", "Networks", tried("the table of networks", lambda: table(holding)))
    yield Section("curves", "Training", tried("the curves", lambda: curves(holding)))
    yield Section("search", "Search", tried("the search", lambda: searched(holding)))
    yield Section("architectures", "Architectures", _portraits(holding, tried))
    if best is not None and images:
        yield Section("mistakes", "Mistakes", tried("mistakes", lambda: mistakes(best, images)))
    yield Section("files", "Files for other runtimes", tried("exported files", lambda: files(holding)))
    yield Section("times", "Latency", tried("times", lambda: times(holding)))


def _portraits(holding: Holding, tried: _Tried) -> list[Portrait]:
    found = []
    for entry in holding.chosen:
        drawn = tried(f"the blocks of {entry.title}", partial(_drawn, holding, entry))
        recipe = tried(f"the recipe of {entry.title}", partial(_recipe, holding, entry)) or []
        words = tried(f"the sizes of {entry.title}", partial(architecture_words, entry.architecture)) or ""
        if drawn is not None or recipe:
            found.append(Portrait(entry.title, words, drawn, recipe))
    return found


def _drawn(holding: Holding, entry: Entry) -> Drawing | None:
    return drawing(network_blocks(holding, entry))


def _recipe(holding: Holding, entry: Entry) -> list[tuple[str, str]]:
    return recipe_words(recipe_of(holding.reader, entry) or mapping_of(holding.config.get("recipe")))


def _missing(holding: Holding, best: Entry | None, there: set[str], images: int) -> Iterable[str]:
    """Yield what is not in the page, and why or what would bring it."""
    saved = None if best is None else best.deployed
    if holding.kind != "network" and not holding.results:
        yield "Results on the test images: they are measured in the last stage."
    if "curves" not in there and holding.kind != "network":
        yield "Curves: no training has begun, or its log is gone."
    if "search" not in there and holding.kind == "experiment":
        by = [mapping_of(entry.choice.get("evidence")).get("judged_by") for entry in holding.chosen]
        yield f"Candidates of a search: none was {'needed' if {*by} & {*UNMEASURED_BY} else 'evaluated yet'}."
    if not images:
        yield "Mistakes: left out, as was asked for."
    elif saved is None:
        yield "Mistakes: there is no network to try yet."
    if "files" not in there and saved is not None:
        yield f"Files for other runtimes: nasvit export {saved} --to onnx writes one."
    if "times" not in there and saved is not None:
        yield f"Latency: nasvit bench {saved} --out {saved}/times.json measures it."
