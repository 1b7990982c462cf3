"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.calibration import track_statistics
from nasvit.distributed import once
from nasvit.evaluation import evaluate
from nasvit.experiment import Workbench, made_for, write_json
from nasvit.export import CARD, load_network
from nasvit.layers import Network
from nasvit.stages.extract import save
from nasvit.stages.subjects import Subject, subjects
from nasvit.supernet import build
from nasvit.training.task import NetworkTask, Values
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe


def finetune(bench: Workbench) -> None:
    """Train every extracted subnet on into ``subnets/NAME/finetuned``; with ``compare.scratch`` also into ``scratch``.

    Finished networks are left alone, an unfinished one goes on where it was stopped; one that was trained for another
    search result or by another recipe is trained anew.

    Raises:
        FileNotFoundError: if a subnet was not extracted yet.
    """
    compare, recipe = bench.experiment.compare, bench.experiment.finetune
    from_scratch = recipe if compare.learning_rate is None else replace(recipe, learning_rate=compare.learning_rate)
    for subject in subjects(bench):
        if not (subject.folder / "extracted" / CARD).exists():
            raise FileNotFoundError(f"subnet {subject.name} is not extracted yet; run the extract stage first")
        _train_to(bench, subject, "finetuned", recipe)
        if compare.scratch:
            _train_to(bench, subject, "scratch", from_scratch)


def _train_to(bench: Workbench, subject: Subject, how: str, recipe: Recipe) -> None:
    folder, training = subject.folder / how, subject.folder / f"{how}-training"
    asked = {"architecture": json.loads(subject.architecture.to_json()), "recipe": recipe.to_json()}
    once(lambda: _claim(training / "asked.json", asked, (folder, training)))
    if (folder / CARD).exists():
        return
    if how == "finetuned":
        network = load_network(subject.folder / "extracted")
    else:
        network = build(bench.space, subject.architecture, len(bench.classes), seed=bench.experiment.seed)
    trained = train_network(bench, network, recipe, subject, how)
    once(lambda: save(bench, subject, trained, folder, {"weights": how, "recipe": recipe.to_json()}))


def _claim(record: Path, asked: dict[str, Any], folders: Sequence[Path]) -> None:
    """Write down what is trained for, and remove what was trained for another search result or recipe."""
    if not made_for(record, asked):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    write_json(record, asked)


def train_network(bench: Workbench, network: Network, recipe: Recipe, subject: Subject, how: str) -> Network:
    """Train one plain network by a recipe, resumably; return what to use (the moving average if there is one)."""
    track_statistics(network)
    validation = bench.evaluation_loader(bench.data.validation)

    def score(model: nn.Module) -> Values:
        with torch.no_grad():
            return {"accuracy": round(evaluate(model, validation.evaluation_batches()).accuracy, 4)}

    trainer = Trainer(
        NetworkTask(network, recipe),
        bench.training_loader(recipe),
        recipe,
        subject.folder / f"{how}-training",
        seed=bench.experiment.seed,
        classes=len(bench.classes),
        evaluate=score,
        evaluate_every=max(1, recipe.epochs // 5),
        name=f"{subject.name} {how}",
    )
    trained = trainer.run()
    assert isinstance(trained, Network)
    return trained.eval()
