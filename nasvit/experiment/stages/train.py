"""Stage 1: train the supernet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from nasvit.compute import Compute
from nasvit.experiment.config import TrainConfig
from nasvit.experiment.fitting import objective
from nasvit.experiment.memory import require_memory
from nasvit.experiment.shared_folder import is_there
from nasvit.experiment.stages.start import SupernetStart, random_supernet, start_supernet
from nasvit.experiment.starting import require_same_weights
from nasvit.experiment.workbench import CLASSES, STARTED_FROM, SUPERNET, Workbench
from nasvit.files.records import read_json, write_record
from nasvit.files.tensors import load_state, read_tensors, write_tensors
from nasvit.files.whole import sha256_of
from nasvit.layers.calibration import calibrate
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.tasks.distillation import Distillation
from nasvit.training.conflict import ConflictPolicy, Project, Sum
from nasvit.training.learner import Learner, Values
from nasvit.training.sampling import Sampling, Sandwich
from nasvit.training.start import Saving, Savings
from nasvit.training.trainer import Trainer

SEARCHED_IN = "supernet.json"
"""File that says which supernet the search is made in, beside what it found."""

RANDOM_EVALUATED = 2  # random subnets in the regular evaluations, always the same ones


def train(bench: Workbench, *, until: int | None = None) -> SharedNetwork:
    """Train the supernet of an experiment, or go on where an earlier call was stopped.

    Args:
        bench: the experiment.
        until: stop after so many steps; None trains to the end.

    Returns:
        The supernet to search in (its moving average if the recipe has one).
    """
    config, start = bench.experiment.train, start_supernet(bench)
    trainer = supernet_trainer(bench, config, bench.folder / "train", bench.compute, start)
    require_memory(trainer)
    bench.record_family()
    _tell(bench, start)
    trainer.run(until=until)
    supernet = trainer.trained
    assert isinstance(supernet, SharedNetwork)
    if trainer.step == trainer.steps:
        bench.compute.once(lambda: write_record(bench.folder / CLASSES, list(bench.classes)))
        bench.compute.once(lambda: write_tensors(bench.folder / SUPERNET, supernet.state_dict()))
    return supernet


def is_trained(bench: Workbench) -> bool:
    """Return whether :func:`train` has finished."""
    return bench.compute.from_first((bench.folder / SUPERNET).exists)


def load_supernet(bench: Workbench) -> SharedNetwork:
    """Load the supernet that :func:`train` finished, onto the device; where none is trained, what it starts from.

    Raises:
        FileNotFoundError: if there is none yet.
        ValueError: if its file is damaged.
    """
    if not bench.experiment.search.trains_supernet:
        start = start_supernet(bench)
        _tell(bench, start)
        start.supernet.requires_grad_(False)
        return bench.compute.place(start.supernet)
    path = bench.folder / SUPERNET
    if not is_there(path, bench.compute):
        raise FileNotFoundError(f"there is no trained supernet in {bench.folder}; run the train stage first")
    supernet = bench.origin.supernet(bench.space, len(bench.classes), bench.experiment.seed)
    _load_trained(supernet, path)
    supernet.requires_grad_(False)
    return bench.compute.place(supernet)


def _load_trained(supernet: nn.Module, path: Path) -> None:
    try:
        load_state(supernet, read_tensors(path), path)
    except ValueError as error:
        raise ValueError(f"{error}; remove it, and the train stage writes it again from its last checkpoint") from error


def require_same_supernet(bench: Workbench) -> str:
    """Return the SHA-256 of the trained supernet, if it is the one that the search began with.

    All processes call this together.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it was replaced since.
    """
    path, record = bench.folder / SUPERNET, bench.folder / "search" / SEARCHED_IN
    if not is_there(path, bench.compute):
        raise FileNotFoundError(f"there is no trained supernet in {bench.folder}; run the train stage first")
    return bench.compute.from_first(lambda: _same(path, record))


def _same(path: Path, record: Path) -> str:
    now = sha256_of(path)
    if not record.exists():
        write_record(record, {"sha256": now})
    if read_json(record)["sha256"] != now:
        raise ValueError(
            f"{path} is not the supernet that the search in {record.parent} rests on: its content changed since. Put "
            f"the file of before back, remove {record.parent} to search anew, or give another output folder"
        )
    return now


def _tell(bench: Workbench, start: SupernetStart) -> None:
    """Say once what the training starts from, and record it."""
    report, record = start.report, bench.folder / STARTED_FROM
    if report is None:
        return
    before = bench.compute.from_first(lambda: bench.started_from)
    if before:
        require_same_weights(report, before["started_from"], bench.folder)
    else:
        bench.compute.once(lambda: print(report, flush=True))
        bench.compute.once(lambda: write_record(record, report.to_json()))


def supernet_trainer(
    bench: Workbench, config: TrainConfig, folder: Path, compute: Compute, start: SupernetStart | None = None
) -> Trainer:
    """Return the trainer of the supernet.

    Args:
        bench: the experiment.
        config: its training.
        folder: folder of checkpoints and metrics.
        compute: the device, and the processes that train together.
        start: the supernet, with what was loaded; None: one with random weights.
    """
    start = start or random_supernet(bench)
    supernet = bench.compute.place(start.supernet)
    learner = Learner(
        supernet,
        config.recipe,
        objective(config, bench.images, compute, usual=Distillation(alpha=1.0)),  # a teacher teaches alone
        sampling=_sampling(bench, config),
        distill=bench.task.between_subnets(config.distill),
        conflict=conflict_policy(config, supernet),
        is_loaded=None if start.report is None else start.is_loaded,
    )
    return Trainer(
        learner,
        bench.images.training(config.recipe, compute=compute),
        config.recipe,
        folder,
        seed=bench.experiment.seed,
        chance_loss=bench.task.chance_loss,
        running=config,
        compute=compute,
        evaluate=lambda model: _evaluate_some(bench, model),
        evaluate_every=config.evaluate_every,
        name="supernet",
    )


def _sampling(bench: Workbench, config: TrainConfig) -> Sampling:
    sandwich = Sandwich(bench.space, random=config.random_subnets, family=bench.family)
    return sandwich if config.savings == Savings() else Saving(sandwich, config.savings, bench.space.resolution)


def conflict_policy(config: TrainConfig, supernet: nn.Module) -> ConflictPolicy:
    """Return the conflict policy of a configuration."""
    clip, clip_value = config.recipe.clip_norm or None, config.recipe.clip_value or None
    if config.conflict == "none":
        return Sum(clip, clip_value)
    names = [name for name, parameter in supernet.named_parameters() if parameter.requires_grad]
    return Project(
        names,
        per=config.conflict_per,
        clip=clip,
        clip_value=clip_value,
        project=config.conflict == "project",
        project_from=config.project_from,
    )


def _evaluate_some(bench: Workbench, model: nn.Module) -> Values:
    """Return validation scores of the smallest, the largest and a few random subnets, each calibrated."""
    assert isinstance(model, SharedNetwork)
    rng = np.random.default_rng(bench.experiment.seed)
    ends = bench.family or bench.space
    subnets = {"smallest": ends.smallest, "largest": ends.largest}
    drawn = bench.draw(RANDOM_EVALUATED, rng)
    subnets |= {f"random_{number}": each for number, each in enumerate(drawn)}
    calibration, compute = bench.calibration(), bench.compute
    networks = [calibrate(model.at(each), calibration, compute=compute) for each in subnets.values()]
    batches = bench.images.evaluation_loader(bench.images.validation).evaluation_batches()
    scores = bench.task.evaluate_all(networks, batches, compute)
    return {
        f"{bench.task.metric.name}_{name}": round(score.value, 4) for name, score in zip(subnets, scores, strict=True)
    }
