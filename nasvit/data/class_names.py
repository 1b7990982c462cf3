"""The classes of a test split beside those of the training split."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from nasvit.data.remarks import Remarks
from nasvit.data.stores import Indices

Classes = Literal["equal", "from train"]

WAY_OUT = "or go on with the classes of the training images (data: {classes: from train})"

IN_CASE_ALONE = "classes whose names differ in case alone (taken for the same)"

_MOST_NAMED = 10


def matched(found: Sequence[str], expected: Sequence[str], where: str, rule: Classes, remarks: Remarks) -> Indices:
    """Return the class index in the training split of every class of a test split, -1 where it has none there.

    Names that differ in case alone, or in how Unicode composes their letters, are one class.

    Args:
        found: the classes that have images in the test split.
        expected: the classes of the training split.
        where: what to call both splits before a user.
        rule: ``equal`` refuses classes that only one of them has; ``from train`` does without images of such classes.
        remarks: gets what is done without.

    Raises:
        ValueError: naming the classes that differ, and the way out.
    """
    place_of = _places(found, expected)
    missing = [name for place, name in enumerate(expected) if place not in place_of.values()]
    added = [name for name in found if name not in place_of]
    if (missing or added) and rule != "from train":
        told = [f"has no image of {few(missing)}"] if missing else []
        told += [f"has images of {few(added)}, which the training images do not have"] if added else []
        raise ValueError(f"{where}: {', and '.join(told)}; make both parts have the same classes, {WAY_OUT}")
    for name in missing:
        remarks.add("classes without an image to test on", name)
    for name in added:
        remarks.add("classes that the training images do not have (left out)", name)
    for name, place in place_of.items():
        if _composed(name) != _composed(expected[place]):
            remarks.add(IN_CASE_ALONE, f"{name} and {expected[place]}")
    return np.array([place_of.get(name, -1) for name in found], dtype=np.int64)


def looks_the_same(names: Sequence[str]) -> list[str]:
    """Return the first names that look the same, as letters that Unicode composes in two ways do; empty if none do."""
    by_look: dict[str, list[str]] = {}
    for name in names:
        by_look.setdefault(_composed(name), []).append(name)
    return next((each for each in by_look.values() if len(each) > 1), [])


def few(names: Sequence[str]) -> str:
    """Return some names in words."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _places(found: Sequence[str], expected: Sequence[str]) -> dict[str, int]:
    """Return where classes are among those expected: by name, else by its look, else whatever the case, if one is."""
    places: dict[str, int] = {}
    for alike in (str, _composed, _folded):
        ours, theirs = (_by(alike, names) for names in (expected, found))
        for key, same in theirs.items():
            if len(same) == len(ours.get(key, ())) == 1:
                places.setdefault(found[same[0]], ours[key][0])
    return places


def _by(alike: Callable[[str], str], names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(alike(name), []).append(place)
    return places


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()
