"""Configurations that stand in YAML files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nasvit.search.storage import hide_password
from search_spaces.paths import expanded
from search_spaces.reading import load_yaml
from search_spaces.saved import to_json_value

Config = TypeVar("Config", bound="YamlFile")


class YamlFile:
    """What a YAML file describes: frozen dataclasses of plain values derive from it."""

    @classmethod
    def load(cls: type[Config], path: Path, overrides: Sequence[tuple[str, str]] = ()) -> Config:
        """Read one from a YAML file.

        Args:
            path: the file.
            overrides: fields that go before those of the file; see :func:`search_spaces.reading.load_yaml`.

        Raises:
            ValueError: naming the file, the line, the key and what is legal.
        """
        return load_yaml(cls, path, overrides)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values, without the folder that results go to."""
        content: dict[str, Any] = to_json_value(self)
        del content["output"]
        return content


_NEW_IN_TRAIN = {"members": "auto", "largest_first": 0.0, "resolution_first": 0.0}
"""Fields that records of earlier versions lack, with the value that these stand for."""


def decisive(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what results depend on of a configuration's JSON values: not how fast they come, nor a remark.

    Whether budgets bound the supernet is left out too: a record of its own tells what it is trained for.
    """
    content = _comparable(content)
    kept = {name: value for name, value in content.items() if name not in ("threads", "note") and _says(name, value)}
    data = {name: value for name, value in content["data"].items() if name not in ("workers", "download")}
    kept["data"] = {name: value for name, value in data.items() if _says(name, value)}
    if "search" in kept:
        search = hide_password(kept["search"])
        kept["search"] = {name: value for name, value in search.items() if _says(name, value)}
    if "train" in kept:
        kept["train"] = {name: value for name, value in kept["train"].items() if not _is_as_before(name, value)}
    return kept


def _comparable(value: Any) -> Any:
    """Return a JSON value with homes and environment variables in their place, without what saves memory alone."""
    if isinstance(value, Mapping):
        return {name: _comparable(each) for name, each in value.items() if name != "recompute"}
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    return expanded(value) if isinstance(value, str) else value  # earlier versions recorded ~ as it was written


def _says(name: str, value: Any) -> bool:
    """Whether a field of a configuration says anything; records of earlier versions lack it where it does not."""
    return name not in _SAYS_NOTHING or value != _SAYS_NOTHING[name]


_SAYS_NOTHING = {
    "quantize": None,
    "task": "classification",
    "head": None,
    "class_weights": None,
    "ignore_index": None,
    "classes": "equal",
}
"""Fields that records of earlier versions lack, with the value that says nothing."""


def _is_as_before(name: str, value: Any) -> bool:
    return name == "within_budgets" or (name in _NEW_IN_TRAIN and value == _NEW_IN_TRAIN[name])
