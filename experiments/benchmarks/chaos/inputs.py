"""Spoiled inputs by the thousand: files of experiments, spaces, recipes, tables, cards, and command lines.

Every one is to be refused in one line of words, or accepted. A traceback, a hang or a crash is a mistake of ours, told
with the smallest input that shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.benchmarks.chaos.mutations import smaller
from experiments.benchmarks.chaos.outcomes import ACCEPTED, COMMAND, CRASH, HANG, REFUSED, TRACEBACK, Outcome
from experiments.benchmarks.chaos.trying import Case, attempt, content_of, make_case
from experiments.benchmarks.chaos.worker import Worker, write

_MOST_TRIES = 300  # to make one input smaller


@dataclass
class Failure:
    """A mistake of ours.

    Args:
        target: what was read.
        outcome: how it ended.
        count: inputs that ended so.
        smallest: the smallest of them.
    """

    target: str
    outcome: Outcome
    count: int
    smallest: Case


def main(
    count: int = 1000,
    seed: int = 0,
    seconds: float = 60.0,
    memory: float = 8.0,
    first: int = 0,
    json: Path | None = None,
) -> None:
    """Try spoiled inputs, and tell which were neither refused in words nor accepted.

    Args:
        count: number of inputs.
        seed: their seed.
        seconds: after which one that has not ended is a hang.
        memory: gigabytes that one may take.
        first: number of the first one.
        json: file that gets the numbers and the failures.
    """
    found: Counter[tuple[str, str]] = Counter()
    failures: dict[str, Failure] = {}
    with TemporaryDirectory() as folder, Worker(attempt, Path(folder) / "a" / "b" / "c", seconds, memory) as worker:
        for case, outcome in tried(worker, seed, range(first, first + count)):
            found[case.target, outcome.how] += 1
            if outcome.how not in (REFUSED, ACCEPTED):
                _note(failures, case, outcome)
        for failure in failures.values():
            if failure.outcome.how == TRACEBACK:
                failure.smallest = _smallest(worker, failure)
    result = _result(found, failures)
    print(_summary(result))
    if json is not None:
        write(json, {"command": f"{COMMAND} inputs --count {count} --seed {seed}", **result})
    if failures:
        raise SystemExit(1)


def tried(worker: Worker[Case], seed: int, numbers: range) -> Iterator[tuple[Case, Outcome]]:
    """Yield the inputs of some numbers, and how each ended."""
    for number in numbers:
        case = make_case(seed, number)
        yield case, worker(case)


def _note(failures: dict[str, Failure], case: Case, outcome: Outcome) -> None:
    where = f"{case.target}: {outcome.place}"
    known = failures.setdefault(where, Failure(case.target, outcome, 0, case))
    known.count += 1
    if len(case.content) < len(known.smallest.content):
        known.smallest, known.outcome = case, outcome


def _smallest(worker: Worker[Case], failure: Failure) -> Case:
    """Return an input that ends in the same way and has as few parts as can be found."""
    best, left = failure.smallest, _MOST_TRIES
    while not best.of_text:
        for tree in smaller(best.tree):
            left -= 1
            case = replace(best, tree=tree, content=content_of(best.target, tree))
            if left < 0:
                return best
            if worker(case).place == failure.outcome.place:
                best = case
                break
        else:
            return best
    return best


def _result(found: Counter[tuple[str, str]], failures: dict[str, Failure]) -> dict[str, Any]:
    targets = sorted({target for target, _ in found})
    hows = (REFUSED, ACCEPTED, TRACEBACK, HANG, CRASH)
    return {
        "tried": found.total(),
        **{how: sum(found[target, how] for target in targets) for how in hows},
        "targets": {target: {how: found[target, how] for how in hows if found[target, how]} for target in targets},
        "failures": [
            {
                "target": each.target,
                "how": each.outcome.how,
                "told": each.outcome.told,
                "place": each.outcome.place,
                "count": each.count,
                "smallest": each.smallest.content.decode("utf-8", "replace")[:2000],
            }
            for each in sorted(failures.values(), key=lambda each: -each.count)
        ],
    }


def _summary(result: dict[str, Any]) -> str:
    lines = [f"{each['count']:6} {each['target']}: {each['place']}: {each['told']}" for each in result["failures"]]
    smallest = [f"       {each['smallest']}" for each in result["failures"]]
    told = ", ".join(f"{result[how]} {how}" for how in (REFUSED, ACCEPTED, TRACEBACK, HANG, CRASH))
    return "\n".join([*(line for pair in zip(lines, smallest) for line in pair), f"{result['tried']} tried: {told}"])
