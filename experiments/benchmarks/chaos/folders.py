"""Folders of images made wrong, or only unusual, in all the ways people have them, beside what is right for each.

Every one is to be read rightly (samples, classes, pixels, boxes and masks are known, because it was made), or to be
refused in words that name what is wrong. What is left out is to be told. Anything else is a mistake of ours, told with
the ways in which the folder is wrong, as few of them as show it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import random
import shutil
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.benchmarks.chaos.made.kinds import KINDS, kinds_for
from experiments.benchmarks.chaos.made.layouts import LAYOUTS
from experiments.benchmarks.chaos.made.plan import Plan, draws
from experiments.benchmarks.chaos.made.reading import Asked, Wrong, bad_of, fit, read, unnamed, untold
from experiments.benchmarks.chaos.outcomes import COMMAND, CRASH, HANG, REFUSED, TRACEBACK, Outcome, ended, raised
from experiments.benchmarks.chaos.worker import Worker, write

RIGHT, WRONG = "right", "wrong"
_HOWS = (RIGHT, REFUSED, WRONG, TRACEBACK, HANG, CRASH)
_BY_COMMAND = 10  # one of so many goes through the command
_LINES = 2  # bad images of both splits


@dataclass(frozen=True)
class Recipe:
    """How a folder is made: the same one whenever it is asked for.

    Args:
        seed: seed of all folders.
        number: number of this one.
        layout: how its images and labels lie.
        kinds: the ways in which it is wrong.
        by_command: whether ``nasvit fit`` reads it, not the functions that it calls.
    """

    seed: int
    number: int
    layout: str
    kinds: tuple[str, ...]
    by_command: bool


@dataclass
class Failure:
    """A mistake of ours.

    Args:
        smallest: a folder that shows it, wrong in as few ways as can be found.
        outcome: how that ended.
        count: folders that ended so.
    """

    smallest: Recipe
    outcome: Outcome
    count: int = 0


def main(
    count: int = 300,
    seed: int = 0,
    seconds: float = 30.0,
    memory: float = 8.0,
    first: int = 0,
    json: Path | None = None,
) -> None:
    """Read made folders, and tell which were neither read rightly nor refused in words.

    Args:
        count: number of folders.
        seed: their seed.
        seconds: after which one that has not ended is a hang.
        memory: gigabytes that one may take.
        first: number of the first one.
        json: file that gets the numbers and the failures.
    """
    found: list[tuple[Recipe, Outcome]] = []
    failures: dict[str, Failure] = {}
    with TemporaryDirectory(prefix="f") as folder, Worker(attempt, Path(folder) / "w", seconds, memory) as worker:
        for number in range(first, first + count):
            recipe = make_recipe(seed, number)
            outcome = worker(recipe)
            found.append((recipe, outcome))
            if outcome.how not in (RIGHT, REFUSED):
                failures.setdefault(outcome.place, Failure(recipe, outcome)).count += 1
        for failure in failures.values():
            failure.smallest = _smallest(worker, failure)
    result = _result(found, failures)
    print(_summary(result))
    if json is not None:
        write(json, {"command": f"{COMMAND} folders --count {count} --seed {seed}", **result})
    if failures:
        raise SystemExit(1)


def make_recipe(seed: int, number: int) -> Recipe:
    """Return how the folder of a number is made."""
    rng = random.Random(f"{seed}-{number}")
    layout = rng.choices([*LAYOUTS], [share for _, share in LAYOUTS.values()])[0]
    return Recipe(seed, number, layout, tuple(kinds_for(layout, rng)), number % _BY_COMMAND == _BY_COMMAND - 1)


def plan_of(recipe: Recipe) -> Plan:
    """Return the folder of a recipe, not written yet."""
    make, _ = LAYOUTS[recipe.layout]
    plan = make(*draws(recipe.seed, recipe.number))
    for name in recipe.kinds:
        KINDS[name].apply(plan, *draws(recipe.seed, recipe.number, name))
    return plan


def attempt(recipe: Recipe, folder: Path) -> Outcome:
    """Make a folder, read it, and say how that ended; what was in the working folder before is removed."""
    _remove(folder)
    folder /= f"{zlib.crc32(repr(recipe).encode()):x}"  # never the same twice: what is read is remembered by its path
    plan = plan_of(recipe)
    root = folder / plan.root
    plan.write(root)
    return judged(plan, folder, by_command=recipe.by_command)


def judged(plan: Plan, folder: Path, *, by_command: bool = False) -> Outcome:
    """Read a folder that was written below a working folder, and say how that ended."""
    root, before = folder / plan.root, Path.cwd()
    asked = Asked(plan.source.replace("{}", _spelled(plan, root)), folder / "results")
    said, warned = io.StringIO(), io.StringIO()
    os.chdir(folder)
    try:
        with _without_rights(), _home(folder), contextlib.redirect_stderr(said), _warned(warned):
            with contextlib.redirect_stdout(io.StringIO()):
                fit(plan, asked) if by_command else read(plan, asked, root)
    except Wrong as wrong:
        return Outcome(WRONG, str(wrong), _place(str(wrong)))
    except SystemExit as end:
        return _refused(plan, ended(end, said.getvalue(), _LINES))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _refused(plan, raised(error, _LINES))
    finally:
        os.chdir(before)
    return _accepted(plan, said.getvalue() + warned.getvalue())


def _accepted(plan: Plan, said: str) -> Outcome:
    """Return the outcome of a folder that was read, and rightly so far."""
    if plan.refusals:
        return Outcome(WRONG, f"accepted, and {plan.refusals} was to be told", "accepted")
    if bad_of(plan) and plan.options.get("on_bad_image") != "skip":
        return Outcome(WRONG, "bad images were accepted", "bad images accepted")
    missed = untold(plan, said)
    return Outcome(WRONG, f"{missed}: {plan.told}; said: {said[-500:]}", missed) if missed else Outcome(RIGHT)


def _refused(plan: Plan, outcome: Outcome) -> Outcome:
    """Return the outcome of a folder that was refused."""
    if outcome.how != REFUSED:
        return outcome
    missed = unnamed(plan, outcome.told)
    told = outcome.told.strip()[-700:]
    return Outcome(WRONG, told, f"{missed}: {_place(told)}") if missed else outcome


def _place(told: str) -> str:
    """Return a message without what differs from folder to folder."""
    words = [word for word in told.split() if "/" not in word and not any(each.isdigit() for each in word)]
    return " ".join(words)[:70]


def _spelled(plan: Plan, root: Path) -> str:
    return plan.spelled.replace("{name}", plan.root).replace("{}", str(root))


def _remove(folder: Path) -> None:
    """Remove a folder, and make it anew."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # of others than the superuser, what is unreadable stays at first
        for where, _, _ in os.walk(folder):
            os.chmod(where, 0o700)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("HOME")
        if before is not None:
            os.environ["HOME"] = before


