"""Merging of YAML files: a file, the files that it inherits from, and the options of a command.

A file may begin with ``base: other.yaml``, a path relative to its own folder; then it holds only the differences:

- mappings are merged key by key; lists and scalars replace the inherited ones;
- ``key: null`` removes an inherited key: the value is null where the field admits it, else the field's default;
- a mapping of another ``kind`` replaces the inherited one as a whole.

Options such as ``--finetune.epochs 20`` are one more file on top, by the same rules; they may also name one entry of a
list, as in ``--search.budgets.0``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.nodes import Node, read_option, read_yaml
from search_spaces.paths import expanded
from search_spaces.values import spell

BASE = "base"
"""The key at the top of a file that names the file to inherit from."""


def read_merged(path: Path | str, overrides: Sequence[tuple[str, str]] = ()) -> Node:
    """Read a file with the files that it inherits from, and with options on top.

    Args:
        path: the file.
        overrides: names of values and their texts, such as ``("finetune.epochs", "20")``, in any order: a mapping goes
            before its parts, and of two options for one value the last one counts.

    Raises:
        ValueError: naming the file and line, or the option, that is wrong; files that inherit from each other.
        OSError: the file cannot be read.
    """
    node = _inherited(Path(path), ())
    options = [(_parts(name), text) for name, text in overrides]
    for parts, text in sorted(options, key=lambda option: (len(option[0]), option[0][-1] != "kind")):
        new = read_option(parts, text)
        node = _put(node, parts, replace(new, resets=new.value is None))
    return node


def merge(below: Node, above: Node) -> Node:
    """Lay one value over another: mappings are merged, any other value is that of ``above``."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return replace(above, resets=above.value is None and above.written != "")
    entries = _staying(below.value, above.value)
    merged = {key: merge(entries[key], node) if key in entries else node for key, node in above.value.items()}
    return replace(above, value=entries | merged)


def _inherited(path: Path, heirs: tuple[Path, ...]) -> Node:
    """Read a file and the files that it inherits from; ``heirs`` are the files that inherit from it."""
    node = read_yaml(path)
    if not isinstance(node.value, dict) or BASE not in node.value:
        return node
    own = {key: value for key, value in node.value.items() if key != BASE}
    return merge(_base(node.value[BASE], path, (*heirs, path)), replace(node, value=own))


def _base(named: Node, path: Path, heirs: tuple[Path, ...]) -> Node:
    if not isinstance(named.value, str):
        raise named.error(f"is {named.kind}; legal: the path of a YAML file, counted from the folder of this one")
    base = path.parent / expanded(named.value)
    if not base.is_file():
        raise named.error(f"there is no file {str(base)!r}; the path is counted from the folder of {path}")
    if base.resolve() in [heir.resolve() for heir in heirs]:
        circle = " -> ".join(map(str, (*heirs, base)))
        raise named.error(f"the files inherit from each other: {circle}; leave one base out")
    return _inherited(base, heirs)


def _staying(below: dict[str, Node], above: dict[str, Node]) -> dict[str, Node]:
    """Return the inherited entries that stay: none if ``above`` is of another kind."""
    kinds = [entries["kind"].value for entries in (below, above) if "kind" in entries]
    return {} if len(kinds) == 2 and kinds[0] != kinds[1] else below


def _parts(name: str) -> tuple[str, ...]:
    """Split a name into its parts; ``budgets[0]``, as errors spell it, is ``budgets.0``."""
    parts = tuple(re.sub(r"\[(\d+)\]", r".\1", name).split("."))
    if not all(parts):
        raise ValueError(f"--{name}: a part of the name is empty; write it as in --finetune.epochs 20")
    return parts


def _put(node: Node | None, rest: tuple[str, ...], new: Node) -> Node:
    """Lay the value of an option over the value at the path ``rest`` below ``node`` (None: there is no value yet)."""
    if not rest:
        return new if node is None else merge(node, new)
    if node is not None and isinstance(node.value, list):
        return _put_entry(node, rest, new)
    if node is not None and isinstance(node.value, dict):
        key = rest[0]
        child = _put(node.value.get(key), rest[1:], new)
        return replace(node, value=_staying(node.value, {key: child}) | {key: child})
    return _put_nowhere(node, rest, new)


def _put_entry(node: Node, rest: tuple[str, ...], new: Node) -> Node:
    entries: list[Any] = list(node.value)
    if not rest[0].isdecimal() or int(rest[0]) >= len(entries):
        legal = f"legal: 0 to {len(entries) - 1}"
        raise new.error(f"{spell(node.path)} is a list of {len(entries)} and has no entry {rest[0]!r}; {legal}")
    entries[int(rest[0])] = _put(entries[int(rest[0])], rest[1:], new)
    return replace(node, value=entries)


def _put_nowhere(node: Node | None, rest: tuple[str, ...], new: Node) -> Node:
    """Return the mapping that an option needs. A text stands for ``{kind: text}``, and one value for a list of one."""
    path: tuple[str | int, ...] = new.path[: len(new.path) - len(rest)]
    if node is not None and node.value is not None and rest[0] == "0":
        return _put(replace(node, value=[replace(node, path=(*path, 0))]), rest, new)
    if rest[0].isdecimal():
        raise new.error(f"there is no list at {spell(path)} to change an entry of; give the whole list")
    kind = {"kind": replace(node, path=(*path, "kind"))} if node is not None and isinstance(node.value, str) else {}
    return _put(Node(kind, "", 0, path, amends=True), rest, new)
