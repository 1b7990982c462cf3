"""YAML text as a tree of values with their origin: file, line and path, or the option of a command.

Scalars follow YAML 1.2: ``true`` and ``false`` are the only booleans (``on`` and ``no`` are text), ``1e-4`` is a
number, ``012`` is twelve.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from search_spaces.values import spell

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_REPEATED = 100_000
"""Values that aliases may repeat, besides as many as there are letters."""

_FLOW = ("[", "{", "'", '"')
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Node:
    """A value of a YAML file, or of an option of a command, with its origin.

    Args:
        value: a scalar (str, int, float, bool or None), a list of nodes, or a dict of nodes by key.
        file: name of the file; empty for an option such as ``--finetune.epochs 20``.
        line: line of the file, counted from 1.
        path: path to the value from the top of the file.
        written: text of a scalar in the file.
        resets: whether this is a null that removes an inherited key, where the field does not admit null itself.
        amends: whether this is a mapping of options only; keys that they leave out come from the field's default.
    """

    value: Any
    file: str
    line: int
    path: tuple[str | int, ...] = ()
    written: str = ""
    resets: bool = False
    amends: bool = False

    @property
    def kind(self) -> str:
        """The value's type in the words of YAML, with the value if it is short."""
        if isinstance(self.value, dict):
            return "a mapping"
        return "a list" if isinstance(self.value, list) else repr(self.value)

    def error(self, problem: str, below: Sequence[str | int] = ()) -> ValueError:
        """Return the error to raise for this value: ``file:line: path: problem``, or ``--path: problem`` for options.

        Args:
            problem: the mistake and the legal values.
            below: path from here to the mistake, where the file holds no value at it.
        """
        path = (*self.path, *below)
        if not self.file:
            return ValueError(f"--{'.'.join(map(str, path))}: {problem}")
        where = f"{self.file}:{self.line}"
        return ValueError(f"{where}: {spell(path)}: {problem}" if path else f"{where}: {problem}")

    def find(self, path: tuple[str | int, ...]) -> Node:
        """Return the node at ``path``, or the last one on the way to it that the file holds."""
        node = self
        for part in path:
            inside = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
            if not isinstance(inside, dict) or part not in inside:
                break
            node = inside[part]
        return node


def read_yaml(path: Path | str) -> Node:
    """Read one YAML document.

    Raises:
        ValueError: not YAML, a duplicate or non-text key, an empty list or mapping, or a tag.
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    return read_text(text, str(path))


def read_text(text: str, file: str) -> Node:
    """Read one YAML document from text; ``file`` is its name in messages.

    Raises:
        ValueError: as ``read_yaml``.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{file}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{file}: lists and mappings are nested deeper than anybody writes them") from error
    if root is None:
        raise ValueError(f"{file}: the file is empty")
    _check_aliases(root, len(text), file)
    return _wrap(root, file, (), ())


def _check_aliases(root: yaml.Node, length: int, file: str) -> None:
    """Refuse aliases of aliases that would make much of a little text."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0  # of an alias that holds itself, which is refused with its line
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            each = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(map(size, each))
        return sizes[id(node)]

    if size(root) > length + _REPEATED:
        raise ValueError(f"{file}: its aliases repeat {size(root):,} values; write fewer")


def read_option(path: tuple[str, ...], text: str) -> Node:
    """Read the value of an option: a scalar as it stands, or flow YAML if it begins with a bracket, brace or quote.

    An empty text is text, not null: a forgotten value is a mistake, and it is named.

    Raises:
        ValueError: naming the option, for what looks like flow YAML and is none.
    """
    node = Node(text, "", 0, path, text)
    if text[:1] not in _FLOW:
        return replace(node, value=plain_scalar(text) if text else text)
    try:
        root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise node.error(f"{text} is not YAML: {getattr(error, 'problem', error)}") from error
    return _wrap(root, "", path, ())


def _wrap(raw: yaml.Node, file: str, path: tuple[str | int, ...], above: tuple[yaml.Node, ...]) -> Node:
    node = Node(None, file, raw.start_mark.line + 1, path)
    if not raw.tag.startswith("tag:yaml.org,2002:"):
        raise node.error(f"the tag {raw.tag} is not supported; remove it")
    if any(raw is parent for parent in above):
        raise node.error("the alias holds itself")
    if isinstance(raw, yaml.ScalarNode):
        return replace(node, value=_scalar(raw), written=raw.value)
    if not raw.value:
        raise node.error("is empty; fill it or leave its key out")
    if isinstance(raw, yaml.SequenceNode):
        items = [_wrap(item, file, (*path, index), (*above, raw)) for index, item in enumerate(raw.value)]
        return Node(items, file, node.line, path)
    return Node(_wrap_mapping(raw, node, (*above, raw)), file, node.line, path)


def _wrap_mapping(raw: yaml.Node, node: Node, above: tuple[yaml.Node, ...]) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for raw_key, raw_value in raw.value:
        key_line = Node(None, node.file, raw_key.start_mark.line + 1, node.path)
        key = raw_key.value
        if not isinstance(key, str) or not isinstance(_scalar(raw_key), str):
            raise key_line.error(f"the key {key!r} is not text; quote it")
        if key in entries:
            raise key_line.error(f"the key {key!r} stands here again; first on line {entries[key].line}")
        entries[key] = _wrap(raw_value, node.file, (*node.path, key), above)
    return entries


def _scalar(raw: yaml.ScalarNode) -> Any:
    """Return the value of a scalar under the core schema of YAML 1.2; quoted scalars are text."""
    return plain_scalar(raw.value) if raw.style is None else raw.value


def plain_scalar(text: str) -> Any:
    """Return the value of a text without quotes under the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
