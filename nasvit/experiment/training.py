"""How one network is trained, as a value: by which recipe, and with what help."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nasvit.branches import Branches
from nasvit.data.config import DataConfig
from nasvit.supernets.factors import Factors, augmentation_factors
from nasvit.tasks.distillation import Distillation
from nasvit.training.sampling import Phases
from nasvit.training.trainer import Precision
from predictors.limits import Budget
from search_spaces.reading import inline, load_yaml
from search_spaces.recipe import Recipe
from search_spaces.saved import plain
from search_spaces.values import FieldError


@dataclass(frozen=True)
class TeacherConfig:
    """Learn from a teacher too; its name alone is enough.

    Args:
        network: the name of a network with weights; see :mod:`nasvit.registry`.
        distillation: how labels and teacher are blended; None: half and half, for supernets the teacher alone.
    """

    network: str
    distillation: Distillation | None = None

    @classmethod
    def parse(cls, text: str) -> TeacherConfig:
        """Read the name of a network."""
        return cls(text)


@dataclass(frozen=True)
class NetAugConfig:
    """Train inside wider networks; see :class:`nasvit.training.sampling.NetAug`.

    Args:
        width: factors on channels.
        expand: factors on expand ratios.
        augmentation: the paper's augmentation factor r; with it, width and expand follow from r and ``diversity``.
        diversity: the paper's diversity factor s.
        weight: of the augmented network's loss.
        phases: when widths are augmented and channels sorted.
        calibration_images: training images that the deployed network's batch-norm statistics are taken from.
    """

    width: Factors = (1.0, 1.8, 2.6)
    expand: Factors = (1.0, 1.6, 2.2, 2.8)
    augmentation: float | None = None
    diversity: int = 2
    weight: float = 1.0
    phases: Phases = field(default_factory=Phases)
    calibration_images: int = 2000

    def __post_init__(self) -> None:
        if self.augmentation is not None and (self.width, self.expand) != (NetAugConfig.width, NetAugConfig.expand):
            raise FieldError(["augmentation"], "width and expand follow from it; leave them or it out")
        if self.weight < 0:
            raise FieldError(["weight"], f"{self.weight}; legal are numbers from 0 up")
        if self.calibration_images < 1:
            raise FieldError(["calibration_images"], f"{self.calibration_images}; legal are numbers from 1 up")

    @property
    def factors(self) -> tuple[Factors, Factors]:
        """Width and expand factors."""
        if self.augmentation is None:
            return self.width, self.expand
        return (augmentation_factors(self.augmentation, self.diversity),) * 2  # type: ignore[return-value]


@dataclass(frozen=True)
class SlimmableConfig:
    """How one network is trained to run at several widths.

    Args:
        norm: ``switchable``: each width has batch norms of its own. ``universal``: any width between the smallest and
            the largest runs; the largest, the smallest and some random widths train in each step. ``shared``: one
            batch norm for all, which is known to fail: a baseline.
        random: random widths of a step, for ``universal``.
        autoslim: budgets of multiply-adds; the trained universal network is slimmed to each of them layer by layer
            (AutoSlim), and what is found is trained again, as the widths of one network.
        calibration_images: training images that batch-norm statistics are taken from, for ``universal``.
    """

    norm: Literal["switchable", "universal", "shared"] = "switchable"
    random: int = 2
    autoslim: tuple[Budget, ...] = ()
    calibration_images: int = 2000

    def __post_init__(self) -> None:
        if self.autoslim and self.norm != "universal":
            raise FieldError(["autoslim"], "needs a network that runs at any width; set norm to universal")
        for number, budget in enumerate(self.autoslim):
            if [limit.metric for limit in budget.limits] != ["macs"]:
                raise FieldError(["autoslim", number], f"{budget} is no limit of multiply-adds such as macs<=5M")


@dataclass(frozen=True, kw_only=True)
class TrainingHelp:
    """What a network trains with besides images and recipe, and what is taken away again before it is deployed.

    Args:
        teacher: learn from a teacher too.
        branches: train with branches and fuse them afterwards.
        netaug: train inside wider networks and extract afterwards.
        precision: ``bfloat16`` runs forward passes in mixed precision.
    """

    teacher: TeacherConfig | None = None
    branches: Branches | None = None
    netaug: NetAugConfig | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.branches is not None and self.netaug is not None:
            raise FieldError(["netaug"], "a network trains with branches or inside wider ones; leave one of them out")


@dataclass(frozen=True, kw_only=True)
class Training(TrainingHelp):
    """How one network is trained; the recipe's fields stand beside the others.

    Args:
        recipe: optimizer, epochs, augmentation, regularization.
    """

    recipe: Recipe = inline()

    def by(self, recipe: Recipe) -> Training:
        """Return the same training by another recipe."""
        return replace(self, recipe=recipe)

    def to_json(self) -> dict[str, Any]:
        """Return the training as plain JSON values; what is left out is not there."""
        return {name: value for name, value in plain(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class FitConfig(TrainingHelp):
    """Everything that decides the result of one training.

    Args:
        network: what is trained: a name; see :mod:`nasvit.registry`. A saved network is trained on from its weights.
        data: images.
        recipe: optimizer, epochs, augmentation, regularization.
        weights: the name of an equal network whose weights training starts from; ``pretrained`` are timm's own.
        widths: train one network that runs at all these widths (a family at width 1, such as ``mobilenet_v2``).
        slimmable: how widths are trained.
        images: train on so many images, classes in proportion and the same for every seed; 0: all.
        program: also write a ``torch.export`` program that needs PyTorch alone.
        seed: decides initial weights, batches and augmented networks.
        output: folder that everything goes to.
        threads: processor threads; 0: as PyTorch decides.
        note: what a reader of the results must know.

    Raises:
        ValueError: if two ways of training are asked for that exclude each other.
    """

    network: str
    data: DataConfig
    recipe: Recipe
    weights: str | None = None
    widths: tuple[float, ...] = ()
    slimmable: SlimmableConfig = field(default_factory=SlimmableConfig)
    images: int = 0
    program: bool = True
    seed: int = 0
    output: Path | None = None
    threads: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 0:
            raise FieldError(["images"], f"{self.images}; legal are 0 (all) and numbers above")
        if self.widths and (self.branches or self.netaug):
            raise FieldError(["widths"], "a network of several widths trains without branches and netaug")
        if self.widths and self.weights is not None:
            raise FieldError(["weights"], "a network of several widths starts from random weights; leave weights out")
        if self.slimmable != SlimmableConfig() and not self.widths:
            raise FieldError(["slimmable"], "says how widths are trained; give widths too, such as [0.25, 0.5, 1.0]")

    @property
    def training(self) -> Training:
        """How the network is trained."""
        return Training(
            recipe=self.recipe,
            teacher=self.teacher,
            branches=self.branches,
            netaug=self.netaug,
            precision=self.precision,
        )

    @classmethod
    def load(cls, path: Path, overrides: tuple[tuple[str, str], ...] = ()) -> FitConfig:
        """Read one from a YAML file.

        Args:
            path: the file.
            overrides: fields that go before those of the file; see :func:`search_spaces.reading.load_yaml`.

        Raises:
            ValueError: naming the file, the line, the key and what is legal.
        """
        return load_yaml(cls, path, overrides)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values, without the folder that results go to."""
        content: dict[str, Any] = plain(self)
        del content["output"]
        return content
