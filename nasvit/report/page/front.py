"""The search: every candidate that was evaluated, the front, what was chosen, and how well the predictor ranked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasvit.experiment.workbench import STUDY
from nasvit.report.console import short
from nasvit.report.page.holding import Holding
from nasvit.report.page.plotting import Dot, Figure, Key, color, in_thousands, plot
from nasvit.report.page.reading import Fields, Reader, mapping_of, number_of
from nasvit.report.page.words import architecture_words
from nasvit.search.judge import Judge
from nasvit.search.optuna_sampler import records_in
from nasvit.search.pareto import pareto_front
from nasvit.tasks.task import Metric, title_of

_KEYS = {
    "other": "evaluated",
    "finalist": "measured thoroughly",
    "chosen": "chosen",
    "compared": "compared with",
}
_RADIUS = {"other": 2.2, "finalist": 2.8, "chosen": 5.5, "compared": 4.0}
_MOST_WORDS = 160  # letters of a name: what thousands of points say must not make the page heavy


@dataclass(frozen=True)
class Searched:
    """What is known of a search.

    Args:
        figures: front, predictor.
        notes: how much was evaluated, and what the predictor is worth, in sentences.
    """

    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


def searched(holding: Holding) -> Searched | None:
    """Return what is known of the search; None if nothing was evaluated."""
    reader = holding.reader
    others, finalists = _evaluated(reader), _finalists(reader)
    figures, notes = list[Figure](), list[str]()
    if others or finalists:
        figures.append(_front(holding, others, finalists))
        notes.append(_counted(holding, others, finalists))
    quality = reader.mapping("search/predictor.json")
    figures += [each for each in (_predicted(quality) or _learning(quality),) if each is not None]
    notes += _quality(quality)
    return Searched(tuple(figures), tuple(notes)) if figures or notes else None


def _evaluated(reader: Reader) -> list[Fields]:
    """Return what the search learned from; of an unfinished one what its database holds."""
    lines = reader.lines("search/evaluations.jsonl")
    path = reader.folder / STUDY
    if lines or not path.is_file():
        return _drawable(lines)
    try:
        return _drawable(records_in(path))
    except ValueError as error:
        reader.note(path, error)
        return []


def _finalists(reader: Reader) -> list[Fields]:
    """Return what was measured thoroughly in the last search of the folder."""
    folder = reader.folder / "search"
    study = str(reader.mapping("search/asked.json").get("study", ""))
    files = sorted(folder.glob("finalists-*.jsonl"), key=lambda path: path.stat().st_mtime)
    named = [path for path in files if study and path.stem.endswith(study)]
    return _drawable(reader.lines(Path("search") / (named or files)[-1].name)) if files else []


def _drawable(records: Iterable[Fields]) -> list[Fields]:
    return [each for each in records if math.isfinite(number_of(each.get("score"))) and "macs" in each]


def _judge(holding: Holding) -> Judge:
    """Return what decided in this search, as its choices tell."""
    evidence = [mapping_of(entry.choice.get("evidence")) for entry in holding.entries]
    by = next((each["judged_by"] for each in evidence if "judged_by" in each), "score")
    loss = Metric("loss", higher_is_better=False)
    return Judge(Metric(holding.metric), loss, by_loss=by == "loss")


def _front(holding: Holding, others: Sequence[Fields], finalists: Sequence[Fields]) -> Figure:
    judge = _judge(holding)
    percent = judge.decisive == judge.metric
    scale = 100 if percent else 1
    thorough = {each.get("key") for each in finalists}
    chosen = _marked(holding, [*finalists, *others], chosen=True)
    compared = _marked(holding, [*finalists, *others], chosen=False)
    drawn = {
        "other": [each for each in others if each.get("key") not in thorough],
        "finalist": list(finalists),
        "compared": compared,
        "chosen": chosen,
    }
    front = pareto_front(finalists or others, judge)
    unit, unit_name = in_thousands(max(each["macs"] for each in [*others, *finalists]))

    def paint(axes: Any) -> list[Dot]:
        dots = [
            Dot(each["macs"] / unit, scale * judge.value(each), _says(each, holding.metric), kind, _RADIUS[kind])
            for kind, records in drawn.items()
            for each in records
        ]
        axes.plot([dot.x for dot in dots], [dot.y for dot in dots], linestyle="none")  # axes that hold all
        x, y = [each["macs"] / unit for each in front], [scale * judge.value(each) for each in front]
        axes.step(x, y, where="post", color=color(0), label="front")
        of_score = "(%)" if percent else "(lower is better)"
        axes.set(xlabel=f"multiply-adds ({unit_name})", ylabel=f"held-out {judge.decisive.name} {of_score}")
        if not judge.decisive.higher_is_better:
            axes.invert_yaxis()
        return dots

    keys = [Key(kind, _KEYS[kind]) for kind, records in drawn.items() if records]
    return plot("front", "Candidates of the search", paint, keys=keys, note="Point at one to read what it is.")


def _marked(holding: Holding, known: Sequence[Fields], *, chosen: bool) -> list[Fields]:
    """Return the chosen networks, or those that they are compared with, as the search measured them."""
    by_architecture = {repr(each.get("architecture")): each for each in reversed(known)}
    found: list[Fields] = []
    for entry in holding.entries:
        record = by_architecture.get(repr(dict(entry.architecture)))
        if record is not None and bool(entry.choice) == chosen:
            found.append({**record, "title": entry.title})
    return found


def _says(record: Fields, metric: str) -> str:
    title = f"{record['title']}: " if "title" in record else ""
    costs = f"{short(record['macs'])} MACs, {short(number_of(record.get('params')))} parameters"
    loss = f", loss {record['loss']:.3f}" if math.isfinite(number_of(record.get("loss"))) else ""
    words = architecture_words(mapping_of(record.get("architecture")))
    words = words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"
    return f"{title}{title_of(metric)} {100 * record['score']:.2f}%{loss}; {costs}; {words}"


def _counted(holding: Holding, others: Sequence[Fields], finalists: Sequence[Fields]) -> str:
    asked = mapping_of(holding.config.get("search")).get("evaluations")
    planned = mapping_of(mapping_of(holding.reader.mapping("plan.json")).get("plan")).get("evaluations") or asked
    of = f" of {planned}" if isinstance(planned, int) and planned > len(others) else ""
    return f"{len(others)}{of} candidates were evaluated, {len(finalists)} measured thoroughly."


def _predicted(quality: Mapping[str, Any]) -> Figure | None:
    """Return the plot of what was predicted of held-out candidates against what was measured."""
    held_out = mapping_of(quality.get("held_out"))
    pairs = list(zip(held_out.get("predicted", ()), held_out.get("measured", ())))
    if not pairs:
        return None
    is_score = quality.get("learned") == "score"
    scale, name = (100, "score (%)") if is_score else (-1, f"{quality.get('learned', 'value')}")

    def paint(axes: Any) -> list[Dot]:
        dots = [
            Dot(scale * x, scale * y, f"predicted {scale * x:.3g}, measured {scale * y:.3g}", "finalist")
            for x, y in pairs
        ]
        ends = [min(min(dot.x, dot.y) for dot in dots), max(max(dot.x, dot.y) for dot in dots)]
        axes.plot([dot.x for dot in dots], [dot.y for dot in dots], linestyle="none")
        axes.plot(ends, ends, "--", color=color(7), label="predicted as measured")
        axes.set(xlabel=f"predicted {name}", ylabel=f"measured {name}")
        return dots

    return plot("predicted", "Predicted and measured: candidates that the predictor was not fitted on", paint)


def _learning(quality: Mapping[str, Any]) -> Figure | None:
    """Return the plot of the rank correlation against how many candidates the predictor was fitted on."""
    points = [mapping_of(each) for each in quality.get("learning_curve", ())]
    if len(points) < 2:
        return None

    def paint(axes: Any) -> None:
        x, y = ([number_of(each.get(name)) for each in points] for name in ("trained", "kendall_tau"))
        axes.plot(x, y, "-o", color=color(2), label="Kendall's tau", markersize=4)
        axes.set(xlabel="candidates that it was fitted on", ylabel="rank correlation", ylim=(min(0, *y), 1))

    return plot("learning", "How the predictor learns", paint)


def _quality(quality: Mapping[str, Any]) -> list[str]:
    if "kendall_tau" not in quality:
        few = "were too few, or too alike, to tell how the predictor ranks"
        return [f"{quality['distinct']} distinct candidates {few}."] if "distinct" in quality else []
    tau, rho = (number_of(quality.get(name)) for name in ("kendall_tau", "spearman"))
    one, two = (number_of(quality.get(f"within_{name}")) for name in ("one_deviation", "two_deviations"))
    return [
        f"Predictor on held-out candidates: rank correlation {tau:.2f} (Kendall), {rho:.2f} (Spearman); {one:.0%} are "
        f"within one predicted standard deviation (68% is right), {two:.0%} within two (95%).",
        *_rising(quality),
    ]


def _rising(quality: Mapping[str, Any]) -> list[str]:
    points = [mapping_of(each) for each in quality.get("learning_curve", ())]
    if len(points) < 2:
        return []
    words = [f"{number_of(each.get('kendall_tau')):.2f} of {each.get('trained')}" for each in points]
    return [f"Its rank correlation (Kendall) by the candidates that it is fitted on: {', '.join(words)}."]
