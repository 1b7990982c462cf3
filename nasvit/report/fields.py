"""The fields that a YAML file may have, listed as the options that set them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any, Literal

from search_spaces.hints import field_types, inline_fields, kinds, members_of, parses, settable, words


def show_fields(of: Literal["experiment", "fit"]) -> None:
    """Print the fields that the file of an experiment, or of one training, may have."""
    for option, description in list_fields(_file_class(of)).items():
        print(f"{option}: " + description.replace("\n", "\n    "))


def _file_class(of: Literal["experiment", "fit"]) -> type[Any]:
    if of == "experiment":
        from nasvit.experiment.config import Experiment

        return Experiment
    from nasvit.experiment.training import FitConfig

    return FitConfig


def list_fields(cls: Any, above: str = "--") -> dict[str, str]:
    """Return the options that set the fields of a dataclass and those inside it: option -> type and description."""
    found: dict[str, str] = {}
    documented = _documented(cls)
    for name, field in settable(cls).items():
        wanted = field_types(cls)[name]
        if name in inline_fields(cls):
            found |= list_fields(wanted, above)
            continue
        inside = [each for each in members_of(wanted) if is_dataclass(each) and not _is_text(each)]
        default = "" if field.default in (MISSING, None) or inside else f"; {_written(field.default)} if left out"
        tags = kinds(members_of(wanted))
        mapping = "text or a mapping" if any(map(parses, inside)) else "a mapping"
        kind = mapping if inside and not tags else words(wanted)
        found[f"{above}{name}"] = f"{kind}{default}\n{documented.get(name, '')}".strip()
        below = f"{above}{name}."
        if tags:
            found |= _of_kinds({kind: list_fields(each, below) for kind, each in tags.items()}, f"{below}kind")
        else:
            found |= {option: text for each in inside for option, text in list_fields(each, below).items()}
    return found


def _of_kinds(listed: Mapping[str, Mapping[str, str]], tag: str) -> dict[str, str]:
    """Return the options of a choice among kinds, but the one that names the kind; where they differ, of which each is.

    Args:
        listed: the options of every kind.
        tag: the option that names the kind.
    """
    found: dict[str, str] = {}
    for option in dict.fromkeys(option for options in listed.values() for option in options if option != tag):
        texts: dict[str, list[str]] = {}
        for kind, options in listed.items():
            if option in options:
                texts.setdefault(options[option], []).append(kind)
        alike = len(texts) == 1 and len(next(iter(texts.values()))) == len(listed)
        lines = [text if alike else f"of {', '.join(kinds)}: {text}" for text, kinds in texts.items()]
        found[option] = "\n".join(lines)
    return found


def _is_text(cls: Any) -> bool:
    """Return whether values of a class are written as text alone, because they have no other field."""
    return parses(cls) and len(settable(cls)) == 1


def _written(default: Any) -> str:
    """Return a default as text, as an option would set it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return f"[{', '.join(map(_written, default))}]"
    return repr(default) if default == "" else str(default)


def _documented(cls: Any) -> dict[str, str]:
    """Return the description of every field from the docstring of a dataclass."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    plain = {name: re.sub(r":\w+:`([^`]+)`", r"\1", " ".join(text.split())) for name, text in entries}
    return {name: text.replace("``", "`") for name, text in plain.items()}
