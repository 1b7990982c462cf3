"""One training of one network that runs at several widths, and AutoSlim on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn

from nasvit.costs.counting import count
from nasvit.experiment.fitting import objective
from nasvit.experiment.images import Images
from nasvit.experiment.training import SlimmableConfig, Training
from nasvit.experiment.widths_start import WidthsStart
from nasvit.export.card import Card
from nasvit.export.switchable import SwitchableModel, deploy
from nasvit.search.autoslim import slim
from nasvit.supernets.widths import Slimmable
from nasvit.tasks.distillation import SoftTargetCrossEntropy
from nasvit.tasks.widths import evaluate_widths
from nasvit.training.learner import Learner, Values
from nasvit.training.optimizers import is_decayed_unless_depthwise
from nasvit.training.sampling import AllSwitches, RandomWidths, Sampling
from nasvit.training.trainer import Trainer


class WidthsFitting:
    """Trains all widths of one network at once, and deploys them as one object.

    The weights that are best by the mean score over all widths are kept. Depthwise convolutions do not decay, as in
    the releases. With AutoSlim a universally slimmable network is trained first and slimmed to each budget; the
    channel plans found are trained from the start again as the switches of one network.

    Source: Yu et al., Slimmable Neural Networks (2019), https://arxiv.org/abs/1812.08928; Yu and Huang, Universally
    Slimmable Networks (2019), https://arxiv.org/abs/1903.05134, and AutoSlim (2019), https://arxiv.org/abs/1903.11728

    Args:
        start: what has the widths, and which.
        slimmable: options of the training of widths.
        training: recipe and teacher.
        images: the images to train on, to validate and to test with.
        seed: seed of initial weights, batches and random widths.
        name: name on the progress bar.
    """

    def __init__(
        self,
        start: WidthsStart,
        slimmable: SlimmableConfig,
        training: Training,
        images: Images,
        *,
        seed: int,
        name: str,
    ) -> None:
        self.start, self.slimmable, self.training, self.images = start, slimmable, training, images
        self.seed, self.name = seed, name

    @cached_property
    def network(self) -> Slimmable[Any]:
        """The network with shared weights."""
        return self.start.network(len(self.images.classes), self.slimmable.norm, self.seed)

    def trainer(self, folder: Path, *, every: int | None = None) -> Trainer:
        """Return the trainer of all widths.

        Args:
            folder: folder of checkpoints and metrics.
            every: epochs between two evaluations; a fifth of the training if left out.
        """
        network, recipe, compute = self.images.compute.place(self.network), self.training.recipe, self.images.compute
        universal = self.slimmable.norm == "universal"
        learner = Learner(
            network,
            recipe,
            objective(self.training, self.images, compute),
            sampling=self._sampling(),
            distill=SoftTargetCrossEntropy() if universal else None,
            is_loaded=self.start.is_loaded,
        )
        task = self.images.task
        return Trainer(
            learner,
            self.images.training(recipe),
            recipe,
            folder,
            seed=self.seed,
            chance_loss=task.chance_loss,
            running=self.training,
            compute=compute,
            evaluate=self._validate,
            evaluate_every=max(1, recipe.epochs // 5) if every is None else every,
            keep_best=task.metric,
            decays=is_decayed_unless_depthwise,
            name=self.name,
        )

    def deployed(self, trainer: Trainer) -> SwitchableModel:
        """Return all widths of the best weights as one object for inference."""
        network = trainer.load_best()
        assert isinstance(network, Slimmable)
        if self.slimmable.norm == "universal":
            network.calibrate(self._calibration())
        return deploy(network)

    def slimmed(self, trainer: Trainer) -> WidthsFitting:
        """Return the training of the channel plans that AutoSlim finds in a trained network, one for each budget."""
        network = trainer.load_best()
        assert isinstance(network, Slimmable)
        images, labels = next(
            iter(self.images.evaluation_loader(self.images.validation).evaluation_batches(shared=False))
        )
        widest = network.at(max(network.widths, key=network.channels))
        whole = {"macs": float(count(widest, *images.shape[1:]).macs)}  # what shares are shares of
        targets = [budget.of(whole).limits[0].high for budget in self.slimmable.autoslim]
        # Greedy by accuracies, which differ by rounding on other devices: one process decides for all.
        found = self.images.compute.from_first(lambda: [plan for plan, _ in slim(network, targets, images, labels)])
        start, name = self.start.at(tuple(dict.fromkeys(found))), f"{self.name}, slimmed"
        return WidthsFitting(start, SlimmableConfig(), self.training, self.images, seed=self.seed, name=name)

    def scores(self, model: SwitchableModel) -> dict[str, float]:
        """Return the score of every width on the test images."""
        batches = self.images.evaluation_loader(self.images.test).evaluation_batches
        return evaluate_widths(model.shared, self.images.task, batches, model.widths, compute=self.images.compute)

    def card(self, model: SwitchableModel, origin: dict[str, Any]) -> Card:
        """Return the card of the deployed model."""
        return self.images.card(self.start.spec(model), origin)

    def _sampling(self) -> Sampling:
        if self.slimmable.norm != "universal":
            return AllSwitches(self.network)
        listed = [width for width in self.start.widths if isinstance(width, (int, float))]
        return RandomWidths(min(listed), max(listed), self.slimmable.random)

    def _validate(self, trained: nn.Module) -> Values:
        assert isinstance(trained, Slimmable)
        batches = self.images.evaluation_loader(self.images.validation).evaluation_batches
        calibration = self._calibration() if self.slimmable.norm == "universal" else None
        with torch.no_grad():
            values = evaluate_widths(
                trained, self.images.task, batches, self.start.widths, calibration, self.images.compute
            )
        return {"score": mean(values.values()), **values}  # the smallest width alone says little of the others

    def _calibration(self) -> Sequence[torch.Tensor]:
        return self.images.calibration_of(self.slimmable.calibration_images)
