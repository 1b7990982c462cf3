"""What the stages of an experiment share: space, images, folders."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nasvit.costs.tables import cost_table
from nasvit.data import (
    NO_AUGMENTATION,
    Augmentation,
    ImageSet,
    Loader,
    Normalization,
    SearchData,
    hold_out,
    load_images,
)
from nasvit.experiment.config import DataConfig, Experiment
from nasvit.search.candidates import Candidate, Candidates, Costs
from predictors.arrays import Codes
from predictors.cost import CostTable
from predictors.latency import LatencyTable, load_table
from predictors.limits import Limit
from search_spaces import Architecture, Space, load
from search_spaces.recipe import Recipe
from search_spaces.recipe_space import load_recipes


class Workbench:
    """The space and the images of one experiment, loaded when they are needed.

    Args:
        experiment: what to do.
        folder: where results go.
    """

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        if experiment.threads:
            torch.set_num_threads(experiment.threads)

    @cached_property
    def space(self) -> Space:
        """The search space."""
        return load(self.experiment.space)

    @cached_property
    def data(self) -> SearchData:
        """Training and validation images; the split is recorded and checked against an earlier record.

        Raises:
            ValueError: if the split differs from the one this folder began with.
        """
        config = self.experiment.data
        data = hold_out(self._load("train"), fraction=config.validation, seed=self.experiment.seed)
        path = self.folder / "split.json"
        if path.exists():
            data.record.check(json.loads(path.read_text()))
        else:
            write_json(path, data.record.to_json())
        return data

    @cached_property
    def test(self) -> ImageSet:
        """The test images; no decision is made on them."""
        return self._load("test")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.data.train.classes

    @cached_property
    def normalization(self) -> Normalization:
        """Mean and deviation of the training images."""
        return Normalization.of(self.data.train)

    @cached_property
    def candidates(self) -> Candidates:
        """What the search decides: architectures, recipes, or both.

        Raises:
            ValueError: if nothing is left to decide, or a name or file in the search section is wrong.
        """
        config = self.experiment.search
        recipes = None if config.recipes is None else load_recipes(config.recipes)
        return Candidates(self.space, self._architecture_costs, recipes, self._fixed_architecture)

    @cached_property
    def budgets(self) -> tuple[str, ...]:
        """The budgets to search under, those along the front among them; one empty one without any limit."""
        config = self.experiment.search
        return (*config.budgets, *self._front()) or ("",)

    def costs(self, candidate: Candidate) -> dict[str, Any]:
        """Return what one candidate costs, metric by metric."""
        found = self._architecture_costs(self.space.encode([candidate.architecture]))
        return {metric: values[0].item() for metric, values in found.items()}

    def training_loader(self, recipe: Recipe, images: ImageSet | None = None) -> Loader:
        """Return what serves training batches, augmented as ``recipe`` says; of all training images if left out."""
        config = self.experiment.data
        augmentation = Augmentation.from_recipe(recipe, crop=config.crop, padding=config.padding, mirror=config.mirror)
        train = self.data.train if images is None else images
        return self._loader(train, recipe.batch_size, augmentation, seed=self.experiment.seed)

    def calibration(self) -> tuple[torch.Tensor, ...]:
        """Return the training images that batch-norm statistics are taken from."""
        config = self.experiment.search
        size = min(config.calibration_batch_size, len(self.data.train))
        batches = min(config.calibration_batches, len(self.data.train) // size)
        return self._loader(self.data.train, size).calibration_batches(batches)

    def evaluation_loader(self, images: ImageSet, batch_size: int = 500) -> Loader:
        """Return what serves ``images`` once, as they are."""
        return self._loader(images, min(batch_size, len(images)))

    @cached_property
    def _cost_table(self) -> CostTable:
        return cost_table(self.space, len(self.classes))

    @cached_property
    def _latency_table(self) -> LatencyTable | None:
        path = self.experiment.search.latency
        return None if path is None else load_table(Path(path), self.space)

    def _architecture_costs(self, codes: Codes) -> Costs:
        table, costs = self._latency_table, dict(self._cost_table.costs(codes))
        return costs if table is None else costs | {"latency": table.latency(codes)}

    @cached_property
    def _fixed_architecture(self) -> Architecture | None:
        name = self.experiment.search.architecture
        ends = {None: None, "smallest": self.space.smallest, "largest": self.space.largest}
        if name in ends:
            return ends[name]
        if not Path(str(name)).exists():
            raise ValueError(f"search.architecture: there is no file {name!r}; legal: smallest, largest, a JSON file")
        return self.space.architecture(json.loads(Path(str(name)).read_text(encoding="utf-8")))

    def _front(self) -> list[str]:
        """Return budgets at evenly spaced logarithms of a cost, the last one at that of the largest subnet."""
        front = self.experiment.search.front
        if front is None:
            return []
        costs = self.candidates.costs(self.candidates.smallest_and_largest)
        if front.cost not in costs:
            raise ValueError(f"search.front.cost: {front.cost} is not known; known: {', '.join(costs)}")
        least, most = costs[front.cost].tolist()
        return [
            str(Limit(front.cost, high=float(f"{least * (most / least) ** (number / front.points):.3g}")))
            for number in range(1, front.points + 1)
        ]

    def _loader(
        self, images: ImageSet, batch_size: int, augmentation: Augmentation = NO_AUGMENTATION, seed: int = 0
    ) -> Loader:
        return open_loader(self.experiment.data, images, self.normalization, batch_size, augmentation, seed)

    def _load(self, split: Any) -> ImageSet:
        config = self.experiment.data
        return load_images(
            config.source,
            split,
            image_size=config.image_size,
            channels=self.space.image_channels,
            download=config.download,
        )


def open_loader(
    config: DataConfig,
    images: ImageSet,
    normalization: Normalization,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
) -> Loader:
    """Return what serves ``images``; augmented, that is in training, each of several processes gets its part."""
    several = torch.distributed.is_initialized() and augmentation is not NO_AUGMENTATION
    return Loader(
        images,
        batch_size=batch_size,
        normalization=normalization,
        augmentation=augmentation,
        image_size=config.image_size,
        seed=seed,
        rank=torch.distributed.get_rank() if several else 0,
        world=torch.distributed.get_world_size() if several else 1,
        workers=config.workers,
    )


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # several processes may write the same
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def made_for(record: Path, asked: Any) -> bool:
    """Return whether what ``record`` describes was made for what is asked for now; so it was if nothing is recorded."""
    return not record.exists() or bool(json.loads(record.read_text(encoding="utf-8")) == asked)
