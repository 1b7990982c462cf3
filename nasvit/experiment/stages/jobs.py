"""One training of one subnet, as the fine-tuning stage does it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasvit.compute import Compute
from nasvit.experiment.config import Experiment
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.stages.subjects import Subject
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import is_saved, load_network
from nasvit.files.records import read_json
from nasvit.training.trainer import Trainer

KINDS = {
    "finetuned": "fine-tuned",
    "scratch": "from scratch",
    "scratch_time": "from scratch, equal time",
}
"""The trainings of a subnet, by the names of their folders. ``scratch`` has the epochs of the recipe, ``scratch_time``
those that fit in the time that the subnet took."""

ASKED, START = "asked.json", "start"


@dataclass(frozen=True)
class Job:
    """One training of one subnet.

    Args:
        subject: the subnet.
        how: one of :data:`KINDS`.
        training: recipe, teacher, branches, NetAug.
        images: ``all``, or ``train`` without those held out.
        start: SHA-256 of the weights that it starts from; empty: random ones.
    """

    subject: Subject
    how: str
    training: Training
    images: str
    start: str = ""

    @property
    def name(self) -> str:
        """Name on the progress bar."""
        return f"{self.subject.name} {KINDS[self.how]}"

    @property
    def folder(self) -> Path:
        """Folder of the trained network."""
        return self.subject.folder / self.how

    @property
    def checkpoints(self) -> Path:
        """Folder of the training."""
        return training_folder(self.subject, self.how)

    @property
    def asked(self) -> dict[str, Any]:
        """What the trained network depends on, of what may change in the folder of an experiment."""
        asked = {"architecture": json.loads(self.subject.architecture.to_json()), "training": self.training.to_json()}
        asked |= {} if self.images == "train" else {"images": self.images}
        return asked | ({START: self.start} if self.start else {})

    def of_scratch(self, how: str, learning_rate: float | None, epochs: int | None = None) -> Job:
        """Return the same training from random weights, with another learning rate or number of epochs if given."""
        recipe = self.training.recipe
        recipe = recipe if learning_rate is None else replace(recipe, learning_rate=learning_rate)
        recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
        return replace(self, how=how, training=self.training.by(recipe), start="")

    def fitting(self, bench: Workbench, compute: Compute, note: str = "") -> Fitting:
        """Return the training, ready to begin.

        Args:
            bench: the experiment.
            compute: the processes that train together.
            note: addition to the name.
        """
        extracted = load_network(self.subject.folder / "extracted") if self.how == "finetuned" else None
        start, seed = Start(self.subject.spec(bench), extracted), bench.experiment.seed
        return Fitting(start, self.training, bench.images, seed=seed, name=self.name + note, compute=compute)

    def trainer(self, bench: Workbench, fitting: Fitting, folder: Path) -> Trainer:
        """Return the trainer; without held-out images there is nothing to validate on."""
        if self.images == "train":
            return fitting.trainer(folder)
        return fitting.trainer(folder, images=bench.images.whole, every=0)


def training_folder(subject: Subject, how: str) -> Path:
    """Return the folder of checkpoints, log and times of one training of a subnet; it may not exist."""
    return subject.folder / f"{how}-training"


def trained_kinds(experiment: Experiment, subject: Subject) -> list[str]:
    """Return the kinds of finished trainings that an experiment asks for; others may be of an earlier configuration."""
    compare, inherits = experiment.compare, experiment.uses_supernet
    wanted = {
        "finetuned": inherits,
        "scratch": not inherits or (compare.scratch and compare.equal != "time"),
        "scratch_time": inherits and compare.scratch and compare.equal != "epochs",
    }
    return [how for how in KINDS if wanted[how] and is_saved(subject.folder / how)]


def trained_epochs(subject: Subject, how: str) -> int:
    """Return the epochs of a training that was begun."""
    return int(read_json(training_folder(subject, how) / ASKED)["training"]["recipe"]["epochs"])
