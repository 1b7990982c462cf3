"""One training of one compact network, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nasvit.experiment.config import DataConfig
from nasvit.registry import Branches
from nasvit.supernets.factors import Factors, augmentation_factors
from nasvit.tasks.distillation import Distillation
from nasvit.training.netaug import Phases
from search_spaces.reading import load_yaml
from search_spaces.recipe import Recipe
from search_spaces.values import FieldError


@dataclass(frozen=True)
class NetAugConfig:
    """Train inside wider networks; see :class:`nasvit.training.netaug.NetAugTask`.

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
class TeacherConfig:
    """Learn from a teacher too; see :class:`nasvit.tasks.distillation.Distillation`.

    Args:
        network: the folder of a network that nasvit saved, or ``timm:MODEL[:CHECKPOINT]``.
        distillation: how labels and teacher are blended.
    """

    network: str
    distillation: Distillation = field(default_factory=Distillation)


@dataclass(frozen=True)
class FitConfig:
    """Everything that decides the result of one training.

    Args:
        network: what is trained; see :func:`nasvit.registry.build_network`.
        data: images.
        recipe: optimizer, epochs, augmentation, regularization.
        images: train on so many images, classes in proportion and the same for every seed; 0: all.
        branches: train with branches and fuse them afterwards.
        netaug: train inside wider networks and extract afterwards.
        teacher: learn from a teacher too.
        decay_after_warmup: count the cosine of the learning rate from the end of the warm-up, not from step 0.
        program: also write a ``torch.export`` program that needs PyTorch alone.
        seed: decides initial weights, batches and augmented networks.
        output: folder that everything goes to.
        threads: processor threads; 0: as PyTorch decides.
        note: what a reader of the results must know.

    Raises:
        ValueError: if both branches and netaug are asked for.
    """

    network: str
    data: DataConfig
    recipe: Recipe
    images: int = 0
    branches: Branches | None = None
    netaug: NetAugConfig | None = None
    teacher: TeacherConfig | None = None
    decay_after_warmup: bool = False
    program: bool = True
    seed: int = 0
    output: Path | None = None
    threads: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.images < 0:
            raise FieldError(["images"], f"{self.images}; legal are 0 (all) and numbers above")
        if self.branches is not None and self.netaug is not None:
            raise FieldError(["netaug"], "a network trains with branches or inside wider ones; leave one of them out")

    @classmethod
    def load(cls, path: Path) -> FitConfig:
        """Read one from a YAML file.

        Raises:
            ValueError: naming the file, the line, the key and what is legal.
        """
        return load_yaml(cls, path)
