"""All stages of an experiment, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nasvit.compute import ALONE, Compute
from nasvit.experiment.config import Experiment
from nasvit.experiment.fitting import objective
from nasvit.experiment.image_size import size_remarks
from nasvit.experiment.stages.checks import check_trainings
from nasvit.experiment.stages.evaluate import evaluate
from nasvit.experiment.stages.extract import extract
from nasvit.experiment.stages.finetune import finetune
from nasvit.experiment.stages.search import check_budgets, is_searched, search
from nasvit.experiment.stages.train import is_trained, train
from nasvit.experiment.workbench import Workbench

Stage = Callable[[Workbench], Any]

STAGES: dict[str, Stage] = {
    "train": train,
    "search": search,
    "extract": extract,
    "finetune": finetune,
    "evaluate": evaluate,
}


def open_workbench(
    path: Path, output: Path | None = None, overrides: Sequence[tuple[str, str]] = (), compute: Compute = ALONE
) -> Workbench:
    """Read an experiment and open its folder; once its images are read, the folder belongs to this experiment.

    Args:
        path: a YAML file.
        output: folder of the results; left out: the file's ``output``, else ``runs/`` and the name of the file.
        overrides: fields that replace those of the file; see :func:`search_spaces.reading.load_yaml`.
        compute: the device, and the processes that share the work.

    Raises:
        ValueError: for a mistake in the file, named with its line, or a folder that another experiment began.
    """
    experiment = Experiment.load(path, overrides)
    return Workbench(experiment, output or experiment.output or Path("runs") / path.stem, compute)


def check(bench: Workbench) -> list[str]:
    """Refuse images that cannot be opened, and what cannot be searched or fine-tuned, before a supernet is trained.

    Returns:
        A line for every budget; see :func:`nasvit.experiment.stages.search.check_budgets`. Perhaps one of the images'
        size.

    Raises:
        ValueError: naming the budget that no subnet meets, the images or the teacher that cannot be had, or the recipe
            that these images cannot be trained by.
    """
    feasibility = check_budgets(bench)
    bench.images.open()
    remarks = size_remarks(bench.images, bench.space.resolution, f"space {bench.space.name}")
    if not bench.compute.from_first(lambda: is_searched(bench)):
        check_trainings(bench)
        objective(bench.experiment.finetune, bench.images)
    return [*feasibility, *remarks]


def run(bench: Workbench) -> list[dict[str, Any]]:
    """Run every stage that is not finished, in order; killed at any moment, it goes on when run again.

    Several processes share every stage.

    Returns:
        One row for each subnet (see the evaluate stage).

    Raises:
        ValueError: for a mistake that :func:`check` finds, before anything is trained.
    """
    feasibility = check(bench)
    bench.compute.once(lambda: print("\n".join(feasibility)))
    inherits = bench.experiment.search.uses_supernet
    if inherits and not is_trained(bench):
        train(bench)
    if not bench.compute.from_first(lambda: is_searched(bench)):
        search(bench)
    if inherits:
        extract(bench)
    finetune(bench)
    return evaluate(bench)
