"""A page that runs a network in the browser: the ONNX files that agreed with it, and ONNX Runtime for browsers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nasvit.export.bundles import onnxruntime_web
from nasvit.export.bundles.contract import Bundle, Told
from nasvit.export.bundles.describe import accuracy_of, compared, files_at, name_of, size_of, source_of
from nasvit.export.card import Card
from nasvit.export.formats.onnx_file import INPUT, OUTPUT
from nasvit.files.records import versions

PAGE = Path(__file__).parent / "page"
_ROWS = (
    ("Size", "size"),
    ("Accuracy", "accuracy"),
    ("Same class as PyTorch", "agreement"),
    ("Largest deviation of a score", "deviation"),
)
_AS_THEY_ARE = ("page.css", "page.js", "pixels.js")


class WebPage(Bundle):
    """A folder for any server of files: nothing of it asks another server for anything."""

    name, formats, tasks = "web", ("onnx",), ("classification",)
    hint = "a page for the browser; see it with: python -m http.server (in that folder), http://localhost:8000"

    def require(self, told: Told) -> None:
        onnxruntime_web.fetch()

    def write(self, saved: Path, card: Card, folder: Path, told: Told) -> None:
        files = files_at(card, saved, told.width, "onnx")
        for file in files:
            shutil.copyfile(saved / file, folder / file)
        for file in _AS_THEY_ARE:
            shutil.copyfile(PAGE / file, folder / file)
        (folder / "onnxruntime-web").mkdir()
        onnxruntime_web.copy_files(folder / "onnxruntime-web")
        pages = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
        (folder / "index.html").write_text(
            pages.get_template("index.html").render(_shown(card, files)), encoding="utf-8"
        )


def _shown(card: Card, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of the page's template."""
    entries = sorted(files.values(), key=lambda entry: entry["int8"])
    channels, side, _ = card.shape
    takes = f"{side}×{side} pixels, {'gray' if channels == 1 else 'in color'}"
    share = "" if card.crop_pct == 1 else f" ({card.crop_pct:.1%} of the short side)"
    source = source_of(card)
    return {
        "name": name_of(card.spec),
        "network": {
            "classes": card.classes,
            "files": [entry["file"] for entry in entries],
            "input": {"name": INPUT, "channels": channels, "side": side, "crop_pct": card.crop_pct},
            "output": OUTPUT,
        },
        "facts": [
            f"{len(card.classes)} classes",
            *([f"trained on {source}"] if source else []),
            *([f"{entries[0]['parity']['accuracy']:.1%} accurate"] if accuracy_of(entries[0]) else []),
            size_of(entries[0]),
            takes,
        ],
        "rows": _ROWS,
        "files": [_row(entry) for entry in entries],
        "compared": f"Compared with PyTorch on {compared(entries[0])}.",
        "input": f"{takes}: the middle of a picture{share}",
        "classes": card.classes,
        "runtime": onnxruntime_web.VERSION,
        "nasvit": versions()["nasvit"],
    }


def _row(entry: Mapping[str, Any]) -> dict[str, str]:
    parity = entry["parity"]
    return {
        "file": entry["file"],
        "kind": "8-bit integers" if entry["int8"] else "32-bit floats",
        "size": size_of(entry),
        "accuracy": accuracy_of(entry) or "not known",
        "agreement": f"{parity['agreement']:.2%}",
        "deviation": f"{parity['deviation']:.1e}",
    }
