"""The folder, space, images and candidates that the stages of an experiment share, opened when first used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nasvit.compute import ALONE, Compute
from nasvit.costs.tables import cost_table
from nasvit.data.splits import SplitRecord
from nasvit.experiment.config import Experiment
from nasvit.experiment.images import BAD_IMAGES, Images
from nasvit.experiment.shared_folder import TOKEN, require_shared
from nasvit.experiment.yaml_file import decisive
from nasvit.records import read_json, write_json
from nasvit.registry import find_architecture
from nasvit.search.candidates import Candidate, Candidates, Costs
from nasvit.tasks.task import Task
from predictors.arrays import Codes
from predictors.cost import CostTable
from predictors.latency import LatencyTable, load_table
from predictors.limits import Budget, Limit
from predictors.prior import Prior, PriorWithin, find_prior, read_measurements
from search_spaces import Architecture, Space, load
from search_spaces.recipe_space import load_recipes

RECORD, SPLIT = "experiment.json", "split.json"

# Parts of an experiment that later stages read anew; the others decide what is in the folder already.
_FREE = ("search", "finetune", "compare")


def _decided(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in decisive(config).items() if key not in _FREE}


class Workbench:
    """The space and the images of one experiment, loaded when first used.

    Args:
        experiment: the configuration.
        folder: folder of the results.
        compute: the device, and the processes that share the work.
    """

    def __init__(self, experiment: Experiment, folder: Path, compute: Compute = ALONE) -> None:
        self.experiment, self.folder, self.compute = experiment, folder, compute
        if experiment.threads:
            torch.set_num_threads(experiment.threads)
        require_shared(folder, compute)
        compute.once(self._check_owner)

    def _check_owner(self) -> None:
        """Refuse a folder with the results of another experiment."""
        path = self.folder / RECORD
        if path.exists() and self._has_begun:
            now, before = _decided(self.experiment.to_json()), _decided(read_json(path))
            changed = [key for key in now if now[key] != before.get(key)]
            if changed:
                raise ValueError(
                    f"{self.folder} holds results of an experiment with another {', '.join(changed)}; "
                    "give another output folder, or remove that one"
                )

    @property
    def _has_begun(self) -> bool:
        """Whether anything was made here; a mistake that shows before, as in a teacher's name, claims no folder."""
        free = (RECORD, SPLIT, BAD_IMAGES)
        names = (path.name for path in self.folder.iterdir())
        return not all(name in free or name.startswith(TOKEN) for name in names)

    @cached_property
    def space(self) -> Space:
        """The search space."""
        return load(self.experiment.space)

    @cached_property
    def images(self) -> Images:
        """The images, split as an earlier run of this folder split them.

        From here on the folder belongs to this experiment, as soon as anything else is in it. Of several processes all
        open them together.

        Raises:
            ValueError: if there are no such images, or the split differs from the recorded one.
        """
        experiment = self.experiment
        seed, channels = experiment.seed, self.space.image_channels
        images = Images(
            experiment.data, seed=seed, split_seed=seed, channels=channels, compute=self.compute, folder=self.folder
        )
        split = images.data.record
        self.compute.once(lambda: self._claim(split))
        return images

    def open_images(self) -> None:
        """Open the images in all processes, before each of them works by itself; see :attr:`images`."""
        assert self.images is not None

    def _claim(self, split: SplitRecord) -> None:
        """Record the experiment and its split."""
        self._check_split(split)
        write_json(self.folder / RECORD, self.experiment.to_json())

    def _check_split(self, split: SplitRecord) -> None:
        path = self.folder / SPLIT
        if path.exists() and self._has_begun:
            split.check(read_json(path))
        else:
            write_json(path, split.to_json())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.images.classes

    @property
    def task(self) -> Task:
        """The task of the experiment."""
        return self.images.task

    def calibration(self) -> Sequence[torch.Tensor]:
        """Return the training images that batch-norm statistics are taken from."""
        config = self.experiment.search
        return self.images.calibration(config.calibration_batches, config.calibration_batch_size)

    @cached_property
    def candidates(self) -> Candidates:
        """The candidates of the search: architectures, recipes, or both.

        Raises:
            ValueError: if nothing is left to decide, or a name or file in the search section is wrong.
        """
        config = self.experiment.search
        recipes = None if config.recipes is None else load_recipes(config.recipes)
        return Candidates(self.space, self._architecture_costs, recipes, self._fixed_architecture)

    @cached_property
    def prior(self) -> PriorWithin | None:
        """What is expected of architectures before any is evaluated; None if there is nothing to expect it from.

        Raises:
            FileNotFoundError: if the file that the search section names does not exist.
            ValueError: if it holds no measurements of this space.
        """
        name, asked = self.experiment.space, self.experiment.search.prior
        if asked == "none":
            return None
        space = load(name)
        proxies = Candidates(space, cost_table(space, len(self.classes)).costs).proxies
        if asked == "auto":
            found = find_prior(name, proxies)
        else:
            found = Prior(space, read_measurements(space, asked), proxies)
        return None if found is None else found.within(self.space)

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets to search under, with those along the front; one empty budget if there is no limit."""
        return (*self.experiment.search.budgets, *self._front()) or (Budget(),)

    def costs(self, candidate: Candidate) -> dict[str, Any]:
        """Return the costs of one candidate by metric."""
        found = self._architecture_costs(self.space.encode([candidate.architecture]))
        return {metric: values[0].item() for metric, values in found.items()}

    @cached_property
    def _cost_table(self) -> CostTable:
        return cost_table(self.space, len(self.classes))

    @cached_property
    def _latency_table(self) -> LatencyTable | None:
        name = self.experiment.search.latency
        if name is None:
            return None
        if not Path(name).is_file():
            raise ValueError(f"search.latency: there is no file {name}; nasvit latency build writes one")
        return load_table(Path(name), self.space)

    def _architecture_costs(self, codes: Codes) -> Costs:
        table, costs = self._latency_table, dict(self._cost_table.costs(codes))
        return costs if table is None else costs | {"latency": table.latency(codes)}

    @cached_property
    def _fixed_architecture(self) -> Architecture | None:
        name = self.experiment.search.architecture
        if name is None:
            return None
        try:
            return find_architecture(self.space, name)
        except ValueError as error:
            raise ValueError(f"search.architecture: {error}") from error

    def _front(self) -> list[Budget]:
        """Return budgets at evenly spaced logarithms of a cost, the last one at that of the largest subnet."""
        front = self.experiment.search.front
        if front is None:
            return []
        costs = self.candidates.costs(self.candidates.smallest_and_largest)
        if front.cost not in costs:
            raise ValueError(f"search.front.cost: {front.cost} is not known; known: {', '.join(costs)}")
        least, most = costs[front.cost].tolist()
        caps = [least * (most / least) ** (number / front.points) for number in range(1, front.points + 1)]
        return [Budget(str(Limit(front.cost, high=float(f"{cap:.3g}")))) for cap in caps]
