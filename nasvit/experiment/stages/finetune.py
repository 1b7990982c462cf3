"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nasvit.compute import Compute
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.shared_folder import is_there
from nasvit.experiment.stages.extract import save
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.trials import finalist_folder
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import CARD
from nasvit.export.saved import Described, is_saved, load_network, load_saved
from nasvit.records import made_for, write_json
from nasvit.search.candidates import Candidate

_KINDS = {"inherited": None, "finetune": "finetuned", "scratch": "scratch"}  # what the search has trained already


def finetune(bench: Workbench) -> None:
    """Train every extracted subnet on into ``subnets/NAME/finetuned``; with ``compare.scratch`` also into ``scratch``.

    Each is trained by the recipe that was found for it, or else by the experiment's, with the teacher, branches or
    wider networks of ``finetune``. Without a supernet there is only ``scratch``. Finished networks are left alone, an
    unfinished training goes on where it was stopped; a network of another search result or configuration is trained
    anew. Several processes train one each, and what is left together.

    Raises:
        FileNotFoundError: if a subnet was not extracted yet.
    """
    jobs = _jobs(bench)
    bench.open_images()
    bench.compute.once(lambda: _claim(jobs))
    saved = bench.compute.from_first(lambda: [is_saved(job.folder) for job in jobs])
    left = [job for job, done in zip(jobs, saved, strict=True) if not done]
    can_join = bench.compute.can_share
    for job, compute in bench.compute.share_out(left, lambda job: can_join(job.training.recipe.batch_size)):
        _train_to(bench, job, compute)
    bench.compute.wait()


@dataclass(frozen=True)
class _Job:
    """One training of one subnet.

    Args:
        subject: the subnet.
        how: ``finetuned`` or ``scratch``.
        training: recipe, teacher, branches, NetAug.
    """

    subject: Subject
    how: str
    training: Training

    @property
    def folder(self) -> Path:
        """Folder of the trained network."""
        return self.subject.folder / self.how

    @property
    def checkpoints(self) -> Path:
        """Folder of the training."""
        return self.subject.folder / f"{self.how}-training"


def _jobs(bench: Workbench) -> list[_Job]:
    compare, inherits = bench.experiment.compare, bench.experiment.search.uses_supernet
    jobs = []
    for subject in subjects(bench):
        if inherits:
            if not is_there(subject.folder / "extracted" / CARD, bench.compute):
                raise FileNotFoundError(f"subnet {subject.name} is not extracted yet; run the extract stage first")
            jobs.append(_Job(subject, "finetuned", subject.training))
        if compare.scratch or not inherits:
            jobs.append(_Job(subject, "scratch", _from_scratch(bench, subject.training)))
    return jobs


def _from_scratch(bench: Workbench, training: Training) -> Training:
    """Return the training from scratch: the same, with the learning rate of ``compare`` if it has one."""
    rate, inherits = bench.experiment.compare.learning_rate, bench.experiment.search.uses_supernet
    return training if rate is None or not inherits else training.by(replace(training.recipe, learning_rate=rate))


def _train_to(bench: Workbench, job: _Job, compute: Compute) -> None:
    training = job.training
    finalist = compute.from_first(lambda: _finalist(bench, job))
    trained = _train(bench, job, compute) if finalist is None else load_saved(finalist)
    origin = {"weights": job.how, "recipe": training.recipe.to_json(), "training": training.to_json()}
    compute.once(lambda: save(bench, job.subject, trained.network, job.folder, origin, trained.card.fused))


def _train(bench: Workbench, job: _Job, compute: Compute) -> Described:
    extracted = load_network(job.subject.folder / "extracted") if job.how == "finetuned" else None
    start = Start(job.subject.spec(bench), extracted)
    name, seed = f"{job.subject.name} {job.how}", bench.experiment.seed
    fitting = Fitting(start, job.training, bench.images, seed=seed, name=name, compute=compute)
    trained = fitting.trainer(job.checkpoints).run()
    return Described(fitting.deployed(trained), fitting.card(trained, {}))


def _finalist(bench: Workbench, job: _Job) -> Path | None:
    """Return the folder of the network if the search has trained it in exactly this way, else None."""
    folder = finalist_folder(bench, Candidate(job.subject.architecture, job.training.recipe))
    if job.how != _KINDS[bench.experiment.search.evaluate] or not is_saved(folder):
        return None
    return folder


def _claim(jobs: Sequence[_Job]) -> None:
    """Record the configurations of trainings, and remove networks that were trained by other ones."""
    for job in jobs:
        asked = {"architecture": json.loads(job.subject.architecture.to_json()), "training": job.training.to_json()}
        record = job.checkpoints / "asked.json"
        if not made_for(record, asked):
            for folder in (job.folder, job.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
        write_json(record, asked)
