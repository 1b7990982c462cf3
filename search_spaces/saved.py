"""Base of values that are kept in files: a canonical JSON text, and a key for file names."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Self


class Saved(ABC):
    """A value that equals another exactly if their JSON texts are equal."""

    @abstractmethod
    def to_json(self) -> str:
        """Return the canonical JSON text: fixed order, no spaces."""

    @classmethod
    @abstractmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: not JSON, or a field unknown, missing or illegal.
        """

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits, equal exactly for equal values: for file names and caches."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def save(self, path: Path | str) -> None:
        """Write the canonical JSON to a file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file that ``save`` wrote.

        Raises:
            ValueError: naming the file and the mistake.
        """
        try:
            return cls.from_json(read_file(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def to_json_value(value: Any) -> Any:
    """Return a configuration as JSON values: of a ``Saved`` value its canonical JSON, of other dataclasses every field.

    Args:
        value: a dataclass, or a value that one holds; a type that JSON does not have, such as a path, becomes text.
    """
    if isinstance(value, Saved):
        return json.loads(value.to_json())
    if is_dataclass(value):
        return {field.name: to_json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json_value(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json_value(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
