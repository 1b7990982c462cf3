"""Code that runs a shared network in each runtime, for its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from nasvit.export.card import CONFIG, IN_CONFIG, Card
from nasvit.export.formats import format_of

_OURS = """
    import torch
    from nasvit.export.shipping import as_saved
    from nasvit.registry import create

    network, described = create(".")
    {width}scores = as_saved(network, described)(torch.from_numpy(pixels)).numpy()
    """
_LAST = 'print(card["classes"][scores.argmax()])'


def snippets(card: Card, entries: Sequence[Mapping[str, Any]], width: float | None) -> dict[str, str]:
    """Return code by title: how a picture becomes pixels, and how each runtime scores these.

    Args:
        card: card of the network.
        entries: exported files, those of floats first.
        width: width of a network with several.
    """
    found = {"Pixels": _pixels(card)}
    at = "" if width is None else f"network = network.export({width:g})\n"
    found["nasvit"] = f"{dedent(_OURS).strip().format(width=at)}\n{_LAST}"
    for entry in entries:
        format = format_of(entry["format"])
        found.setdefault(format.title, f"{dedent(format.code).strip().format(file=entry['file'])}\n{_LAST}")
    return found


def _pixels(card: Card) -> str:
    channels, side, _ = card.shape
    mode, shape = ("L", f"{side}, {side}, 1") if channels == 1 else ("RGB", f"{side}, {side}, 3")
    operations = "from PIL import Image, ImageOps" if card.crop_pct == 1 else "from PIL import Image"
    return "\n".join(
        [
            "import json",
            "from pathlib import Path",
            "",
            "import numpy as np",
            operations,
            "",
            f'card = json.loads(Path("{CONFIG}").read_text(encoding="utf-8"))["{IN_CONFIG}"]',
            f'image = Image.open("photo.jpg").convert("{mode}")',
            *_resizing(side, card.crop_pct),
            f"pixels = np.asarray(image, np.float32).reshape({shape}).transpose(2, 0, 1)[None] / 255",
        ]
    )


def _resizing(side: int, crop_pct: float) -> list[str]:
    if crop_pct == 1:
        return [f"image = ImageOps.fit(image, ({side}, {side}), Image.Resampling.BICUBIC)"]
    scaled = round(side / crop_pct)
    return [
        "short = min(image.size)",
        f"image = image.resize([{scaled} * edge // short for edge in image.size], Image.Resampling.BICUBIC)",
        f"left, top = (round((edge - {side}) / 2) for edge in image.size)",
        f"image = image.crop((left, top, left + {side}, top + {side}))",
    ]
