"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.stages.extract import save
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.trials import finalist_folder
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import Described, is_saved, load_network, load_saved
from nasvit.records import made_for, write_json
from nasvit.search.candidates import Candidate
from nasvit.training.processes import once

_KINDS = {"inherited": None, "finetune": "finetuned", "scratch": "scratch"}  # what the search has trained already


def finetune(bench: Workbench) -> None:
    """Train every extracted subnet on into ``subnets/NAME/finetuned``; with ``compare.scratch`` also into ``scratch``.

    Each is trained by the recipe that was found for it, or else by the experiment's, with the teacher, branches or
    wider networks of ``finetune``. Without a supernet there is only ``scratch``. Finished networks are left alone, an
    unfinished training goes on where it was stopped; a network of another search result or configuration is trained
    anew.

    Raises:
        FileNotFoundError: if a subnet was not extracted yet.
    """
    compare, inherits = bench.experiment.compare, bench.experiment.search.uses_supernet
    for subject in subjects(bench):
        if inherits:
            if not is_saved(subject.folder / "extracted"):
                raise FileNotFoundError(f"subnet {subject.name} is not extracted yet; run the extract stage first")
            _train_to(bench, subject, "finetuned", subject.training)
        if compare.scratch or not inherits:
            _train_to(bench, subject, "scratch", _from_scratch(bench, subject.training))


def _from_scratch(bench: Workbench, training: Training) -> Training:
    """Return the training from scratch: the same, with the learning rate of ``compare`` if it has one."""
    rate, inherits = bench.experiment.compare.learning_rate, bench.experiment.search.uses_supernet
    return training if rate is None or not inherits else training.by(replace(training.recipe, learning_rate=rate))


def _train_to(bench: Workbench, subject: Subject, how: str, training: Training) -> None:
    folder, checkpoints = subject.folder / how, subject.folder / f"{how}-training"
    asked = {"architecture": json.loads(subject.architecture.to_json()), "training": training.to_json()}
    once(lambda: _claim(checkpoints / "asked.json", asked, (folder, checkpoints)))
    if is_saved(folder):
        return
    trained = _finalist(bench, subject, how, training) or _train(bench, subject, how, training, checkpoints)
    origin = {"weights": how, "recipe": training.recipe.to_json(), "training": training.to_json()}
    once(lambda: save(bench, subject, trained.network, folder, origin, trained.card.fused))


def _train(bench: Workbench, subject: Subject, how: str, training: Training, checkpoints: Path) -> Described:
    extracted = load_network(subject.folder / "extracted") if how == "finetuned" else None
    start = Start(subject.spec(bench), extracted)
    fitting = Fitting(start, training, bench.images, seed=bench.experiment.seed, name=f"{subject.name} {how}")
    trained = fitting.trainer(checkpoints).run()
    return Described(fitting.deployed(trained), fitting.card(trained, {}))


def _finalist(bench: Workbench, subject: Subject, how: str, training: Training) -> Described | None:
    """Return the network if the search has trained it in exactly this way, else None."""
    folder = finalist_folder(bench, Candidate(subject.architecture, training.recipe))
    if how != _KINDS[bench.experiment.search.evaluate] or not is_saved(folder):
        return None
    return load_saved(folder)


def _claim(record: Path, asked: dict[str, Any], folders: Sequence[Path]) -> None:
    """Record the configuration of a training, and remove networks that were trained by another one."""
    if not made_for(record, asked):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    write_json(record, asked)
