"""The networks of a folder as a table: what they cost and what they score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nasvit.costs.counting import count
from nasvit.experiment.stages.jobs import KINDS
from nasvit.experiment.stages.unmeasured import UNMEASURED_BY, describe_evidence
from nasvit.export.card import Card
from nasvit.report.console import asks_int8_size, in_kilobytes, short
from nasvit.report.page.blocks import plain_network
from nasvit.report.page.holding import Entry, Holding
from nasvit.report.page.plotting import Dot, Figure, Key, in_thousands, plot
from nasvit.report.page.reading import Fields, mapping_of, number_of
from nasvit.report.page.words import plain
from nasvit.report.results import HOW, compared, table_of
from nasvit.specs import WidthsSpec
from nasvit.tasks.task import title_of


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: what the numbers are.
        headings: headings of the columns; the first one is that of names.
        rows: cells of the rows.
        notes: what the columns mean.
        figures: scores against costs, if there are several networks.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Tile:
    """A number that stands out.

    Args:
        value: the number.
        name: what it is.
    """

    value: str
    name: str


def table(holding: Holding) -> Table | None:
    """Return the table of the networks; None if there are none yet."""
    if holding.kind == "experiment":
        return _results(holding) if holding.rows else _choices(holding)
    if holding.kind == "fit":
        return _fitted(holding)
    return _alone(holding.entries[0])


def tiles(holding: Holding, entry: Entry | None) -> list[Tile]:
    """Return the numbers of the network that a user would take; none if it was not evaluated."""
    deployed = mapping_of(holding.results.get("deployed"))
    row: Fields = holding.results if deployed else {} if entry is None else entry.row
    if "macs" not in row or entry is None or entry.deployed is None:
        return []
    score = deployed.get(holding.metric, mapping_of(row.get("scores")).get(entry.deployed.name))
    found = [] if score is None else [Tile(f"{100 * number_of(score):.2f}%", f"test {title_of(holding.metric)}")]
    found += [Tile(short(row["macs"]), "multiply-adds"), Tile(short(row["params"]), "parameters")]
    found += [Tile(in_kilobytes(row["memory"]), "peak memory")] if "memory" in row else []
    asked = "int8_size" in row and asks_int8_size([entry.title])
    return found + ([Tile(in_kilobytes(row["int8_size"]), "int8 size")] if asked else [])


def _results(holding: Holding) -> Table:
    rows = [dict(each) for each in holding.rows]
    headings, cells = table_of(rows)
    names = [str(row["budget"]) or f"({row['name']})" for row in rows]
    metric, images = title_of(holding.metric), holding.results.get("test_images")
    title = f"{holding.results.get('data')}: {metric} on {images} test images (%)"
    whole = tuple((name, *each) for name, each in zip(names, cells))
    return Table(
        title, ("budget", *headings), whole, (*_reasons(holding), *compared(rows)), tuple(_against_costs(holding))
    )


def _against_costs(holding: Holding) -> Iterable[Figure]:
    """Yield plots of test scores against costs: of chosen networks, and of those that they are compared with."""
    shown = [entry for entry in holding.entries if entry.row.get("scores")]
    if len(shown) > 1:
        yield _against("macs", "multiply-adds", title_of(holding.metric), shown)
        yield _against("params", "parameters", title_of(holding.metric), shown)


def _against(cost: str, name: str, metric: str, shown: Sequence[Entry]) -> Figure:
    kinds = [kind for kind in HOW if any(kind in entry.row["scores"] for entry in shown)]
    kinds = [kind for kind in kinds if kind != "extracted"]  # scores as in the supernet

    unit, unit_name = in_thousands(max(entry.row[cost] for entry in shown))

    def paint(axes: Any) -> list[Dot]:
        dots = [
            Dot(entry.row[cost] / unit, 100 * entry.row["scores"][kind], _says(entry, kind), _style(number, entry), 4.5)
            for number, kind in enumerate(kinds)
            for entry in shown
            if kind in entry.row["scores"]
        ]
        axes.plot([dot.x for dot in dots], [dot.y for dot in dots], linestyle="none")
        axes.margins(0.08)
        axes.set(xlabel=f"{name} ({unit_name})", ylabel=f"test {metric} (%)")
        return dots

    keys = [Key(f"series-{number + 1} filled", HOW[kind]) for number, kind in enumerate(kinds)]
    compared_with = [Key("hollow end", "for comparison")] if any(not entry.choice for entry in shown) else []
    title = f"Test {metric} against {name}"
    return plot(f"tested-{cost}", title, paint, keys=[*keys, *compared_with])


def _style(number: int, entry: Entry) -> str:
    return f"series-{number + 1} {'filled' if entry.choice else 'hollow'}"


def _says(entry: Entry, kind: str) -> str:
    row = entry.row
    score = f"{100 * row['scores'][kind]:.2f}%"
    return f"{entry.title}, {HOW[kind]}: {score}; {short(row['macs'])} MACs, {short(row['params'])} parameters"


def _choices(holding: Holding) -> Table | None:
    """Return what the search chose, before anything was evaluated on test images."""
    chosen = [entry for entry in holding.entries if entry.choice]
    if not chosen:
        return None
    rows, more = [], ("int8 size",) if asks_int8_size(entry.title for entry in chosen) else ()
    for entry in chosen:
        costs, score = mapping_of(entry.choice.get("costs")), entry.choice.get("score")
        measured = "" if score is None else f"{100 * number_of(score):.2f}"
        sizes = [_bytes(costs, "int8_size") for _ in more]
        rows.append((entry.title, *_costs(costs), *sizes, measured, _trained(entry)))
    searched = f"held-out {title_of(holding.metric)} in the search"
    headings = ("budget", "MACs", "parameters", "peak memory", *more, searched, "saved")
    return Table("Chosen, and not evaluated on test images yet", headings, tuple(rows), tuple(_reasons(holding)))


def _reasons(holding: Holding) -> Iterable[str]:
    """Yield what the choice of each network rests on, as far as it was recorded."""
    for entry in holding.entries:
        evidence = dict(mapping_of(entry.choice.get("evidence")))
        if evidence.get("judged_by") in UNMEASURED_BY:
            yield f"{entry.title}: {describe_evidence(evidence)}."
        elif "images" in evidence:
            name, others = evidence.get("judged_by"), len(evidence.get("equals") or ())
            judged_by = title_of(holding.metric) if name == "score" else name
            as_good = f"; {others} other{'s' * (others != 1)} measured as good, as far as can be seen" if others else ""
            yield f"{entry.title}: the best by {judged_by} on {evidence['images']} held-out images{as_good}."


def _costs(costs: Fields) -> tuple[str, ...]:
    counts = (short(number_of(costs[name])) if name in costs else "" for name in ("macs", "params"))
    return (*counts, _bytes(costs, "memory"))


def _bytes(costs: Fields, name: str) -> str:
    return in_kilobytes(number_of(costs[name])) if name in costs else ""


def _trained(entry: Entry) -> str:
    return ", ".join(KINDS.get(how, how) for how in entry.networks) or "nothing"


def _fitted(holding: Holding) -> Table | None:
    results = holding.results
    title = f"{title_of(holding.metric)} on {results.get('test_images')} test images"
    widths = results.get("widths")
    if isinstance(widths, list):
        named = [(width_words(each.get("width")), each) for each in widths if isinstance(each, dict)]
        rows = tuple((name, *_costs(each)[:2], f"{100 * number_of(each.get('score')):.2f}") for name, each in named)
        return Table(f"{title} (%)", ("width", "MACs", "parameters", title_of(holding.metric)), rows)
    scores = {name: mapping_of(results.get(name)) for name in ("deployed", "before_fusing") if name in results}
    if not scores:
        return None
    numbers: Sequence[str] = [*dict.fromkeys(name for each in scores.values() for name in each)]
    rows = tuple(
        (how.replace("_", " "), *_costs(results)[:2], *(_score(name, each.get(name)) for name in numbers))
        for how, each in scores.items()
    )
    return Table(title, ("network", "MACs", "parameters", *(name.replace("_", " ") for name in numbers)), rows)


def width_words(width: object) -> str:
    """Return one of several widths in words."""
    return plain(width) if isinstance(width, (int, float)) else "found by AutoSlim"


def _score(name: str, value: object) -> str:
    if not isinstance(value, (int, float)):
        return ""
    return f"{value:.4f}" if name == "loss" else f"{value:.2%}"


def _alone(entry: Entry) -> Table | None:
    """Return what one saved network costs."""
    assert entry.deployed is not None
    card = Card.read(entry.deployed)
    if isinstance(card.spec, WidthsSpec):
        return None
    cost = count(plain_network(entry), *card.shape)
    costs = _costs({"macs": cost.macs, "params": cost.params, "memory": cost.memory})
    size = f"{card.shape[1]}×{card.shape[2]}, {card.shape[0]} channels"
    headings = ("network", "images", "classes", "MACs", "parameters", "peak memory")
    return Table("One saved network", headings, ((entry.title, size, str(len(card.classes)), *costs),))
