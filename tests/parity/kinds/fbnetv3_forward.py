"""Logits of FBNetV3 in evaluation mode, of the release's networks and of timm's."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nasvit import importing
from tests.parity.released import logits
from tests.parity.rows import Comparison, Row, attempt
from tests.parity.streams import alphanet_input, alphanet_tensor, state_dict

TOLERANCE = 1e-8
BATCH = 2


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases named ``mobile_vision/...`` or ``timm/...`` with logits."""
    cases = content.get("cases")
    return isinstance(cases, list) and all("eval_logits" in case and "/" in case["name"] for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare every network; the layouts beside the file say which tensors it has."""
    layouts = _layouts(path.parent)
    for case in content["cases"]:
        yield from attempt(case["name"], compare_network(case, layouts.get(case["name"], {})))


def compare_network(case: dict[str, Any], layout: dict[str, tuple[int, ...]]) -> Iterator[Row]:
    """Compare one network."""
    origin, name = case["name"].lower().split("/")
    source = name if origin == "mobile_vision" else f"{origin}_{name}"
    weights = state_dict(layout or importing.released_layout(source), alphanet_tensor)
    comparison = Comparison(case["name"], TOLERANCE)
    if "weights_sha256" in case:
        comparison.exact("weights", sha256(weights), case["weights_sha256"])
    network = importing.import_tensors(source, weights).double()
    if "n_params" in case:
        comparison.exact("parameters", sum(p.numel() for p in network.parameters()), case["n_params"])
    images = alphanet_input("golden", (BATCH, 3, case["resolution"], case["resolution"]))
    comparison.summary("logits", logits(network, images), case["eval_logits"], first="first16_sample0")
    yield comparison.row()


def sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over sorted names of name, NUL, little-endian bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0" + tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _layouts(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    path = folder / "fbnetv3_state_dict_layouts.json.gz"
    if not path.is_file():
        return {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    return {name: {entry[0]: tuple(entry[1]) for entry in entries} for name, entries in content.items()}
