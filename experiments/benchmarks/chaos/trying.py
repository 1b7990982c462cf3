"""One try of a spoiled input: was it refused in words, accepted, or did it end in a traceback?"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmarks.chaos.mutations import Tree, damaged, mutated, text_of, tree_of
from experiments.benchmarks.chaos.outcomes import ACCEPTED, Outcome, ended, raised
from experiments.benchmarks.chaos.targets import TARGETS

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
        return ended(end, printed.getvalue())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return raised(error)
    finally:
        os.chdir(before)
