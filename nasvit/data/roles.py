"""Which split a folder, a file or a part of a data set is, by how people call them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

Role = Literal["train", "test", "val"]

TESTS: tuple[Role, ...] = ("test", "val")
"""Roles of test splits; where there are both, the first one is the test split."""

_CALLED: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "test": ("test", "testing", "tst"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
}
_ROLE = {name: role for role, names in _CALLED.items() for name in names}
_BESIDES = ("set", "data", "split", "images", "imgs", "image", "img")  # as in trainset, val_images, TrainData
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


def role_of(name: str) -> Role | None:
    """Return the split that is called so: ``Train``, ``seg_train``, ``ValidationSet``, ``test2017``; None: none is.

    Names with words of two splits, such as ``trainval``, are none.
    """
    found = {role for word in _WORDS.findall(name) if (role := _ROLE.get(_plain(word.lower())))}
    return found.pop() if len(found) == 1 else None


def is_plain(name: str) -> bool:
    """Return whether a name is nothing but that of a split, in any case."""
    return name.lower() in _ROLE


def the_one(role: Role, names: Iterable[str], where: str) -> str | None:
    """Return which of some names is that of a split; None if none is.

    Args:
        role: the split.
        names: what there is.
        where: what to call the place before a user.

    Raises:
        ValueError: if several are, and none of them is called just so.
    """
    found = sorted(name for name in names if role_of(name) == role)
    for exact in (lambda name: name, str.lower):  # train goes before Train, and both before my_train
        for called in _CALLED[role]:
            if len(same := [name for name in found if exact(name) == called]) == 1:
                return same[0]
    if len(found) > 1:
        raise ValueError(f"{where}: {_joined(found)} could each be its {role} part; call the right one {role}")
    return found[0] if found else None


def _plain(word: str) -> str:
    """Return a word without what stands behind the name of a split: ``trainset`` is ``train``."""
    for end in _BESIDES:
        if word.endswith(end) and word.removesuffix(end) in _ROLE:
            return word.removesuffix(end)
    return word


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
