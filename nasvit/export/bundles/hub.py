"""A folder for a model hub, laid out as Hugging Face's is: weights, configuration, a model card, exported files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nasvit.export.bundles.contract import Bundle, Told
from nasvit.export.bundles.describe import accuracy_of, compared, files_at, name_of, size_of, source_of, without_folders
from nasvit.export.bundles.snippets import snippets
from nasvit.export.bundles.words import WORDS, Words
from nasvit.export.card import CONFIG, IN_CONFIG, Card
from nasvit.export.formats import FORMATS
from nasvit.export.saved import HUB_WEIGHTS, WEIGHTS
from nasvit.files.records import versions, write_json

LIBRARY = "nasvit"
_HUB_DATA = "hf:"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class HubFolder(Bundle):
    """A folder to upload, which :func:`nasvit.registry.create` also loads as it lies there."""

    name, formats = "hub", ("torch",)
    hint = "a folder for the Hugging Face hub; share it with: hf upload USER/NAME (that folder)"

    def require(self, told: Told) -> None:
        if told.license is not None and not _LICENSE.fullmatch(told.license):
            raise ValueError(
                f"--license {told.license!r}: legal are identifiers as the hub has them, such as apache-2.0, mit, "
                "cc-by-nc-4.0, other"
            )

    def write(self, saved: Path, card: Card, folder: Path, told: Told) -> None:
        files = files_at(card, saved, told.width)
        for entry in files.values():
            for file in entry["files"]:
                shutil.copyfile(saved / file, folder / file)
        weights = saved / WEIGHTS
        shutil.copyfile(weights if weights.exists() else saved / HUB_WEIGHTS, folder / HUB_WEIGHTS)
        shown = replace(card, origin=without_folders(card.origin), exports=without_folders(files), bundles={})
        write_json(folder / CONFIG, configuration(shown))
        (folder / "README.md").write_text(model_card(shown, told), encoding="utf-8", errors="backslashreplace")


def configuration(card: Card) -> dict[str, Any]:
    """Return the configuration of a network on a hub, which holds its whole card."""
    return {
        "library_name": LIBRARY,
        "architecture": name_of(card.spec),
        "num_classes": len(card.classes),
        IN_CONFIG: card.to_json(),
    }


def model_card(card: Card, told: Told) -> str:
    """Return the model card: its header in YAML, and what people want to know in Markdown."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "page"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["text"] = _in_markdown
    entries = sorted(card.exports.values(), key=lambda entry: bool(entry["int8"]))
    channels, height, width = card.shape
    words = WORDS[card.spec.task]
    text: str = pages.get_template("model-card.md").render(
        header=yaml.safe_dump(_header(card, told, entries, words), sort_keys=False, allow_unicode=True),
        words=words,
        name=name_of(card.spec),
        card=card,
        told=told,
        channels=channels,
        height=height,
        width=width,
        source=source_of(card),
        recipe=_recipe(card.origin),
        measured=_measured(entries, words),
        files=[_row(entry, words) for entry in entries],
        snippets=snippets(card, entries, told.width),
        nasvit=versions()["nasvit"],
    )
    return text


def _in_markdown(value: object) -> str:
    """Return any text so that Markdown shows it as it is, in one line and in one cell of a table."""
    line = " ".join(str(value).split())
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _header(card: Card, told: Told, entries: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any]:
    source, measured = source_of(card), _measured(entries, words)
    header: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": words.tag,
        "tags": [words.tag, "neural-architecture-search", *dict.fromkeys(str(entry["format"]) for entry in entries)],
        "license": told.license or "other",
    }
    if told.license is None:
        header["license_name"] = "not-stated"
    if source is not None and source.startswith(_HUB_DATA):
        header["datasets"] = [source.removeprefix(_HUB_DATA).partition(":")[0]]
    if measured is not None:
        metric = {"type": words.metric, "name": words.metric_name, "value": round(measured["value"], 4)}
        result = {
            "task": {"type": words.tag},
            "dataset": {"name": measured["on"], "type": measured["on"], "split": "test"},
            "metrics": [metric],
        }
        header["model-index"] = [{"name": name_of(card.spec), "results": [result]}]
    return header


def _measured(entries: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any] | None:
    """Return the metric of the network itself, and on what it was measured; None if it was not."""
    for entry in entries:
        parity = entry["parity"]
        value = parity[f"{words.metric}_of_network"]
        chosen = entry.get("choice") is not None  # precision of the chosen objects is less than the network's
        if value is not None and not chosen:
            return {"value": value, "images": parity["images"], "on": entry["compared_on"]}
    return None


def _recipe(origin: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that the weights were trained with; empty if the card does not tell them."""
    for part in (origin.get("training"), origin.get("config")):
        if isinstance(part, Mapping) and isinstance(part.get("recipe"), Mapping):
            return dict(part["recipe"])
    return {}


def _decoder(entry: Mapping[str, Any]) -> str:
    """Return in words that a file has its decoder inside, and what it chooses."""
    if entry.get("decoder") != "inside":
        return ""
    choice = entry.get("choice")
    return ", decoder inside" + ("" if choice is None else f": objects of scores above {choice['threshold']:g}")


def _row(entry: Mapping[str, Any], words: Words) -> dict[str, str]:
    parity = entry["parity"]
    runtime = FORMATS[entry["format"]].runtime if entry["format"] in FORMATS else entry["format"]
    return {
        "file": ", ".join(f"`{file}`" for file in entry["files"]),
        "runtime": runtime,
        "numbers": ("8-bit integers" if entry["int8"] else "32-bit floats") + _decoder(entry),
        "size": size_of(entry),
        "agreement": f"{parity['agreement']:.2%}",
        "deviation": words.deviation.format(**parity),
        "accuracy": accuracy_of(entry, words.metric) or "not measured",
        "compared": compared(entry),
    }
