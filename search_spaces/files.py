"""Files of users as text and as JSON: whatever is wrong with one is said in words, with its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search_spaces.values import shown


def read_file(path: Path | str) -> str:
    """Return the text of a file, without the mark that Windows puts before some.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file: its byte {error.start} is no UTF-8") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder; a file is needed") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path | str) -> Any:
    """Return the content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or is no JSON; the message names it.
    """
    return from_json(read_file(path), path)


def from_json(text: str, name: Path | str) -> Any:
    """Return the content of a JSON text; ``name`` is what messages call it.

    Raises:
        ValueError: it is no JSON, or names something twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists of thousands of lists
        raise ValueError(f"{name} is no JSON: {error}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some keys and values, each of which is there once; JSON itself takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return found
