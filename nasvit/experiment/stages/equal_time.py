"""The epochs that training from scratch gets, so that it takes as long as the whole way to a subnet took."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from nasvit.experiment.clock import Spent, spent, timed
from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.stages.jobs import Job
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import read_json, write_record
from nasvit.training.metrics import read_metrics

RECORD = "scratch_time.json"

_SHARED = ("train", "search", "extract")  # the stages that all subnets share


def equal_time_epochs(bench: Workbench, finetuning: Job) -> int:
    """Return the epochs that fit in the time of a subnet's share of the whole way, and record them.

    Its share is that of supernet, search and extraction, divided by the number of budgets, and its own fine-tuning.
    What was recorded stays while fine-tuning and search are the same ones, so that a training that was stopped goes on
    and a finished one is left alone, though times differ a little whenever they are measured.

    Args:
        bench: the experiment.
        finetuning: the finished fine-tuning of the same network on the same images.

    Raises:
        ValueError: if it is not known how long a stage took.
    """
    path = finetuning.subject.folder / RECORD
    asked = {"finetuning": finetuning.asked, "search": bench.experiment.to_json()["search"]}
    if path.exists() and (recorded := read_json(path))["asked"] == asked:
        return int(recorded["epochs"])
    require_times(bench, ("train", "search") if bench.experiment.search.trains_supernet else ("search",))
    times = spent(bench.folder)
    way = sum(times.get(stage, Spent()).work for stage in _SHARED) / len(load_choices(bench))
    epoch = _seconds_per_epoch(bench, finetuning)
    epochs = epochs_that_fit(way, epoch, finetuning.training.recipe.epochs)
    numbers = {"share_of_the_way": round(way, 2), "seconds_per_epoch": round(epoch, 4)}
    write_record(path, {"epochs": epochs, **numbers, "asked": asked})
    return epochs


def epochs_that_fit(way: float, epoch: float, epochs: int) -> int:
    """Return the epochs that take as long as a subnet's share of the way before, and then its fine-tuning.

    Args:
        way: seconds of its share of supernet, search and extraction.
        epoch: seconds of an epoch of its fine-tuning.
        epochs: epochs of its fine-tuning.
    """
    return epochs + int(way / epoch)


def require_times(bench: Workbench, stages: Iterable[str]) -> None:
    """Refuse to compare at equal time where it is not known how long finished stages took.

    Raises:
        ValueError: naming the stages and the ways out.
    """
    unknown = [stage for stage in stages if stage not in spent(bench.folder)]
    if unknown:
        raise ValueError(
            f"compare.equal: time, but {bench.folder} does not say how long {' and '.join(unknown)} took (an earlier "
            "version of nasvit made it, or it was copied); set compare.equal to epochs, or give another output folder"
        )


def _seconds_per_epoch(bench: Workbench, job: Job) -> float:
    """Return the seconds of an epoch of a finished training; if the search did it, of one that is made to time it."""
    if job.how in spent(job.checkpoints):
        return _measured(job.checkpoints, job.how) / job.training.recipe.epochs
    compute = bench.compute.alone()
    with TemporaryDirectory() as folder:
        trainer = job.trainer(bench, job.fitting(bench, compute, ", one epoch to time it"), Path(folder))
        with timed(Path(folder), job.how, compute):
            trainer.run(until=trainer.steps_per_epoch)
        return _measured(Path(folder), job.how)


def _measured(folder: Path, name: str) -> float:
    """Return the seconds of a training's own steps: what it lost when it was killed is no part of an epoch."""
    steps = [record["seconds"] for record in read_metrics(folder / "metrics.jsonl") if "seconds" in record]
    taken = spent(folder)[name]
    return float(steps[-1]) * taken.work / taken.wall  # the log has seconds on the clock
