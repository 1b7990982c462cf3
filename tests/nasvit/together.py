"""A program for several processes: what each of them sees of the others, written as JSON.

Started by ``torchrun ... -m tests.nasvit.together FOLDER``; one start looks at everything, because starting takes long.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nasvit.compute import Compute, open_compute
from nasvit.experiment.shared_folder import require_shared

LIMIT, LONGER = 3.0, 4.5  # seconds: what a process waits for the others within a step, and more than that
SIZES = (1, 2, 3, 4, 5, 8)  # images of one process


def told(work: Callable[[], object]) -> str:
    """What is raised, as text; nothing if nothing is."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def numbers(compute: Compute) -> dict[str, Any]:
    """Parts of batches, and numbers of tensors."""
    count, rank = compute.count, compute.rank
    return {
        "count": count,
        "rank": rank,
        "text": str(compute),
        "is_first": compute.is_first,
        "shows": compute.shows,
        "parts": {size: compute.part_of(2 * count * size).tolist() for size in SIZES},
        "refused": told(lambda: compute.part_of(2 * count + 2)),
        "taken": {size: compute.take_part(torch.arange(count * size)).tolist() for size in SIZES},
        "alone": [compute.alone().count, compute.alone().rank, compute.alone().shows],
        "sum": compute.sum_(torch.tensor([1.0, float(rank)])).tolist(),
        "mean": compute.mean_(torch.tensor([1.0, float(rank)])).tolist(),
        "stack": compute.stack(torch.tensor([[float(rank), 7.0]])).tolist(),
        "copied": _copied(compute),
    }


def _copied(compute: Compute) -> list[int]:
    mine = torch.full((3,), compute.rank + 5)
    compute.copy_first_(mine)
    return mine.tolist()


def talks(compute: Compute, folder: Path) -> dict[str, Any]:
    """What processes tell each other."""

    def fail() -> None:
        raise ValueError("the teacher has no name")

    done = list[int]()
    compute.once(lambda: done.append(compute.rank))
    return {
        "gather": compute.gather(compute.rank),
        "from_first": compute.from_first(lambda: [compute.rank, "told"]),
        "failure": told(lambda: compute.from_first(fail)),
        "without_words": told(lambda: compute.from_first(lambda: lambda: 0)),
        "big": int(compute.from_first(lambda: torch.ones(5_000_000, dtype=torch.int8)).sum()),
        "once": done,
        "jobs": [_shared_out(compute, compute.count + odd, lambda job: True) for odd in (-1, 0, 1)],
        "separate": _shared_out(compute, 2 * compute.count + 1, lambda job: job % 2 == 1),
        "one_folder": told(lambda: require_shared(folder / "one", compute)),
        "left_in_folder": [path.name for path in (folder / "one").iterdir()],
        "other_folders": told(lambda: require_shared(folder / f"own-{compute.rank}", compute, patience=0.2)),
        "in_step": compute.gather(compute.rank),
    }


def _shared_out(compute: Compute, jobs: int, can_join: Callable[[int], bool]) -> list[list[int]]:
    return [[job, doers.count, doers.rank] for job, doers in compute.share_out(range(jobs), can_join)]


def patience(compute: Compute) -> dict[str, Any]:
    """What happens if the first process is busy for longer than the limit of a step."""

    def busy() -> str:
        time.sleep(LONGER)
        return "done"

    waited = {"from_first_is_patient": compute.from_first(busy)}
    if compute.is_first:
        time.sleep(LONGER)
    waited["wait_is_patient"] = told(compute.wait)
    if compute.is_first:
        time.sleep(LONGER)
    waited["step_is_not"] = told(lambda: compute.sum_(torch.ones(1)))
    return waited


def main(folder: Path) -> None:
    """Look at everything; at the end the last process leaves without a word."""
    torch.set_num_threads(1)
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    (folder / f"ready-{rank}").touch()
    while not all((folder / f"ready-{each}").exists() for each in range(count)):
        time.sleep(0.05)  # so that the low limit counts from the moment when all are here
    with open_compute("cpu", datetime.timedelta(seconds=LIMIT)) as compute:
        seen = {**numbers(compute), **talks(compute, folder), **(patience(compute) if count == 2 else {})}
        if rank == count - 1:
            _write(folder, rank, seen)
            os._exit(0)
        seen["left_alone"] = told(compute.wait)
        _write(folder, rank, seen)


def _write(folder: Path, rank: int, seen: dict[str, Any]) -> None:
    (folder / f"seen-{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
