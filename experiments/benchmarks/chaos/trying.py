"""One try of a spoiled input: was it refused in words, accepted, or did it end in a traceback?"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import os
import random
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from experiments.benchmarks.chaos.mutations import Tree, damaged, mutated, text_of, tree_of
from experiments.benchmarks.chaos.targets import TARGETS

REFUSED, ACCEPTED, TRACEBACK, HANG, CRASH = "refused in words", "accepted", "traceback", "hang", "crash"

_OURS = tuple(f"{os.sep}{room}{os.sep}" for room in ("nasvit", "predictors", "search_spaces"))
_LONGEST = 1500  # characters of a message
_PARSER = "For full helptext"  # what the parser of words ends with
_SHARE_OF_TEXT = 0.15  # of inputs whose text is damaged, not their values


@dataclass(frozen=True)
class Case:
    """One spoiled input.

    Args:
        target: name of what reads it.
        tree: its values.
        content: its bytes.
        of_text: whether its text was damaged, so that the values do not tell what it is.
    """

    target: str
    tree: Tree
    content: bytes
    of_text: bool = False


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


def make_case(seed: int, number: int) -> Case:
    """Return the input of a number: the same one whenever it is asked for."""
    rng = random.Random(f"{seed}-{number}")
    name = rng.choices([*TARGETS], [each.share for each in TARGETS.values()])[0]
    target = TARGETS[name]
    tree = mutated(tree_of(rng.choice(target.examples())), rng)
    content = content_of(name, tree)
    if target.words or rng.random() > _SHARE_OF_TEXT:
        return Case(name, tree, content)
    return Case(name, tree, damaged(content, rng), of_text=True)


def content_of(target: str, tree: Tree) -> bytes:
    """Return what a target reads of some values: a text, or a line for every word of a command."""
    if not TARGETS[target].words:
        return text_of(tree).encode("utf-8", "surrogatepass")
    words = tree if isinstance(tree, list) else [tree]
    return json.dumps([word if isinstance(word, str) else text_of(word) for word in words]).encode()


def attempt(case: Case, folder: Path) -> Outcome:
    """Read an input in a folder that is emptied before, and say how that ended."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    printed, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            TARGETS[case.target].read(case.content)
        return Outcome(ACCEPTED)
    except SystemExit as end:
        return _ended(end, printed.getvalue())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _raised(error)
    finally:
        os.chdir(before)


def _ended(end: SystemExit, said: str) -> Outcome:
    """Return how a command ended: its last line says why, or the parser of words does, in a frame."""
    if end.code in (0, None):
        return Outcome(ACCEPTED)
    last = said.strip().rpartition("\n")[2]
    if end.code == 2 and ((last.startswith("nasvit: ") and len(last) <= _LONGEST) or _PARSER in said):
        return Outcome(REFUSED, said)
    return Outcome(TRACEBACK, said[-300:], f"ends with {end.code}: {last[:60]}")


def _raised(error: BaseException) -> Outcome:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(room in frame.filename for room in _OURS)]
    frame = ours[-1] if ours else frames[-1]
    told = str(error)
    in_words = isinstance(error, (ValueError, FileNotFoundError, ImportError)) and _is_raise(error.__traceback__)
    if in_words and told.strip() and "\n" not in told.strip() and len(told) <= _LONGEST:
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
