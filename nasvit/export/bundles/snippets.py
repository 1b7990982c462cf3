"""Code that runs a shared network in each runtime, for its model card."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from nasvit.data.letterbox import FILL
from nasvit.export.bundles.decoder import objects_of
from nasvit.export.card import CONFIG, IN_CONFIG, Card
from nasvit.export.formats import format_of
from nasvit.specs import functions_of

_OURS = """
    import torch
    from nasvit.export.shipping import as_saved
    from nasvit.registry import create

    network, described = create("."{trust})
    {width}scores = as_saved(network, described)(torch.from_numpy(pixels)).numpy()
    """
_OURS_OF_BOXES = """
    import torch
    from nasvit.export.shipping import as_saved
    from nasvit.registry import create

    network, described = create("."{trust})
    {width}boxes, scores = (each.numpy() for each in as_saved(network, described)(torch.from_numpy(pixels)))
    """
_LAST = {
    "classification": 'print(card["classes"][scores.argmax()])',
    "detection": """
        found, best, classes = objects_of(boxes[0], scores[0], {height}, {width})
        found = (found / scale).clip(0, [*image.size, *image.size])
        for box, score, number in zip(found, best, classes):
            print(card["classes"][number], f"{{score:.0%}}", box.round())
        """,
    "segmentation": """
        mask = scores[0, :, : size[1], : size[0]].argmax(0)
        for number, name in enumerate(card["classes"]):
            print(name, f"{{(mask == number).mean():.1%}}")
        """,
}


def snippets(card: Card, entries: Sequence[Mapping[str, Any]], width: float | None) -> dict[str, str]:
    """Return code by title: how a picture becomes pixels, and how each runtime scores these.

    Args:
        card: card of the network.
        entries: exported files, those of floats first.
        width: width of a network with several.
    """
    task = card.spec.task
    boxes, (_, high, wide) = task == "detection", card.shape
    last = dedent(_LAST[task]).strip().format(height=high, width=wide)
    found = {"Pixels": _pixels(card) if task == "classification" else _fitted_pixels(card)}
    if boxes:
        found["Objects"] = f"import numpy as np\n\n\n{inspect.getsource(objects_of).strip()}"
    at = "" if width is None else f"network = network.export({width:g})\n"
    ours = _OURS_OF_BOXES if boxes else _OURS
    trust = ", trust=True" if functions_of(card.spec) else ""  # whose code it is that builds the network
    found["nasvit"] = f"{dedent(ours).strip().format(width=at, trust=trust)}\n{last}"
    for entry in entries:
        format = format_of(entry["format"])
        inside = entry.get("decoder") == "inside"
        code = format.code_of_objects if boxes and inside else format.code_of_boxes if boxes else format.code
        shown = f"{dedent(code).strip().format(file=entry['file'])}\n{_without_decoder(last) if inside else last}"
        found.setdefault(f"{format.title}, decoder inside" if inside else format.title, shown)
    return found


def _without_decoder(code: str) -> str:
    """Return the code behind a network without what chooses among its outputs, which a file does itself."""
    kept = [line for line in code.splitlines() if "objects_of(" not in line]
    return "\n".join(kept).replace("scores[0, :, :", "scores[0, :").replace(".argmax(0)", "")


def _pixels(card: Card) -> str:
    channels, side, _ = card.shape
    mode, shape = ("L", f"{side}, {side}, 1") if channels == 1 else ("RGB", f"{side}, {side}, 3")
    return "\n".join(
        [
            "import json",
            "from pathlib import Path",
            "",
            "import numpy as np",
            "from PIL import Image, ImageOps",
            "",
            f'card = json.loads(Path("{CONFIG}").read_text(encoding="utf-8"))["{IN_CONFIG}"]',
            f'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")',
            *_resizing(side, card.crop_pct),
            f"pixels = np.asarray(image, np.float32).reshape({shape}).transpose(2, 0, 1)[None] / 255",
        ]
    )


def _fitted_pixels(card: Card) -> str:
    """Return code that fits a picture into the images of a detector or segmenter, as they were trained on."""
    channels, height, width = card.shape
    mode, gray = ("L", str(FILL)) if channels == 1 else ("RGB", str((FILL,) * 3))
    return "\n".join(
        [
            "import json",
            "from pathlib import Path",
            "",
            "import numpy as np",
            "from PIL import Image, ImageOps",
            "",
            f'card = json.loads(Path("{CONFIG}").read_text(encoding="utf-8"))["{IN_CONFIG}"]',
            f'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")',
            f"scale = min({width} / image.width, {height} / image.height)",
            "size = [max(1, int(side * scale + 1e-6)) for side in image.size]",
            "box = [min(side / scale, whole) for side, whole in zip(size, image.size)]",
            f'fitted = Image.new("{mode}", ({width}, {height}), {gray})',
            "fitted.paste(image.resize(size, Image.Resampling.BICUBIC, box=(0, 0, *box)), (0, 0))",
            f"pixels = np.asarray(fitted, np.float32).reshape({height}, {width}, {channels})",
            "pixels = pixels.transpose(2, 0, 1)[None] / 255",
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
