"""All stages of an experiment, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nasvit.compute import ALONE, Compute
from nasvit.experiment.clock import LABELS, minutes, spent, timed, total
from nasvit.experiment.config import Experiment
from nasvit.experiment.fitting import objective
from nasvit.experiment.image_size import size_remarks
from nasvit.experiment.planning import follow_plan, follow_rest
from nasvit.experiment.stages.checks import check_trainings
from nasvit.experiment.stages.equal_time import require_times
from nasvit.experiment.stages.evaluate import RESULTS, evaluate
from nasvit.experiment.stages.extract import extract
from nasvit.experiment.stages.finetune import finetune
from nasvit.experiment.stages.jobs import KINDS, training_folder
from nasvit.experiment.stages.search import check_budgets, is_searched, search
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.stages.train import SUPERNET, is_trained, train
from nasvit.experiment.workbench import Workbench
from nasvit.experiment.yaml_file import decisive
from nasvit.files.held import held
from nasvit.files.records import read_record, write_record
from nasvit.training.progress import part_of

T = TypeVar("T")
Stage = Callable[[Workbench], Any]

STAGES: dict[str, Stage] = {
    "train": lambda bench: _timed(bench, "train", train),
    "search": lambda bench: _timed(bench, "search", search),
    "extract": lambda bench: _timed(bench, "extract", extract),
    "finetune": lambda bench: _finetune(bench),
    "evaluate": lambda bench: _evaluate(bench),
}
"""The stages as commands of their own; ``times.json`` in the folder of the results has the seconds of each."""


def stages_of(experiment: Experiment) -> list[str]:
    """Return the names of the stages that a run of an experiment has, in their order."""
    skipped = {"train": not experiment.search.trains_supernet, "extract": not experiment.uses_supernet}
    return [name for name in STAGES if not skipped.get(name)]


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
    return Workbench(experiment, _folder(experiment, path, output), compute)


@contextmanager
def held_workbench(
    path: Path, output: Path | None = None, overrides: Sequence[tuple[str, str]] = (), compute: Compute = ALONE
) -> Iterator[Workbench]:
    """Open an experiment's folder, as :func:`open_workbench` does, which nobody else writes to in the meantime.

    Raises:
        ValueError: also if another process writes there.
    """
    folder = _folder(Experiment.load(path, overrides), path, output)
    with held(folder, compute):
        yield open_workbench(path, folder, overrides, compute)


def _folder(experiment: Experiment, path: Path, output: Path | None) -> Path:
    return output or experiment.output or Path("runs") / path.stem


def check(bench: Workbench) -> list[str]:
    """Refuse images that cannot be opened, and what cannot be searched or fine-tuned, before a supernet is trained.

    Returns:
        A line for every budget; see :func:`nasvit.experiment.stages.search.check_budgets`. Perhaps one of the images'
        size.

    Raises:
        ValueError: naming the budget that no subnet meets, the images or the teacher that cannot be had, the recipe
            that these images cannot be trained by, or the times that are needed and not known.
    """
    bench.images.open()
    feasibility = check_budgets(bench)
    bench.compute.once(lambda: _check_times(bench))
    takes_any_size = bench.experiment.task != "classification"
    remarks = [] if takes_any_size else size_remarks(bench.images, bench.space.resolution, bench.origin.about)
    remarks += bench.origin.latency_remarks(len(bench.classes))
    if not bench.compute.from_first(lambda: is_searched(bench)):
        check_trainings(bench)
        objective(bench.experiment.finetune, bench.images, bench.compute)
    return [*feasibility, *remarks]


def run(bench: Workbench) -> list[dict[str, Any]]:
    """Run every stage that is not finished, in order; killed at any moment, it goes on when run again.

    Several processes share every stage.

    Returns:
        One row for each subnet (see the evaluate stage).

    Raises:
        ValueError: for a mistake that :func:`check` finds, before anything is trained; for images that changed
            meanwhile; or if another process works in the same folder.
    """
    with held(bench.folder, bench.compute):
        return _run(bench)


def _run(bench: Workbench) -> list[dict[str, Any]]:
    follow_plan(bench)
    feasibility = [_told(bench), *check(bench)]
    bench.compute.once(lambda: print("\n".join(feasibility)))
    inherits = bench.experiment.uses_supernet
    if bench.experiment.search.trains_supernet and not is_trained(bench):
        with _begun(bench, "train"):
            _timed(bench, "train", train)
    if not bench.compute.from_first(lambda: is_searched(bench)):
        with _begun(bench, "search"):
            _timed(bench, "search", search)
    if inherits:
        with _begun(bench, "extract"):
            _timed(bench, "extract", extract)
    with _begun(bench, "finetune"):
        _finetune(bench)
    bench.compute.once(bench.images.require_unchanged)
    with _begun(bench, "evaluate"):
        return _evaluate(bench)


def _told(bench: Workbench) -> str:
    """Return what the images are, in a line."""
    images = bench.images
    held_out = f"{len(images.validation):,} of them held out where something is chosen"
    counts = f"{len(images.whole):,} for training, {held_out}, and {len(images.test):,} for testing"
    return f"images: {counts}; {len(bench.classes):,} class{'es' * (len(bench.classes) != 1)}"


def _finetune(bench: Workbench) -> None:
    """Train the chosen subnets, in the time that is left if there is a plan."""
    follow_rest(bench)
    finetune(bench)


def _check_times(bench: Workbench) -> None:
    """Refuse to compare at equal time if finished stages did not record theirs."""
    experiment = bench.experiment
    if experiment.uses_supernet and experiment.compare.scratch and experiment.compare.equal != "epochs":
        done = {"train": (bench.folder / SUPERNET).exists(), "search": is_searched(bench)}
        require_times(bench, [stage for stage, finished in done.items() if finished])


@contextmanager
def _begun(bench: Workbench, stage: str) -> Iterator[None]:
    """Say which stage of how many begins, and let its progress bars tell of the whole experiment."""
    stages = stages_of(bench.experiment)
    number = f"stage {stages.index(stage) + 1} of {len(stages)}"
    if bench.compute.is_first:
        print(f"{number}: {LABELS[stage]}", flush=True)
    with part_of(lambda: f"{number}; {_progress(bench)}"):
        yield


def _progress(bench: Workbench) -> str:
    """Return what the whole experiment took so far, and what its plan leaves until only comparisons are trained."""
    times = spent(bench.folder)
    so_far, hours = total(times).wall, bench.asked.hours
    if hours is None:
        left = ""
    elif "compare" in times:
        left = ", now what the networks are compared with, beside the hours"
    else:
        left = f", {minutes(max(0.0, 3600 * hours - so_far))} left"
    return f"whole job: {minutes(so_far)} so far{left}"


def _timed(bench: Workbench, name: str, stage: Callable[[Workbench], T]) -> T:
    """Do a stage and record its time, unless all were finished before and it only reads what is there."""
    if bench.compute.from_first(lambda: _is_finished(bench)):
        return stage(bench)
    with timed(bench.folder, name, bench.compute):
        return stage(bench)


def _is_finished(bench: Workbench) -> bool:
    path = bench.folder / RESULTS
    if not path.exists():
        return False
    return decisive({"weights": None} | read_record(path, "config")["config"]) == decisive(bench.experiment.to_json())


def _evaluate(bench: Workbench) -> list[dict[str, Any]]:
    """Evaluate everything, and add to ``results.json`` how long all of it took."""
    rows = _timed(bench, "evaluate", evaluate)
    bench.compute.once(lambda: _add_times(bench))
    return rows


def _add_times(bench: Workbench) -> None:
    path = bench.folder / RESULTS
    stages = {stage: seconds.to_json() for stage, seconds in spent(bench.folder).items()}
    trainings = {
        f"{subject.name}/{name}": seconds.to_json()
        for subject in subjects(bench)
        for how in KINDS
        for name, seconds in spent(training_folder(subject, how)).items()
    }
    write_record(path, read_record(path) | {"times": {"stages": stages, "trainings": trainings}})
