"""How a try of something spoiled ended: refused in words, accepted, or in a mistake of ours."""

from __future__ import annotations

import linecache
import os
import traceback
from dataclasses import dataclass
from types import TracebackType

COMMAND = "python -m experiments.benchmarks.chaos"
"""How the words of a kind of chaos begin, for files of figures."""

REFUSED, ACCEPTED, TRACEBACK, HANG, CRASH = "refused in words", "accepted", "traceback", "hang", "crash"

_OURS = tuple(f"{os.sep}{room}{os.sep}" for room in ("nasvit", "predictors", "search_spaces"))
_LONGEST = 1500  # characters of a message
_PARSER = "For full helptext"  # what the parser of words ends with


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Args:
        how: one of the five.
        told: what users see.
        place: where it went wrong, such as ``TypeError in nasvit/registry.py:87``; equal for equal mistakes of ours.
    """

    how: str
    told: str = ""
    place: str = ""


def ended(end: SystemExit, said: str, lines: int = 1) -> Outcome:
    """Return how a command ended: its last line says why, or the parser of words does, in a frame."""
    if end.code in (0, None):
        return Outcome(ACCEPTED)
    ends = said.strip().split("\n")[-lines:]
    last = ends[-1]
    in_words = any(each.startswith("nasvit: ") for each in ends) and len(last) <= _LONGEST
    if end.code == 2 and (in_words or _PARSER in said):
        return Outcome(REFUSED, said)
    return Outcome(TRACEBACK, said[-300:], f"ends with {end.code}: {last[:60]}")


def raised(error: BaseException, lines: int = 1) -> Outcome:
    """Return how a try ended that raised an error: in words of this library, of few lines, or in a mistake of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(room in frame.filename for room in _OURS)]
    frame = ours[-1] if ours else frames[-1]
    told = str(error)
    in_words = isinstance(error, (ValueError, FileNotFoundError, ImportError)) and _is_raise(error.__traceback__)
    if in_words and told.strip() and told.strip().count("\n") < lines and len(told) <= lines * _LONGEST:
        return Outcome(REFUSED, told)
    file = frame.filename[max(frame.filename.rfind(room) for room in _OURS) + 1 :] if ours else frame.filename
    return Outcome(
        TRACEBACK, f"{type(error).__name__}: {told[:300]}", f"{type(error).__name__} in {file}:{frame.lineno}"
    )


def _is_raise(trace: TracebackType | None) -> bool:
    """Return whether an error was raised by a line of this library that raises, and not by what it called."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not any(room in trace.tb_frame.f_code.co_filename for room in _OURS):
        return False
    return linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip().startswith("raise")