@contextlib.contextmanager
def _warned(said: io.StringIO) -> Iterator[None]:
    """Add to a text what is warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            said.write("".join(f"{each.message}\n" for each in told))


@contextlib.contextmanager
def _without_rights() -> Iterator[None]:
    """Do without the right of the superuser to read everything, so that an unreadable file is one."""
    libc = ctypes.CDLL(None)
    head, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    known = os.geteuid() == 0 and hasattr(libc, "capget") and libc.capget(head, held) == 0
    if known:
        libc.capset(head, (ctypes.c_uint32 * 6)(held[0] & ~0b110, *held[1:]))
    try:
        yield
    finally:
        if known:
            libc.capset(head, held)


def _smallest(worker: Worker[Recipe], failure: Failure) -> Recipe:
    """Return a folder that ends in the same way and is wrong in as few ways as can be found."""
    best = failure.smallest
    for kind in best.kinds:
        fewer = replace(best, kinds=tuple(each for each in best.kinds if each != kind))
        if worker(fewer).place == failure.outcome.place:
            best = fewer
    return best


def _result(found: list[tuple[Recipe, Outcome]], failures: dict[str, Failure]) -> dict[str, Any]:
    hows = Counter(outcome.how for _, outcome in found)
    return {
        "tried": len(found),
        **{how: hows[how] for how in _HOWS},
        "by command": sum(recipe.by_command for recipe, _ in found),
        "layouts": _counts((recipe.layout, outcome.how) for recipe, outcome in found),
        "kinds": _counts((kind, outcome.how) for recipe, outcome in found for kind in recipe.kinds),
        "failures": [
            {
                "how": each.outcome.how,
                "place": each.outcome.place,
                "told": each.outcome.told,
                "count": each.count,
                "number": each.smallest.number,
                "layout": each.smallest.layout,
                "kinds": [*each.smallest.kinds],
                "by command": each.smallest.by_command,
            }
            for each in sorted(failures.values(), key=lambda each: -each.count)
        ],
    }


def _counts(pairs: Iterator[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    for (name, how), count in sorted(Counter(pairs).items()):
        counted.setdefault(name, {})[how] = count
    return counted


def _summary(result: dict[str, Any]) -> str:
    lines = []
    for each in result["failures"]:
        lines += [
            f"{each['count']:4} {each['how']}: {each['place']}",
            f"     folder {each['number']}, {each['layout']}: {', '.join(each['kinds'])}",
            f"     {each['told'][:600]}",
        ]
    told = ", ".join(f"{result[how]} {how}" for how in _HOWS)
    return "\n".join([*lines, f"{result['tried']} folders: {told}"])
