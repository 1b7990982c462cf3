"""YAML text as a tree of values with their origin: file, line and path, or the option of a command.

Scalars follow YAML 1.2: ``true`` and ``false`` are the only booleans (``on`` and ``no`` are text), ``1e-4`` is a
number, ``012`` is twelve.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from search_spaces.files import read_file
from search_spaces.values import shown, spell

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGITS = 100  # of a whole number at most
_WORDY = 1300  # characters of a problem that are told in full
_FLOW = ("[", "{", "'", '"')
_MOST, _DEEPEST, _LONGEST = 10_000, 32, 2**20  # values, levels and characters of a file that somebody wrote
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Node:
    """A value of a YAML file, or of an option of a command, with its origin.

    Args:
        value: a scalar (str, int, float, bool or None), a list of nodes, or a dict of nodes by key.
        file: name of the file; empty for an option such as ``--finetune.epochs 20``.
        line: line of the file, counted from 1; 0: not known.
        path: path to the value from the top of the file.
        written: text of a scalar in the file.
        resets: whether this is a null that removes an inherited key, where the field does not admit null itself.
        amends: whether this is a mapping of options only; keys that they leave out come from the field's default.
        more: whether this is a mapping that may hold more than is asked for.
    """

    value: Any
    file: str
    line: int
    path: tuple[str | int, ...] = ()
    written: str = ""
    resets: bool = False
    amends: bool = False
    more: bool = False

    @property
    def kind(self) -> str:
        """The value's type in the words of YAML, with the value if it is short."""
        if isinstance(self.value, dict):
            return "a mapping"
        return "a list" if isinstance(self.value, list) else shown(self.value)

    @property
    def plain(self) -> Any:
        """The value without its origin; what removes an inherited key is left out."""
        if isinstance(self.value, dict):
            return {name: each.plain for name, each in self.value.items() if not each.resets}
        return [each.plain for each in self.value] if isinstance(self.value, list) else self.value

    def error(self, problem: str, below: Sequence[str | int] = ()) -> ValueError:
        """Return the error to raise for this value: ``file:line: path: problem``, or ``--path: problem`` for options.

        Args:
            problem: the mistake and the legal values.
            below: path from here to the mistake, where the file holds no value at it.
        """
        path = (*self.path, *below)
        if len(problem) > _WORDY:  # it shows values that somebody wrote
            problem = f"{problem[: _WORDY // 2]} ... {problem[-_WORDY // 4 :]}"
        if not self.file:
            return ValueError(f"--{'.'.join(map(str, path))}: {problem}")
        where = f"{self.file}:{self.line}" if self.line else self.file
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
        ValueError: the file cannot be read, or is far too long; not YAML, a duplicate or non-text key, an empty list or
            mapping, a tag, or more values or levels than anybody writes.
        FileNotFoundError: there is no such file.
    """
    text = read_file(path)
    if len(text) > _LONGEST:
        raise ValueError(f"{path} has {len(text)} characters; files that describe something have at most {_LONGEST}")
    return read_text(text, str(path))


def read_text(text: str, file: str) -> Node:
    """Read one YAML document from text; ``file`` is its name in messages.

    Raises:
        ValueError: as ``read_yaml``.
    """
    root = _composed(text, Node(None, file, 0))
    if root is None:
        raise ValueError(f"{file}: the file is empty")
    return _wrap(root, file, (), (), iter(range(_MOST)))


def json_node(content: Any, file: str, *, more: bool = False, path: tuple[str | int, ...] = ()) -> Node:
    """Return what JSON held as a tree of nodes.

    Args:
        content: what it held.
        file: its name in messages.
        more: whether its mappings may hold more than is asked for.
        path: path to it from the top of the file.
    """

    def inside(name: str | int, each: Any) -> Node:
        return json_node(each, file, more=more, path=(*path, name))

    if len(path) > _DEEPEST:
        raise Node(None, file, 0, path[:3]).error(f"has more than {_DEEPEST} levels")
    if isinstance(content, Mapping):
        return Node({key: inside(key, each) for key, each in content.items()}, file, 0, path, more=more)
    if isinstance(content, list):
        return Node([inside(index, each) for index, each in enumerate(content)], file, 0, path)
    return Node(content, file, 0, path)


def _composed(text: str, whole: Node) -> Any:
    said = f"{shown(whole.written)} is not YAML" if whole.written else "not YAML"
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise replace(whole, line=line if whole.file else 0).error(f"{said}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise whole.error(f"{said}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise whole.error(f"has more than {_DEEPEST} levels") from error


def read_option(path: tuple[str, ...], text: str) -> Node:
    """Read the value of an option: a scalar as it stands, or flow YAML if it begins with a bracket, brace or quote.

    An empty text is text, not null: a forgotten value is a mistake, and it is named.

    Raises:
        ValueError: naming the option, for what looks like flow YAML and is none.
    """
    node = Node(text, "", 0, path, text)
    if text[:1] not in _FLOW:
        return replace(node, value=plain_scalar(text) if text else text)
    return _wrap(_composed(text, node), "", path, (), iter(range(_MOST)))


def _wrap(
    raw: yaml.Node, file: str, path: tuple[str | int, ...], above: tuple[yaml.Node, ...], left: Iterator[int]
) -> Node:
    """Return a value and those inside it; ``left`` counts those that there may still be, as aliases multiply them."""
    node = Node(None, file, raw.start_mark.line + 1, path)
    if next(left, None) is None:
        raise node.error(f"is one value of more than {_MOST}; an alias (*name) stands for all that is under its name")
    if len(above) > _DEEPEST:
        raise replace(node, path=path[:3]).error(f"has more than {_DEEPEST} levels")
    if not raw.tag.startswith("tag:yaml.org,2002:"):
        raise node.error(f"the tag {raw.tag} is not supported; remove it")
    if any(raw is parent for parent in above):
        raise node.error("the alias holds itself")
    if isinstance(raw, yaml.ScalarNode):
        return Node(_scalar(raw), file, node.line, path, raw.value)
    if not raw.value:
        raise node.error("is empty; fill it or leave its key out")
    if isinstance(raw, yaml.SequenceNode):
        items = [_wrap(item, file, (*path, index), (*above, raw), left) for index, item in enumerate(raw.value)]
        return Node(items, file, node.line, path)
    return Node(_wrap_mapping(raw, node, (*above, raw), left), file, node.line, path)


def _wrap_mapping(raw: yaml.Node, node: Node, above: tuple[yaml.Node, ...], left: Iterator[int]) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for raw_key, raw_value in raw.value:
        key_line = Node(None, node.file, raw_key.start_mark.line + 1, node.path)
        key = raw_key.value
        if not isinstance(key, str):
            raise key_line.error(
                f"a key is {'a list' if isinstance(raw_key, yaml.SequenceNode) else 'a mapping'}; legal: text"
            )
        if not isinstance(_scalar(raw_key), str):
            raise key_line.error(f"the key {shown(key)} is not text; quote it")
        if key in entries:
            raise key_line.error(f"the key {shown(key)} stands here again; first on line {entries[key].line}")
        entries[key] = _wrap(raw_value, node.file, (*node.path, key), above, left)
    return entries


def _scalar(raw: yaml.ScalarNode) -> Any:
    """Return the value of a scalar under the core schema of YAML 1.2; quoted scalars are text."""
    return plain_scalar(raw.value) if raw.style is None else raw.value


def plain_scalar(text: str) -> Any:
    """Return the value of a text without quotes under the core schema of YAML 1.2.

    A number that is too large to compute with, such as 1e999, is the text that it is written as.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= _DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
