"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nasvit.compute import Compute
from nasvit.experiment.clock import timed
from nasvit.experiment.memory import require_memory
from nasvit.experiment.shared_folder import is_there
from nasvit.experiment.stages.equal_time import equal_time_epochs
from nasvit.experiment.stages.extract import save
from nasvit.experiment.stages.jobs import ASKED, START, Job
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.trials import finalist_folder
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import CARD
from nasvit.export.saved import WEIGHTS, Described, is_saved, load_saved
from nasvit.files.records import made_for, read_json, write_record
from nasvit.files.whole import sha256_of
from nasvit.search.candidates import Candidate

_TRAINED_BY_SEARCH = {"finetune": "finetuned", "scratch": "scratch"}


def finetune(bench: Workbench) -> None:
    """Train every extracted subnet on into ``subnets/NAME/finetuned``; then what it is compared with.

    Each is trained by the recipe that was found for it, or else by the experiment's, with the teacher, branches or
    wider networks of ``finetune``, on the images of ``finetune_on``. Without a supernet there is only ``scratch``,
    from random weights; ``compare.scratch`` adds ``scratch_time`` or ``scratch`` beside ``finetuned``, see
    :data:`nasvit.experiment.stages.jobs.KINDS`. Finished networks are left alone, an unfinished training goes on where
    it was stopped; a network of another search result or configuration is trained anew. Several processes train one
    each, and what is left together.

    Raises:
        FileNotFoundError: if a subnet was not extracted yet.
        ValueError: if comparing at equal time is asked for and it is not known how long a stage took.
    """
    jobs = [_job(bench, subject) for subject in subjects(bench)]
    bench.open_images()
    _train_all(bench, "finetune", [job for job in jobs if job.subject.chosen])
    _train_all(bench, "compare", [job for job in jobs if not job.subject.chosen])
    if bench.experiment.compare.scratch and bench.experiment.uses_supernet:
        _train_all(bench, "compare", _from_scratch(bench, jobs))


def _job(bench: Workbench, subject: Subject) -> Job:
    """Return the training of a subnet that its results are those of."""
    inherits = bench.experiment.uses_supernet
    if inherits and not is_there(subject.folder / "extracted" / CARD, bench.compute):
        raise FileNotFoundError(f"subnet {subject.name} is not extracted yet; run the extract stage first")
    if not inherits:
        return Job(subject, "scratch", subject.training, bench.experiment.finetune_on)
    start = bench.compute.from_first(lambda: sha256_of(subject.folder / "extracted" / WEIGHTS))
    return Job(subject, "finetuned", subject.training, bench.experiment.finetune_on, start)


def _from_scratch(bench: Workbench, jobs: Sequence[Job]) -> list[Job]:
    """Return the trainings from scratch that fine-tunings are compared with."""
    compare, found = bench.experiment.compare, []
    if compare.equal != "time":
        found += [job.of_scratch("scratch", compare.learning_rate) for job in jobs]
    if compare.equal != "epochs":
        epochs = bench.compute.from_first(lambda: [equal_time_epochs(bench, job) for job in jobs])
        found += [
            job.of_scratch("scratch_time", compare.learning_rate, each) for job, each in zip(jobs, epochs, strict=True)
        ]
    return found


def _train_all(bench: Workbench, stage: str, jobs: Sequence[Job]) -> None:
    """Train what is not finished yet; the time counts as that of a stage."""
    bench.compute.once(lambda: _claim(jobs))
    saved = bench.compute.from_first(lambda: [is_saved(job.folder) for job in jobs])
    left = [job for job, done in zip(jobs, saved, strict=True) if not done]
    if not left:
        return
    can_join = bench.compute.can_share
    own = [job for job in left if _first_alike(job, jobs) is job]
    with timed(bench.folder, stage, bench.compute):
        for job, compute in bench.compute.share_out(own, lambda job: can_join(job.training.recipe.batch_size)):
            _train_to(bench, job, compute, f" ({own.index(job) + 1} of {len(own)})")
        bench.compute.wait()
        for job in left:
            if job not in own:
                bench.compute.once(partial(_take_over, bench, job, _first_alike(job, jobs)))


def _first_alike(job: Job, jobs: Sequence[Job]) -> Job:
    """Return the first training that is the same one: where budgets have one subnet, it is trained once."""
    return next(each for each in jobs if (each.how, each.asked) == (job.how, job.asked))


def _take_over(bench: Workbench, job: Job, other: Job) -> None:
    """Save for one budget the network that was trained for another."""
    trained = load_saved(other.folder)
    save(bench, job.subject, trained.network, job.folder, _origin(job), trained.card.fused)


def _train_to(bench: Workbench, job: Job, compute: Compute, note: str) -> None:
    finalist = compute.from_first(lambda: _finalist(bench, job))
    trained = _train(bench, job, compute, note) if finalist is None else load_saved(finalist)
    compute.once(lambda: save(bench, job.subject, trained.network, job.folder, _origin(job), trained.card.fused))


def _origin(job: Job) -> dict[str, Any]:
    training = job.training
    return {"weights": job.how, "recipe": training.recipe.to_json(), "training": training.to_json()}


def _train(bench: Workbench, job: Job, compute: Compute, note: str) -> Described:
    fitting = job.fitting(bench, compute, note)
    trainer = job.trainer(bench, fitting, job.checkpoints)
    require_memory(trainer)
    with timed(job.checkpoints, job.how, compute):
        trained = trainer.run()
    return Described(fitting.deployed(trained), fitting.card(trained, {}))


def _finalist(bench: Workbench, job: Job) -> Path | None:
    """Return the folder of the network if the search has trained it in exactly this way, else None.

    The search trains without the held-out images that it chooses by, so that it has none that was trained on all.
    """
    folder = finalist_folder(bench, Candidate(job.subject.architecture, job.training.recipe))
    if job.images != "train" or job.how != _TRAINED_BY_SEARCH.get(bench.experiment.search.evaluate):
        return None
    return folder if is_saved(folder) else None


def _claim(jobs: Sequence[Job]) -> None:
    """Record the configurations of trainings, and remove networks that were trained by other ones."""
    for job in jobs:
        record = job.checkpoints / ASKED
        if not _made_for(record, job.asked):
            for folder in (job.folder, job.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
        write_record(record, job.asked)


def _made_for(record: Path, asked: dict[str, Any]) -> bool:
    """Return whether a training is the one that is asked for; earlier versions did not record what it starts from."""
    known = asked if not record.exists() or START in read_json(record) else asked.keys() - {START}
    return made_for(record, {name: asked[name] for name in known})
