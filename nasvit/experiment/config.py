"""The configuration of an experiment: supernet, search, fine-tuning, images and limits, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from nasvit.any_network.choices import Elastic
from nasvit.data.config import DataConfig
from nasvit.experiment.training import ForTask, StartingWeights, TeacherConfig, Threads, Training
from nasvit.experiment.yaml_file import YamlFile
from nasvit.files.records import versions
from nasvit.search.judge import JudgedBy
from nasvit.search.storage import Storage
from nasvit.training.execution import Running
from nasvit.training.start import Savings
from predictors.limits import Budget
from search_spaces.ranges import Checked, ImageCount, Range, Seed, Share
from search_spaces.recipe import DEFAULTS, BatchSize, FirstEpochs, LearningRate, Recipe
from search_spaces.values import FieldError

SUPERNET_RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=1e-3,
    epochs=100,
    batch_size=128,
    warmup_epochs=5,
    clip_norm=1.0,
    mixup=0.01,
    cutmix=0.01,
    randaugment=1,
    random_erasing=0.01,
    ema_decay=0.9998,
)
"""Weak augmentation and no other regularization, which suits supernets best (Gong et al., NASViT, 2022; the strengths
are those of its released code). Learning rate, epochs and batch size are for data sets of some 10,000 images."""


ShareBefore = Annotated[float, Range(0, 1, below=True)]
"""A share of the steps, before others."""


@dataclass(frozen=True)
class TrainConfig(Running):
    """Training of the supernet.

    Args:
        recipe: optimizer, epochs, augmentation; :data:`SUPERNET_RECIPE` if left out. ``clip_norm`` and
            ``clip_value`` clip what the conflict policy says.
        within_budgets: train only what the budgets of the search let it choose: choices that no subnet within them
            has are left out of the supernet, and largest, smallest and random subnets are such that meet at least one
            budget. False trains the whole space. A budget beyond them needs another folder then.
        random_subnets: subnets drawn a step besides the largest and the smallest.
        members: ``all`` of these take part in every step, or besides the largest only ``one``, in turn; ``auto``: one
            where ``hours`` are planned, because many cheap steps taught more than few whole ones there, else all.
        largest_first: share of the steps, the first ones, in which only the largest trains, by the targets.
        resolution_first: share of the steps, the first ones, in which all images are as small as the smallest
            resolution, or, where the space has more than two, grow from it to the last but one.
        distill: loss between the largest subnet and the others.
        conflict: ``none`` adds all gradients, ``measure`` also logs how many layers disagree, ``project`` takes out
            of the largest subnet's gradient what works against the others.
        project_from: the first epoch, counted from 0, in which ``project`` projects; before it conflicts are only
            measured. The released NASViT projects from epoch 101 on.
        conflict_per: compare gradients per ``tensor`` (as the released NASViT) or per ``layer``.
        teacher: an external teacher, or several, by the names of networks with weights; see docs/guides/names.md.
        evaluate_every: epochs between two evaluations of smallest, largest and random subnets; 0: never.
    """

    recipe: Recipe = SUPERNET_RECIPE
    within_budgets: bool = True
    random_subnets: Annotated[int, Range(0, 64)] = 2
    members: Literal["auto", "all", "one"] = "auto"
    largest_first: ShareBefore = 0.0
    resolution_first: ShareBefore = 0.0
    distill: Literal["adaptive_alpha", "kl"] = "adaptive_alpha"
    conflict: Literal["none", "measure", "project"] = "project"
    project_from: FirstEpochs = 0
    conflict_per: Literal["tensor", "layer"] = "tensor"
    teacher: TeacherConfig | None = None
    evaluate_every: FirstEpochs = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.project_from >= self.recipe.epochs:
            legal = f"legal: 0 (from the start) to {self.recipe.epochs - 1}, the last of {self.recipe.epochs} epochs"
            raise FieldError(["project_from"], f"{self.project_from} is illegal; {legal}")
        if self.project_from and self.conflict != "project":
            raise FieldError(["project_from"], f"says when conflict: project begins, but conflict is {self.conflict}")
        if self.teacher is not None and self.teacher.features:
            problem = (
                "are those of a plain network, and subnets have many widths; legal here: 0 (finetune may have them)"
            )
            raise FieldError(["teacher", "features"], problem)
        if self.recipe.initialization != "default":
            problem = f"{self.recipe.initialization} is for plain networks; a supernet has its own; legal here: default"
            raise FieldError(["recipe", "initialization"], problem)

    @property
    def savings(self) -> Savings:
        """What is left out of steps to make them cheaper."""
        return Savings(self.largest_first, self.members == "one", self.resolution_first)


@dataclass(frozen=True)
class FrontConfig(Checked):
    """A Pareto front: one budget at each of several values of a cost, evenly spaced in its logarithm.

    Args:
        cost: ``macs``, ``params``, ``memory`` or ``latency``.
        points: budgets between the smallest and the largest subnet.
    """

    cost: Literal["macs", "params", "memory", "latency"] = "macs"
    points: Annotated[int, Range(1, 100)] = 5


Evaluate = Literal["auto", "inherited", "finetune", "scratch", "prior", "largest", "features"]

UNMEASURED = ("prior", "largest", "features")
"""Ways of ``search.evaluate`` that choose without evaluating candidates."""


@dataclass(frozen=True)
class SearchConfig(Checked):
    """Search of architectures, of recipes, or of both together.

    Args:
        budgets: one search result for each; a budget is one or more limits joined by ``and``, such as
            ``macs<=6M and params<=300K``.
        front: more budgets, along a Pareto front.
        recipes: recipe space to search, a name of the catalog or the path of a YAML file; None: the recipe is that of
            ``finetune``.
        architecture: ``smallest``, ``largest``, an architecture's JSON file, a published subnet or the folder of a
            saved one: only the recipe is searched; None: the architecture is searched.
        evaluate: evaluation of a candidate: ``inherited``, the accuracy with the supernet's weights (says nothing
            of recipes); ``finetune``, after training on from these by its recipe; ``scratch``, after training from
            random weights by its recipe, without any supernet; ``prior``, not at all: what the prior expects to be best
            is chosen, and trained from random weights by the recipe of ``finetune``; ``largest``, not at all: what is
            as large as the budget allows is trained likewise, or, with ``weights``, fine-tuned from them;
            ``features``, for a network with weights, before any training: how well a subnet's features agree with the
            network's. No supernet is trained then, and what is found is fine-tuned from those weights. ``auto``:
            ``inherited``, or, with ``hours``, what was best for its time where it was measured.
        prior: what is expected of architectures before any is evaluated: ``auto``, the measurements on other data sets
            that are shipped with the space, if there are any; ``none``; or a file that ``experiments.priors`` wrote.
        evaluations: candidates evaluated, over all budgets.
        finalists: of each budget, how many of the most promising, evaluated or only predicted, are measured again: on
            all validation images, and trained to the end on all training images where candidates are trained. Without
            training, the evaluated candidates that none beats are measured again too.
        splits: where candidates are trained from random weights (``scratch``), the splits into training and held-out
            images that each finalist is trained and measured on; the mean counts, and every split costs one more whole
            training of each finalist. None: as many as hold out 400 images together, 3 at most.
        images: validation images that an evaluation looks at; 0 means all.
        train_images: training images that an evaluation trains on; 0 means all.
        early_stop: stop the trainings of all but the first candidates where the accuracies of these had at least this
            rank correlation (Kendall's tau) with their final ones; 0: never.
        judge: number that decides which of two measured candidates is better: ``score``, the task's metric; ``loss``,
            which tells candidates apart on few images, where scores tie; ``auto``: the loss where measurements look at
            fewer than 400 held-out images (see :data:`nasvit.search.judge.FEW`), else the score.
        predictor: predictor that proposes candidates: one of ``predictors.ensemble.KINDS``, or ``ensemble``.
        latency: a file that ``nasvit latency build`` wrote for the space or network, or for this file; budgets may
            then limit ``latency``.
        storage: URL of the database that workers share, such as ``postgresql://...``; None: an SQLite file in the
            folder of the results. No file there has its password.
        seed: seed of the proposals; None: the experiment's.
        calibration_batches: batches of training images that batch-norm statistics are taken from.
        calibration_batch_size: images in each.
        quantize: ``int8``: candidates with the supernet's weights are evaluated as networks of 8-bit integers, so that
            what is chosen is good at that. Those that are trained are with ``finetune.quantize``.
    """

    budgets: tuple[Budget, ...] = ()
    front: FrontConfig | None = None
    recipes: str | None = None
    architecture: str | None = None
    evaluate: Evaluate = "auto"
    prior: str = "auto"
    evaluations: Annotated[int, Range(1, 1_000_000)] = 100
    finalists: Annotated[int, Range(1, 1000)] = 5
    splits: Annotated[int, Range(1, 100)] | None = None
    images: ImageCount = 0
    train_images: ImageCount = 0
    early_stop: Share = 0.0
    judge: JudgedBy = "auto"
    predictor: str = "gaussian_process"
    latency: str | None = None
    storage: Storage | None = None
    seed: Seed | None = None
    calibration_batches: Annotated[int, Range(1, 10_000)] = 4
    calibration_batch_size: BatchSize = 256
    quantize: Literal["int8"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantize is not None and self.evaluate not in ("auto", "inherited"):
            problem = f"is for candidates with the supernet's weights, and evaluate is {self.evaluate}"
            raise FieldError(["quantize"], f"{problem}; finetune.quantize is for those that are trained")
        if self.recipes is not None and self.evaluate in ("auto", "inherited"):
            raise FieldError(["evaluate"], "inherited weights say nothing of recipes; legal here: finetune, scratch")
        if self.recipes is not None and self.evaluate in UNMEASURED:
            raise FieldError(["evaluate"], f"{self.evaluate} says nothing of recipes; legal here: finetune, scratch")
        if self.evaluate == "prior" and self.prior == "none":
            raise FieldError(["prior"], "is none, but evaluate is prior; leave it out, or evaluate otherwise")
        if self.architecture is not None and self.recipes is None:
            raise FieldError(["architecture"], "leaves nothing to search without recipes; give recipes too")
        if self.architecture is not None and (self.budgets or self.front):
            raise FieldError(["architecture"], "is fixed, so there is nothing to limit; leave budgets and front out")
        if self.architecture is None and not self.budgets and self.front is None:
            raise FieldError(["budgets"], "are missing; give at least one such as macs<=5M, or a front")
        if self.splits is not None and self.splits > 1 and self.evaluate != "scratch":
            raise FieldError(["splits"], "a supernet has seen the training images of other splits; legal here: 1")

    @property
    def trains_supernet(self) -> bool:
        """Whether a supernet is trained, which what is found takes its weights from."""
        return self.evaluate in ("auto", "inherited", "finetune")

    @property
    def evaluates(self) -> bool:
        """Whether candidates are evaluated one by one, as the trials of a study."""
        return self.evaluate not in UNMEASURED


@dataclass(frozen=True)
class CompareConfig(Checked):
    """Networks that are trained for comparison with the search results.

    Args:
        scratch: train every chosen subnet from scratch, with the fine-tuning recipe, too.
        equal: what training from scratch gets: ``time``, as many epochs as fit in the time that this subnet took: its
            share of supernet, search and extraction (divided by the number of budgets), and its fine-tuning;
            ``epochs``, those of fine-tuning, which flatters a supernet that took long; ``both``, one network each.
        random: number of random subnets that are trained like the chosen ones: for every budget so many that keep it
            and nearly use it up; without a budget, so many of all.
        ends: whether the smallest and the largest subnet are trained like the chosen ones.
        learning_rate: learning rate of training from scratch; None: that of fine-tuning.
    """

    scratch: bool = False
    equal: Literal["time", "epochs", "both"] = "time"
    random: Annotated[int, Range(0, 1000)] = 0
    ends: bool = False
    learning_rate: LearningRate | None = None


_NOT_LOADED: dict[tuple[str, ...], str] = {
    ("train", "recipe"): "says how loaded weights of a supernet train, and none with such is trained; leave it out",
    ("finetune",): "says how loaded weights train beside others, and a subnet has no others; leave it out",
}


@dataclass(frozen=True, kw_only=True)
class Experiment(ForTask, YamlFile):
    """Everything that determines the results of an experiment.

    Args:
        task: what networks are trained for: classes of images, boxes around objects, or a class for every pixel.
        head: what turns a network's maps into boxes (``fcos``, ``retinanet``, ``ssdlite``) or masks (``lraspp``,
            ``pyramid``), or a mapping of its ``kind`` and options; None: the first of these.
        class_weights: how much the classes of masks count, where some are rare: ``balanced`` by the pixels of the
            training masks, a number for every class, or a mapping of names to numbers; None: all pixels count alike.
        space: a name of the catalog (``nasvit spaces``) or the path of a YAML file.
        network: instead of a space, a network that is made elastic: ``timm:NAME``, ``torchvision:NAME``, a function of
            your own that returns it, ``package.module:function``, or another name (docs/guides/names.md).
        elastic: what is decided in the network; everything that can be if left out.
        data: images.
        search: limits and effort.
        finetune: training of a chosen subnet from the supernet's weights: recipe, teacher, branches, NetAug.
        finetune_on: images of that training, and of training from scratch: ``all``, held-out ones included, since
            nothing is decided by them any more (the networks that the search trained itself to choose among them are
            then trained again); ``train``, without them.
        train: training of the supernet.
        weights: weights that the supernet starts from: a released one that ``nasvit import`` wrote, the folder of an
            earlier experiment, or the file of a supernet, whatever classes it was trained on; its space holds this one.
        seed: seed of splits, weights, batches, subnets and search.
        output: folder of the results; ``runs/`` and the name of the file if left out.
        threads: processor threads; 0: as PyTorch decides.
        compare: networks that are trained for comparison.
        hours: time there is, by the clock, but for comparisons: from measured seconds a step it is planned how many
            epochs and evaluations there are, and which way is taken; see ``search.evaluate``. None: as the other fields
            say.
        note: remark that belongs beside the results, for example about the data.
    """

    space: str | None = None
    network: str | None = None
    elastic: Elastic | None = None
    data: DataConfig
    search: SearchConfig
    finetune: Training
    finetune_on: Literal["all", "train"] = "all"
    train: TrainConfig = field(default_factory=TrainConfig)
    weights: StartingWeights | None = None
    seed: Seed = 0
    output: Path | None = None
    threads: Threads = 0
    compare: CompareConfig = field(default_factory=CompareConfig)
    hours: Annotated[float, Range(0, 100_000, above=True)] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search.evaluate == "auto" and self.hours is None:
            object.__setattr__(self, "search", replace(self.search, evaluate="inherited"))
        self._check_origin()
        self._check_task()
        self._check_features()
        self._check_weights()
        if self.hours is None:
            return
        if self.search.recipes is not None or self.search.evaluate in ("finetune", "scratch"):
            problem = "are not divided where every candidate is trained; leave search.evaluate, or them, out"
            raise FieldError(["hours"], problem)

    def _check_origin(self) -> None:
        """Refuse anything but one space or one network."""
        if self.space is None and self.network is None:
            raise FieldError([], "the key 'space' is missing; it holds the name of a search space (or give a network)")
        if self.network is None:
            if self.elastic is not None:
                raise FieldError(["elastic"], "says what is decided in a network, and there is none; leave it out")
            return
        if self.space is not None:
            raise FieldError(["network"], "is made elastic, and there is a space too; give one of them")
        if self.search.architecture is not None:
            raise FieldError(["search", "architecture"], "is one of a search space; leave it out with a network")
        if self.search.evaluate == "prior":
            legal = "legal: inherited, finetune, scratch, largest, features"
            raise FieldError(["search", "evaluate"], f"nothing was measured of this network; {legal}")

    def _check_task(self) -> None:
        """Refuse what is known of classification alone."""
        if self.task == "classification":
            return
        problem = f"is for classification, and the task is {self.task}; leave it out"
        if self.network is not None:
            raise FieldError(["network"], f"is made elastic for classification; a space is searched for {self.task}")
        if self.hours is not None:
            raise FieldError(["hours"], problem)
        if self.search.prior not in ("auto", "none"):
            raise FieldError(["search", "prior"], problem)
        if self.search.evaluate in ("prior", "features"):
            raise FieldError(["search", "evaluate"], f"{self.search.evaluate} {problem}")

    def _check_features(self) -> None:
        """Refuse features where there are none yet: of a search space, or of random weights."""
        if self.search.evaluate == "features" and (self.network is None or self.weights is None):
            missing = "network" if self.network is None else "weights"
            problem = f"features are those of a network with weights; give {missing} too, or largest, which needs none"
            raise FieldError(["search", "evaluate"], problem)

    def _check_weights(self) -> None:
        """Refuse weights where no supernet is trained, and recipes of loaded weights where none are loaded."""
        if isinstance(self.weights, str):
            object.__setattr__(self, "weights", StartingWeights(self.weights))
        if self.weights is not None and not self.uses_supernet:
            problem = f"start a supernet, and search.evaluate: {self.search.evaluate} trains none; leave them out"
            raise FieldError(["weights"], problem)
        if self.weights is not None and self.weights.partial:
            problem = "a supernet starts from one that holds all of its subnets; leave it out"
            raise FieldError(["weights", "partial"], problem)
        how = self.finetune.recipe.initialization
        if self.uses_supernet and self.hours is None and how != "default":
            problem = (
                f"{how} says how random weights are drawn, and what is found has those of a supernet; leave it out"
            )
            raise FieldError(["finetune", "initialization"], problem)
        recipes: dict[tuple[str, ...], Recipe] = {("finetune",): self.finetune.recipe}
        if self.weights is None or not self.search.trains_supernet:
            recipes["train", "recipe"] = self.train.recipe
        for place, recipe in recipes.items():
            for name in ("loaded_rate", "frozen_epochs"):
                if getattr(recipe, name) != DEFAULTS[name]:
                    raise FieldError([*place, name], _NOT_LOADED[place])

    @property
    def compares(self) -> bool:
        """Whether networks are trained besides the chosen ones; from scratch are those already, without a supernet."""
        compare = self.compare
        return (compare.scratch and self.uses_supernet) or compare.random > 0 or compare.ends

    @property
    def uses_supernet(self) -> bool:
        """Whether what is found takes its weights from a supernet, or from a network that was made elastic."""
        keeps = self.search.evaluate == "features" or (self.search.evaluate == "largest" and self.weights is not None)
        return self.search.trains_supernet or keeps

    def provenance(self) -> dict[str, Any]:
        """Return the configuration, seed and versions that the results depend on."""
        return {"seed": self.seed, "config": self.to_json(), "versions": versions()}
