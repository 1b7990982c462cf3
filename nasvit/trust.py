"""Consent to start code that a file names, for this process.

A card may name a function of its author's code, and a program of PyTorch is a pickle. Neither is started unless whoever
runs this process named the function (in a command, an experiment, ``create``) or said that everything is to be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable

_NAMED: set[str] = set()
_everything = False


def name(functions: Iterable[str]) -> None:
    """Remember functions, as ``package.module:function``, that the user of this process named or trusts."""
    _NAMED.update(functions)


def trust_everything() -> None:
    """Let this process start whatever its files name: the user said so (``nasvit --trust``)."""
    global _everything
    _everything = True


def trusts(function: str) -> bool:
    """Return whether a function may be imported and called."""
    return _everything or function in _NAMED


def trusts_everything() -> bool:
    """Return whether the user said that everything is to be trusted."""
    return _everything
