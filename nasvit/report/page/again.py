"""The file that makes a folder again, from the configuration that is recorded in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig
from nasvit.report.page.holding import Holding
from nasvit.report.page.reading import Fields
from search_spaces.reading import from_node, read_text


def again(holding: Holding) -> tuple[str, str]:
    """Return the file that makes a folder again, and how: nothing if it would not be read as the same."""
    if not holding.config:
        return "", ""
    kind: type[Experiment] | type[FitConfig] = Experiment if "search" in holding.config else FitConfig
    text = yaml.safe_dump(_as_file(holding.config), sort_keys=False, allow_unicode=True, width=100)
    command = "run" if kind is Experiment else "fit"
    name = re.sub(r"[^\w.-]+", "-", holding.folder.resolve().name) or "again"
    try:
        same = from_node(kind, read_text(text, "")).to_json() == dict(holding.config)
    except (ValueError, TypeError):
        same = False
    return text, f"nasvit {command} {name}.yaml --output runs/{name}-again" if same else ""


def experiment_of(holding: Holding) -> Experiment | None:
    """Return the experiment that a folder records; None if it has none that is still read."""
    text = yaml.safe_dump(_as_file(holding.config), sort_keys=False, allow_unicode=True)
    try:
        return from_node(Experiment, read_text(text, ""))
    except (ValueError, TypeError):
        return None


def _as_file(content: Fields) -> dict[str, Any]:
    """Return a configuration as a file has it: without what is left open, the recipe of ``finetune`` in line."""
    found = _without_empty(content)
    finetune = found.get("finetune")
    if isinstance(finetune, dict) and isinstance(finetune.get("recipe"), dict):
        found["finetune"] = {**finetune.pop("recipe"), **finetune}
    return found


def _without_empty(content: Fields) -> dict[str, Any]:
    plain_fields = {name: _without_empty(each) if isinstance(each, Mapping) else each for name, each in content.items()}
    return {name: each for name, each in plain_fields.items() if each not in (None, {}, [], "")}
