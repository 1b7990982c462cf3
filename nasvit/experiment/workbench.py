"""The folder, space, images and candidates that the stages of an experiment share, opened when first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasvit import trust
from nasvit.compute import ALONE, Compute
from nasvit.data.splits import SplitRecord
from nasvit.experiment.clock import TIMES
from nasvit.experiment.config import Experiment
from nasvit.experiment.dense_origin import origin_for
from nasvit.experiment.family import make_family, spared
from nasvit.experiment.images import BAD_IMAGES, DATA, Images
from nasvit.experiment.origin import Origin
from nasvit.experiment.shared_folder import TOKEN, require_shared
from nasvit.experiment.trained_for import TrainedFor, admitted_values, require_within
from nasvit.experiment.training import INSIDE_WIDER
from nasvit.experiment.yaml_file import decisive
from nasvit.files.held import HOLDER
from nasvit.files.records import read_json, read_record, write_record
from nasvit.names import is_function
from nasvit.registry import find_architecture
from nasvit.search.candidates import Candidate, Candidates, Costs
from nasvit.tasks.task import Task
from nasvit.training.sampling import Family
from predictors.arrays import Codes
from predictors.limits import Budget, Limit, feasible
from predictors.prior import Prior, PriorWithin, find_prior, read_measurements
from search_spaces import SearchSpace, Space, Subnet, load
from search_spaces.inclusion import Inclusion
from search_spaces.recipe_space import load_recipes

RECORD, SPLIT, SUPERNET, PLAN = "experiment.json", "split.json", "supernet.pt", "plan.json"

CLASSES = "classes.json"
"""File with the names of the classes that the supernet scores."""

STARTED_FROM = "started_from.json"
"""File that says which weights the supernet started from, if not random ones."""

STUDY = Path("search") / "study.db"
"""File of the evaluations of a search, unless ``search.storage`` is another place."""

TIMING = "timing"
"""Folder of trainings that are only timed."""

REPORT = "report.html"
"""The page that ``nasvit report`` writes about a folder."""

_DECIDED_BY_EXPERIMENT = (
    "trained_for",
    "space",
    "family",
    "candidates",
    "whole_candidates",
    "budgets",
    "prior",
    "_architectures",
    "_inclusion",
)

# Parts of an experiment that later stages read anew; the others decide what is in the folder already.
_FREE = ("search", "finetune", "finetune_on", "compare")

_DRAWN = 64  # random subnets within a budget, from which those that nearly use it up are taken


def _decided(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in decisive(config).items() if key not in _FREE}


class Workbench:
    """The space and the images of one experiment, loaded when first used.

    Args:
        experiment: the configuration.
        folder: folder of the results.
        compute: the device, and the processes that share the work.

    Attributes:
        asked: the configuration that was given; ``experiment`` is another one where a plan is followed.
        largest: the subnet that learns from the targets where budgets bound the supernet, such as the choice of a
            prior; to be set before anything is trained. None: as large a subnet as the budgets allow.
    """

    def __init__(self, experiment: Experiment, folder: Path, compute: Compute = ALONE) -> None:
        self.asked = self.experiment = experiment
        self.folder, self.compute = folder, compute
        if experiment.network is not None and is_function(experiment.network):
            trust.name([experiment.network])
        if experiment.threads:
            torch.set_num_threads(experiment.threads)
        self.largest: Subnet | None = None
        require_shared(folder, compute)
        self._hold_out_as_before()
        compute.once(self._check_owner)
        self._record, self._has_supernet = compute.from_first(self._look_for_supernet)

    def follow(self, experiment: Experiment) -> None:
        """Go on as another experiment with the same space and images: that of a plan."""
        self.experiment = experiment
        for name in _DECIDED_BY_EXPERIMENT:
            self.__dict__.pop(name, None)

    def _hold_out_as_before(self) -> None:
        """Where the share of held-out images is left open, take that of the results that are in the folder."""
        path, data = self.folder / RECORD, self.experiment.data
        if data.validation is None and path.exists() and self.has_begun:
            before = read_record(path, "data")["data"].get("validation")
            self.asked = self.experiment = replace(self.experiment, data=replace(data, validation=before))

    def _check_owner(self) -> None:
        """Refuse a folder with the results of another experiment."""
        path = self.folder / RECORD
        if path.exists() and self.has_begun:
            now, before = _decided(self.experiment.to_json()), _decided(read_record(path, "data"))
            changed = [key for key in now if now[key] != before.get(key)]
            if changed:
                raise ValueError(
                    f"{self.folder} holds results of an experiment with another {', '.join(changed)}; "
                    "give another output folder, or remove that one"
                )

    @property
    def has_begun(self) -> bool:
        """Whether anything was made here; a mistake that shows before, as in a teacher's name, claims no folder."""
        free = (RECORD, SPLIT, DATA, BAD_IMAGES, TIMES, PLAN, TIMING, REPORT)
        names = (path.name for path in self.folder.glob("*"))  # a folder that is not there has none
        return not all(name in free or name.startswith((TOKEN, HOLDER)) for name in names)

    def _look_for_supernet(self) -> tuple[TrainedFor | None, bool]:
        """Return what the supernet here is trained for, if budgets bound it, and whether its training has begun."""
        began = any(path.is_file() for path in (self.folder / "train").rglob("*"))
        return TrainedFor.read(self.folder), began or (self.folder / SUPERNET).exists()

    @cached_property
    def origin(self) -> Origin:
        """What the supernet is made of: a search space, or a network."""
        return origin_for(self.experiment, self.images)

    @property
    def whole_space(self) -> SearchSpace:
        """All subnets that there are, whatever the budgets."""
        return self.origin.space

    @cached_property
    def trained_for(self) -> tuple[Budget, ...]:
        """The budgets that bound the supernet, of this run or of the one that began its training; none: no bounds."""
        experiment = self.experiment
        if not experiment.search.trains_supernet:
            return ()
        if self._record is not None:
            self._require_bounds(self._record)
            return self._resolved(self._record.budgets)
        bounded = experiment.train.within_budgets and not self._has_supernet and all(self.budgets)
        return self.budgets if bounded else ()

    def _require_bounds(self, record: TrainedFor) -> None:
        if not self.experiment.train.within_budgets:
            raise ValueError(
                f"the supernet in {self.folder} was trained for {' or '.join(map(str, record.budgets))} alone, and "
                "train.within_budgets is false now; give another output folder, or leave it true"
            )

    @cached_property
    def space(self) -> SearchSpace:
        """The search space: the choices that subnets within the budgets can have, where budgets bound the supernet.

        Raises:
            ValueError: if a budget has subnets beyond those that the supernet is already trained for.
        """
        if not self.trained_for:
            return self.whole_space
        if self._record is None:
            return self.whole_space.cut(
                admitted_values(self.whole_space.genome, self.origin.admitted(self.trained_for))
            )
        known = self.origin.whole
        unknown = [limit for budget in self.trained_for for limit in budget.limits if limit.metric not in known]
        if unknown:
            raise ValueError(f"the supernet is trained for {unknown[0]}, which takes a table; give search.latency")
        if self.experiment.search.architecture is None:
            require_within(self.budgets, self.trained_for, self.origin.span, self.folder)
        return self.whole_space.cut(self._record.values)

    @cached_property
    def family(self) -> Family | None:
        """The subnets that a supernet within budgets is trained with; None: those of the whole space.

        Raises:
            ValueError: if :attr:`largest` meets no budget.
        """
        if not self.trained_for:
            return None
        largest = self.largest if self._record is None else self._record.largest
        return make_family(self._architectures, self.trained_for, self.experiment.seed, largest)

    def draw(self, count: int, rng: np.random.Generator) -> list[Any]:
        """Draw random subnets, such as a supernet within budgets is trained with, or any of the space."""
        if self.family is not None:
            return self.family.sample(count, rng)
        return [self.space.sample(rng) for _ in range(count)]

    def sample(self, budget: Budget, count: int, rng: np.random.Generator) -> list[Any]:
        """Draw up to so many random subnets that keep a budget and nearly use it up: of some, the costliest."""
        rows = self._architectures.constraint(budget.limits).sample(max(count, _DRAWN), rng)
        most = np.argsort(-self._architectures.costs(rows)["macs"], kind="stable")[:count]
        return [each.architecture for each in self._architectures.decode(rows[most])]

    def record_family(self) -> None:
        """Record in the folder what the supernet is trained for, before its training begins."""
        if self.family is None or self._record is not None:
            return
        values = {decision.name: list(decision.values) for decision in self.space.decisions if not decision.never}
        record = TrainedFor(self.trained_for, values, self.family.largest)
        self.compute.once(lambda: record.write(self.folder))
        self._record = record

    def training_costs(self) -> list[str]:
        """Return a line that says what budgets spare the training of the supernet; none without bounds, or after it."""
        if (self.folder / SUPERNET).exists() or self.family is None:
            return []
        whole = Candidates(self.whole_space, self.origin.costs)
        return [spared(whole, self._architectures, self.family, self.experiment.train.random_subnets)]

    @property
    def started_from(self) -> dict[str, Any]:
        """What the supernet started from, for results and cards; nothing if it was random weights."""
        path = self.folder / STARTED_FROM
        return {"started_from": read_json(path)} if path.exists() else {}

    @cached_property
    def images(self) -> Images:
        """The images, split as an earlier run of this folder split them.

        From here on the folder belongs to this experiment, as soon as anything else is in it. Of several processes all
        open them together.

        Raises:
            ValueError: if there are no such images, they are others than before, or the split is another one.
        """
        experiment = self.experiment
        seed = experiment.seed
        channels = None if experiment.space is None else load(experiment.space).image_channels
        images = Images(
            experiment.data,
            seed=seed,
            split_seed=seed,
            channels=channels,
            compute=self.compute,
            head=experiment.whole_head,
            class_weights=experiment.class_weights,
            folder=self.folder,
            begun=self.compute.from_first(lambda: self.has_begun),
        )
        split = images.data.record
        self.compute.once(lambda: self._claim(split))
        self.compute.once(images.claim)
        return images

    def open_images(self) -> None:
        """Open the images in all processes, before each of them works by itself; see :attr:`images`."""
        assert self.images is not None

    def _claim(self, split: SplitRecord) -> None:
        """Record the experiment and its split."""
        self._check_split(split)
        write_record(self.folder / RECORD, self.asked.to_json())

    def _check_split(self, split: SplitRecord) -> None:
        path = self.folder / SPLIT
        if path.exists() and self.has_begun:
            split.check(read_json(path))
        else:
            write_record(path, split.to_json())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.images.classes

    @property
    def search_seed(self) -> int:
        """The seed of the search: its own, or that of the experiment."""
        own = self.experiment.search.seed
        return self.experiment.seed if own is None else own

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
        found = self._candidates(self.space, self._architecture_costs)
        if found.architecture is not None and self.trained_for:
            self._require_trained(found.architecture)
        return found

    def _require_trained(self, architecture: Subnet) -> None:
        """Refuse an architecture that was in no step of a supernet within budgets."""
        costs = self.origin.costs(self.whole_space.encode([architecture]))
        if not any(feasible(costs, budget.limits)[0] for budget in self.trained_for):
            trained = " or ".join(map(str, self.trained_for))
            raise ValueError(
                f"search.architecture: {self.experiment.search.architecture} meets none of the budgets that the "
                f"supernet was trained for ({trained}); give another output folder, or train.within_budgets: false "
                "from the start"
            )

    @cached_property
    def whole_candidates(self) -> Candidates:
        """The candidates that there would be if no budget bounded the supernet."""
        return self._candidates(self.whole_space, self.origin.costs)

    def _candidates(self, space: SearchSpace, costs: Callable[[Codes], Costs]) -> Candidates:
        config = self.experiment.search
        recipes = None if config.recipes is None else load_recipes(config.recipes)
        if recipes is not None and set(recipes.values("initialization")) != {"default"}:
            self._check_initialization()
        return Candidates(space, costs, recipes, self._fixed_architecture(space))

    def _check_initialization(self) -> None:
        """Refuse recipes that draw weights where candidates start from others, or are no plain networks.

        Raises:
            ValueError: naming the way out.
        """
        asked = f"search.recipes: {self.experiment.search.recipes}: initialization"
        if self.experiment.search.evaluate == "finetune":
            raise ValueError(
                f"{asked} says how random weights are drawn, and candidates inherit theirs; legal: scratch"
            )
        if self.experiment.finetune.netaug is not None:
            raise ValueError(f"{asked} {INSIDE_WIDER}")

    @cached_property
    def _architectures(self) -> Candidates:
        """The architectures that the supernet holds, without recipes."""
        return Candidates(self.space, self._architecture_costs)

    @cached_property
    def prior(self) -> PriorWithin | None:
        """What is expected of architectures before any is evaluated; None if there is nothing to expect it from.

        Raises:
            FileNotFoundError: if the file that the search section names does not exist.
            ValueError: if it holds no measurements of this space.
        """
        asked, space = self.experiment.search.prior, self.whole_space
        if asked == "none" or not isinstance(space, Space) or self.experiment.task != "classification":
            return None
        proxies = Candidates(space, self.origin.costs).proxies
        if asked == "auto":
            assert self.experiment.space is not None
            found = find_prior(self.experiment.space, proxies)
        else:
            found = Prior(space, read_measurements(space, asked), proxies)
        return None if found is None else found.within(self.space)  # type: ignore[arg-type]  # cut from the other

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets to search under, with those along the front; one empty budget if there is no limit."""
        return (*self._resolved(self.experiment.search.budgets), *self._front()) or (Budget(),)

    def _resolved(self, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        """Return budgets with shares of the largest subnet's costs as costs."""
        return tuple(budget.of(self.origin.whole) if budget.is_share else budget for budget in budgets)

    def costs(self, candidate: Candidate) -> dict[str, Any]:
        """Return the costs of one candidate by metric."""
        found = self._architecture_costs(self.space.encode([candidate.architecture]))
        return {metric: values[0].item() for metric, values in found.items()}

    def _architecture_costs(self, codes: Codes) -> Costs:
        return self.origin.costs(self._inclusion(codes))

    @cached_property
    def _inclusion(self) -> Inclusion:
        return Inclusion(self.space, self.whole_space)

    def _fixed_architecture(self, space: SearchSpace) -> Any:
        name = self.experiment.search.architecture
        if name is None:
            return None
        try:
            assert isinstance(space, Space)  # a network is refused when the file is read
            return find_architecture(space, name)
        except ValueError as error:
            raise ValueError(f"search.architecture: {error}") from error

    def _front(self) -> list[Budget]:
        """Return budgets at evenly spaced logarithms of a cost, the last one at that of the largest subnet."""
        front = self.experiment.search.front
        if front is None:
            return []
        costs = self.whole_candidates.costs(self.whole_candidates.smallest_and_largest)
        if front.cost not in costs:
            raise ValueError(f"search.front.cost: {front.cost} is not known; known: {', '.join(costs)}")
        least, most = costs[front.cost].tolist()
        caps = [least * (most / least) ** (number / front.points) for number in range(1, front.points + 1)]
        return [Budget(str(Limit(front.cost, high=float(f"{cap:.3g}")))) for cap in caps]
