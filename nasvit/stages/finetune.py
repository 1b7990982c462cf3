"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from nasvit.calibration import track_statistics
from nasvit.evaluation import evaluate
from nasvit.experiment import Workbench
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

    Finished networks are left alone, an unfinished one goes on where it was stopped.

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
    folder = subject.folder / how
    if (folder / CARD).exists():
        return
    if how == "finetuned":
        network = load_network(subject.folder / "extracted")
    else:
        network = build(bench.space, subject.architecture, len(bench.classes), seed=bench.experiment.seed)
    trained = train_network(bench, network, recipe, subject, how)
    save(bench, subject, trained, folder, {"weights": how, "recipe": recipe.to_json()})


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
