"""Mistakes in files: values of other types and sizes, keys that are missing, twice or unknown, and damaged text."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """Text that stands in a file as it is, such as ``1e999``."""

    text: str


@dataclass
class Pairs:
    """A mapping, in which a key may stand twice."""

    entries: list[tuple[Any, Any]]


Tree = Any
"""Pairs, lists, raw texts, and the scalars of JSON."""

_NUMBERS: tuple[Any, ...] = (0, -1, 1, 2, 3, 0.5, -0.5, 1e-320, 1e-3, 1e308, 2**31, 2**63, 10**18, -(10**30), 10**400)
_RAW: tuple[str, ...] = (
    "1e999",
    ".nan",
    "NaN",
    "-Infinity",
    ".inf",
    "0x1F",
    "1_000",
    "9" * 5000,
    "*nothing",
    "!tag 3",
    "&a [*a]",
)
_RAW += ('"\\ud800"', '"\\u0000"', "!!python/object/apply:os.system [x]", "? [a]", "<<: 3", "2001-13-45", "'", "{", "]")
_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "1e59",
    "12",
    "-3",
    "true",
    "null",
    "nonsense",
    "ü𝔘\u202e",
    "a\nb",
    "[/]",
    "x" * 5000,
    "/",
    "..",
    ".",
)
_TEXTS += ("/proc/self/mem", "/root/.x", "micro8", "digits", "timm:nothing", "a:b", "os:getcwd", "macs<=1M", "macs<=5%")
_OTHERS: tuple[Any, ...] = (None, True, False, [], Pairs([]), [[]], [1, 2], ["a"], [None], Pairs([("kind", "step")]))


def tree_of(value: Any) -> Tree:
    """Return plain values as a tree that can be mutated."""
    if isinstance(value, dict):
        return Pairs([(key, tree_of(each)) for key, each in value.items()])
    return [tree_of(each) for each in value] if isinstance(value, (list, tuple)) else value


def text_of(tree: Tree) -> str:
    """Return a tree as text that is JSON and YAML both, as far as its raw texts let it."""
    if isinstance(tree, Raw):
        return tree.text
    if isinstance(tree, Pairs):
        return "{" + ", ".join(f"{text_of(key)}: {text_of(value)}" for key, value in tree.entries) + "}"
    if isinstance(tree, list):
        return f"[{', '.join(map(text_of, tree))}]"
    return json.dumps(tree, ensure_ascii=False)


def mutated(tree: Tree, rng: random.Random) -> Tree:
    """Return a tree with one to three mistakes."""
    tree = [copy.deepcopy(tree)]  # so that the whole tree is an entry, too
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if tree:
            rng.choice(_MISTAKES)(*rng.choice([*_places(tree)]), rng, tree)
    return tree[0] if tree else Pairs([])


def damaged(text: bytes, rng: random.Random) -> bytes:
    """Return text with a part cut out, put in, doubled, or bytes that are no text."""
    begin, length = rng.randrange(len(text) + 1), rng.choice((1, 3, 30, 300))
    what = rng.choice(("cut", "end", "double", "bytes", "noise"))
    middle = {
        "cut": b"",
        "end": b"",
        "double": text[begin : begin + length] * rng.choice((2, 50)),
        "bytes": rng.choice(
            (b"\xff\xfe", b"\x00", b"\t", b"\r", b"\xef\xbb\xbf", b": ", b"- ", b"#", b"\n", b"[" * 3000)
        ),
        "noise": rng.randbytes(length),
    }[what]
    return text[:begin] + middle + (b"" if what == "end" else text[begin + length :])


def smaller(tree: Tree) -> Iterator[Tree]:
    """Yield a tree with one part of it left out, for every part, the largest ones first."""
    whole = [copy.deepcopy(tree)]
    places = [*_places(whole)][1:]
    for holder, place in sorted(places, key=lambda each: -len(text_of(_get(*each)))):
        entries = holder.entries if isinstance(holder, Pairs) else holder
        left = entries.pop(place)
        yield copy.deepcopy(whole[0])
        entries.insert(place, left)


def _places(tree: Tree) -> Iterator[tuple[Any, int]]:
    """Yield every place of a value: what holds it, and its number there."""
    entries = [value for _, value in tree.entries] if isinstance(tree, Pairs) else tree
    if not isinstance(entries, list):
        return
    for place, value in enumerate(entries):
        yield tree, place
        yield from _places(value)


def _get(holder: Any, place: int) -> Any:
    return holder.entries[place][1] if isinstance(holder, Pairs) else holder[place]


def _put(holder: Any, place: int, value: Any) -> None:
    if isinstance(holder, Pairs):
        holder.entries[place] = (holder.entries[place][0], value)
    else:
        holder[place] = value


def _replace(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    kind = rng.choice(("number", "raw", "text", "other"))
    of = {"number": _NUMBERS, "raw": tuple(map(Raw, _RAW)), "text": _TEXTS, "other": _OTHERS}[kind]
    _put(holder, place, copy.deepcopy(rng.choice(of)))


def _near(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    """Put a value in the place of one that is like it: negative, larger, as text, in a list."""
    value = _get(holder, place)
    ways: list[Callable[[], Any]] = [lambda: [value], lambda: Pairs([("value", value)]), lambda: text_of(value)]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        ways += [lambda: -value, lambda: value * 1000, lambda: value / 3, lambda: value + 0.5, lambda: str(value)]
    if isinstance(value, str):
        ways += [lambda: value + "x", lambda: value.upper(), lambda: value * 30, lambda: value[::-1]]
    if isinstance(value, list):
        ways += [lambda: value * 300, lambda: value[::-1], lambda: value[:1]]
    _put(holder, place, copy.deepcopy(rng.choice(ways)()))


def _scale(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    """Put another number of the same type in the place of some number."""
    numbers = [each for each in _places(tree) if type(_get(*each)) in (int, float) and abs(_get(*each)) < 1e300]
    if numbers:
        holder, place = rng.choice(numbers)
        value = _get(holder, place)
        ways = (0, 1, value // 2, value + 1, value * 10, value * 1000, value * 10**6, -value)
        _put(holder, place, type(value)(rng.choice(ways)))


def _remove(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    (holder.entries if isinstance(holder, Pairs) else holder).pop(place)


def _double(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    entries = holder.entries if isinstance(holder, Pairs) else holder
    entries.insert(rng.randrange(len(entries) + 1), copy.deepcopy(entries[place]))


def _rename(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    if isinstance(holder, Pairs):
        key, value = holder.entries[place]
        others = [each for each, _ in _all_pairs(tree)]
        holder.entries[place] = (rng.choice((*others, *_TEXTS, Raw("3"), Raw("[a]"), Raw("null"), f"{key}x")), value)


def _add(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    """Put a part of the tree somewhere else, too."""
    pairs = [*_all_pairs(tree)]
    if isinstance(holder, Pairs) and pairs:
        holder.entries.append(copy.deepcopy(rng.choice(pairs)))


def _move(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    other, there = rng.choice([*_places(tree)])
    _put(holder, place, copy.deepcopy(_get(other, there)))


def _deepen(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    levels = rng.choice((3, 40, 400))
    key = rng.choice(("otherwise", "base", "a"))
    opening, closing = rng.choice((("[", "]"), (f"{{{key}: ", "}")))
    _put(holder, place, Raw(opening * levels + text_of(_get(holder, place)) + closing * levels))


def _multiply(holder: Any, place: int, rng: random.Random, tree: Tree) -> None:
    """Put aliases of aliases of a value in its place: a billion values in a few lines of YAML."""
    text = text_of(_get(holder, place))
    for level in range(9):
        text = f"[&l{level} {text}" + f", *l{level}" * 9 + "]"
    _put(holder, place, Raw(text))


def _all_pairs(tree: Tree) -> Iterator[tuple[Any, Any]]:
    for holder, place in _places(tree):
        if isinstance(holder, Pairs):
            yield holder.entries[place]


_MISTAKES: tuple[Callable[[Any, int, random.Random, Tree], None], ...] = (
    *(_replace,) * 6,
    *(_near,) * 4,
    *(_scale,) * 6,
    _remove,
    _double,
    _rename,
    _add,
    *(_move,) * 2,
    _deepen,
    _multiply,
)
