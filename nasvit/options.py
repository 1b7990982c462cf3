"""The fields of a YAML file as options of a command. Imports nothing slow, so that the help appears at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Overrides = tuple[tuple[str, str], ...]
"""Names of fields and the texts of their values, such as ``(("finetune.epochs", "20"),)``."""

OWN = ("--output", "--device", "--budget", "--width", "--check", "--help")
"""Options of a command that are not fields of its file."""

_WITH_VALUE = ("--output", "--device", "--budget", "--width")


def take_overrides(given: Sequence[str]) -> tuple[list[str], Overrides]:
    """Separate the fields of a file, ``--name value`` or ``--name=value``, from the other words of a command line.

    Returns:
        The other words, and the fields.

    Raises:
        ValueError: if the value of a field is missing.
    """
    left: list[str] = []
    taken: list[tuple[str, str]] = []
    rest = iter(given)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE and not equals:
            left += [word, *_next(rest)]
        elif not word.startswith("--") or name in OWN:
            left.append(word)
        else:
            taken.append((name[2:], value if equals else _value(name, rest)))
    return left, tuple(taken)


def _next(rest: Iterator[str]) -> list[str]:
    word = next(rest, None)
    return [] if word is None else [word]


def _value(name: str, rest: Iterator[str]) -> str:
    value = next(rest, "--")
    if value.startswith("--"):
        raise ValueError(f"{name} needs a value, as in {name} 20; a switch needs true or false")
    return value
