"""All stages of an experiment, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nasvit.experiment.config import Experiment
from nasvit.experiment.fitting import objective
from nasvit.experiment.stages.evaluate import evaluate
from nasvit.experiment.stages.extract import extract
from nasvit.experiment.stages.finetune import finetune
from nasvit.experiment.stages.search import check_budgets, is_searched, search
from nasvit.experiment.stages.train import train
from nasvit.experiment.workbench import Workbench
from nasvit.training.processes import once

Stage = Callable[[Workbench], Any]


def _alone(stage: Stage) -> Stage:
    """Run a stage in the first process while the others wait; they get an empty result."""

    def run_alone(bench: Workbench) -> Any:
        results: list[Any] = []
        once(lambda: results.append(stage(bench)))
        return results[0] if results else []

    return run_alone


STAGES: dict[str, Stage] = {
    "train": train,
    "search": _alone(search),
    "extract": _alone(extract),
    "finetune": finetune,
    "evaluate": _alone(evaluate),
}


def open_workbench(path: Path, output: Path | None = None, overrides: Sequence[tuple[str, str]] = ()) -> Workbench:
    """Read an experiment and open its folder; once its images are read, the folder belongs to this experiment.

    Args:
        path: a YAML file.
        output: folder of the results; left out: the file's ``output``, else ``runs/`` and the name of the file.
        overrides: fields that replace those of the file; see :func:`search_spaces.reading.load_yaml`.

    Raises:
        ValueError: for a mistake in the file, named with its line, or a folder that another experiment began.
    """
    experiment = Experiment.load(path, overrides)
    return Workbench(experiment, output or experiment.output or Path("runs") / path.stem)


def check(bench: Workbench) -> list[str]:
    """Refuse what cannot be searched, or fine-tuned by its teacher, before a supernet is trained.

    Returns:
        A line for every budget; see :func:`nasvit.experiment.stages.search.check_budgets`.

    Raises:
        ValueError: naming the budget that no subnet meets, or the teacher that cannot be had.
    """
    feasibility = check_budgets(bench)
    if bench.experiment.search.uses_supernet and not (bench.folder / "supernet.pt").exists():
        objective(bench.experiment.finetune, bench.images)
    return feasibility


def run(bench: Workbench) -> list[dict[str, Any]]:
    """Run every stage that is not finished, in order; killed at any moment, it goes on when run again.

    Returns:
        One row for each subnet (see the evaluate stage); in the first of several processes only.

    Raises:
        ValueError: for a mistake that :func:`check` finds, before anything is trained.
    """
    feasibility = check(bench)
    once(lambda: print("\n".join(feasibility)))
    inherits = bench.experiment.search.uses_supernet
    if inherits and not (bench.folder / "supernet.pt").exists():
        train(bench)
    once(lambda: is_searched(bench) or search(bench))
    if inherits:
        STAGES["extract"](bench)
    finetune(bench)
    rows: list[dict[str, Any]] = STAGES["evaluate"](bench)
    return rows
