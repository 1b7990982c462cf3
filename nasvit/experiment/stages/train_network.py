"""Training of one plain network, as several stages need it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nasvit.data import ImageSet
from nasvit.experiment.workbench import Workbench
from nasvit.layers import Network
from nasvit.layers.calibration import track_statistics
from nasvit.tasks.classification import evaluate
from nasvit.training.task import NetworkTask, Values
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe


def train_network(bench: Workbench, network: Network, recipe: Recipe, folder: Path, name: str) -> Network:
    """Train a plain network by a recipe, resumably; return what to use (the moving average if there is one)."""
    trainer = network_trainer(bench, network, recipe, folder, name, every=max(1, recipe.epochs // 5))
    trained = trainer.run()
    assert isinstance(trained, Network)
    return trained.eval()


def network_trainer(
    bench: Workbench,
    network: Network,
    recipe: Recipe,
    folder: Path,
    name: str,
    *,
    every: int = 1,
    images: ImageSet | None = None,
    validation: ImageSet | None = None,
) -> Trainer:
    """Return what trains a plain network by a recipe.

    Args:
        bench: the experiment.
        network: to be trained in place; its batch norms keep statistics from now on.
        recipe: how.
        folder: for checkpoints and metrics.
        name: what the progress bar says.
        every: epochs between two evaluations.
        images: what it learns; all training images if left out.
        validation: what it is evaluated on; all validation images if left out.
    """
    track_statistics(network)
    held_out = bench.evaluation_loader(bench.data.validation if validation is None else validation)

    def score(model: nn.Module) -> Values:
        with torch.no_grad():
            found = evaluate(model, held_out.evaluation_batches())
        return {"accuracy": round(found.accuracy, 4), "class_accuracy": round(found.class_accuracy, 4)}

    return Trainer(
        NetworkTask(network, recipe),
        bench.training_loader(recipe, images),
        recipe,
        folder,
        seed=bench.experiment.seed,
        classes=len(bench.classes),
        evaluate=score,
        evaluate_every=every,
        name=name,
    )
