"""Values of a configuration in words, as short as they can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasvit.report.page.reading import Fields

_SHORT = {
    "kernel_size": "kernel",
    "expand_ratio": "expand",
    "mlp_ratio": "MLP",
    "start_kernel_size": "start kernel",
    "first_start_kernel_size": "first start kernel",
    "first_kernel_size": "first kernel",
    "first_expand_ratio": "first expand",
}


def architecture_words(fields: Fields) -> str:
    """Return an architecture in one line, such as ``8 px, width 8/8/16, depth 2/2, kernel 5/3``."""
    words = [f"{fields['resolution']} px"] if "resolution" in fields else []
    for name, value in fields.items():
        if name != "resolution" and value and not _is_empty(value):
            words.append(f"{_SHORT.get(name, name)} {_joined(value)}")
    return ", ".join(words)


def recipe_words(fields: Fields) -> list[tuple[str, str]]:
    """Return the settings of a recipe that are on, by name."""
    return [(name.replace("_", " "), plain(value)) for name, value in fields.items() if value]


def plain(value: Any) -> str:
    """Return a value as text: numbers without zeros at the end, lists and mappings without brackets."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return str(value)


def _is_empty(value: Any) -> bool:
    return isinstance(value, Sequence) and all(each is None for each in value)


def _joined(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={plain(each)}" for name, each in value.items())
    return "/".join(map(plain, value)) if isinstance(value, (list, tuple)) else plain(value)
