"""The training of one network as a value: its recipe, and help such as a teacher."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from nasvit.branches import Branches
from nasvit.data.annotated import TaskName
from nasvit.data.config import TENTH, DataConfig
from nasvit.experiment.yaml_file import YamlFile
from nasvit.heads.kinds import AnyHead, head_of
from nasvit.supernets.factors import Factor, Factors, augmentation_factors
from nasvit.tasks.class_weights import ClassWeights, check_weights
from nasvit.tasks.distillation import Distillation, Temperature
from nasvit.training.execution import Running
from nasvit.training.sampling import Phases
from predictors.limits import Budget
from search_spaces.ranges import MOST_THREADS, Checked, ImageCount, Range, Seed
from search_spaces.reading import inline
from search_spaces.recipe import Recipe
from search_spaces.saved import Saved, to_json_value
from search_spaces.values import FieldError

Threads = Annotated[int, Range(0, MOST_THREADS)]
"""Threads of the processor; 0: as PyTorch decides."""

INSIDE_WIDER = "is for plain networks, and wider ones (netaug) have an initialization of their own; legal here: default"

CalibrationImages = Annotated[int, Range(1, 1_000_000_000)]


@dataclass(frozen=True)
class StartingWeights(Saved):
    """Weights that a training starts from; their source alone is enough.

    Args:
        source: a folder that nasvit saved, for a supernet that of an experiment that trained one; a file that ``nasvit
            import`` wrote (``FILE.safetensors:WHICH`` for one of its subnets); a state dict (``.pt``, ``.pth``,
            ``.safetensors``); ``timm:MODEL``, timm's own from its hub; ``pretrained``, timm's own of this network.
        partial: let what does not fit start from random weights, instead of refusing it.
    """

    source: str
    partial: bool = False

    def __post_init__(self) -> None:
        if not self.source:
            raise FieldError(["source"], "names nothing; legal: a folder, a file, timm:MODEL or pretrained")

    @classmethod
    def parse(cls, text: str) -> StartingWeights:
        """Read the source."""
        return cls(text)

    def to_json(self) -> str:
        """Return the source alone where nothing else is asked for, as it stands in a file."""
        return json.dumps(asdict(self) if self.partial else self.source)

    @classmethod
    def from_json(cls, text: str) -> StartingWeights:
        content = json.loads(text)
        return cls(content) if isinstance(content, str) else cls(**content)


@dataclass(frozen=True)
class TeacherConfig(Checked, Saved):
    """Learn from a teacher too, or from several; the name of one alone is enough.

    Args:
        network: the name of a network with weights, or a list of such names, whose mean probabilities teach; see
            docs/guides/names.md.
        distillation: blend of labels and teacher; None: half and half, for supernets the teacher alone. Its temperature
            softens what student and teachers say, both.
        temperature: the teachers' scores, but not the student's, are divided by it before anything else; below 1
            sharpens what they say. NASViT has 0.2.
        maps: of detectors and segmenters, weight of the distance of the student's maps from the teacher's (channel-wise
            distillation), which is added to the rest; both have heads of one kind, with the same strides and channels.
        features: of plain classifiers, weight of the distance of the student's maps from the teacher's, which is added
            to the rest; 1x1 convolutions that train along bring them to the teacher's channels, and are dropped
            afterwards. Maps are compared at all strides from 4 to 32 that both have; see
            :func:`nasvit.tasks.imitation.relative_distance`.

    Raises:
        ValueError: if no network is named, or a number is out of its range.
    """

    network: str | tuple[str, ...]
    distillation: Distillation | None = None
    temperature: Temperature = 1.0
    maps: Annotated[float, Range(0, 1000)] = 0.0
    features: Annotated[float, Range(0, 1000)] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network:
            raise FieldError(["network"], "names no network; legal: a name, or a list of names")
        if len(self.networks) == 1:
            object.__setattr__(self, "network", self.networks[0])  # however it is written, it is the same teacher

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of all teachers."""
        return (self.network,) if isinstance(self.network, str) else self.network

    @classmethod
    def parse(cls, text: str) -> TeacherConfig:
        """Read the name of a network."""
        return cls(text)

    def to_json(self) -> str:
        """Return all fields; without ``maps`` and ``features`` where these are not compared, as in earlier records."""
        content = {each.name: to_json_value(getattr(self, each.name)) for each in fields(self)}
        return json.dumps({name: value for name, value in content.items() if value or name not in ("maps", "features")})

    @classmethod
    def from_json(cls, text: str) -> TeacherConfig:
        content = json.loads(text)
        blend, network = content.pop("distillation"), content.pop("network")
        network = network if isinstance(network, str) else tuple(network)
        return cls(network, None if blend is None else Distillation(**blend), **content)


@dataclass(frozen=True)
class NetAugConfig(Checked):
    """Train inside wider networks; see :class:`nasvit.training.sampling.NetAug`.

    Args:
        width: factors on channels.
        expand: factors on expand ratios.
        augmentation: the paper's augmentation factor r; with it, width and expand follow from r and ``diversity``.
        diversity: the paper's diversity factor s.
        weight: weight of the augmented network's loss.
        phases: when widths are augmented and channels sorted.
        calibration_images: training images that the deployed network's batch-norm statistics are taken from.
    """

    width: Factors = (1.0, 1.8, 2.6)
    expand: Factors = (1.0, 1.6, 2.2, 2.8)
    augmentation: Factor | None = None
    diversity: Annotated[int, Range(1, 64)] = 2
    weight: Annotated[float, Range(0, 1000)] = 1.0
    phases: Phases = field(default_factory=Phases)
    calibration_images: CalibrationImages = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augmentation is not None and (self.width, self.expand) != (NetAugConfig.width, NetAugConfig.expand):
            raise FieldError(["augmentation"], "width and expand follow from it; leave them or it out")

    @property
    def factors(self) -> tuple[Factors, Factors]:
        """Width and expand factors."""
        if self.augmentation is None:
            return self.width, self.expand
        return (augmentation_factors(self.augmentation, self.diversity),) * 2  # type: ignore[return-value]


@dataclass(frozen=True)
class SlimmableConfig(Checked):
    """Training of one network at several widths.

    Args:
        norm: ``switchable``: each width has batch norms of its own. ``universal``: any width between the smallest and
            the largest runs; the largest, the smallest and some random widths train in each step. ``shared``: one
            batch norm for all, which is known to fail: a baseline.
        random: random widths of a step, for ``universal``.
        autoslim: budgets of multiply-adds; the trained universal network is slimmed to each of them layer by layer
            (AutoSlim), and the channel plans found are trained again, as the widths of one network.
        calibration_images: training images that batch-norm statistics are taken from, for ``universal``.
    """

    norm: Literal["switchable", "universal", "shared"] = "switchable"
    random: Annotated[int, Range(0, 64)] = 2
    autoslim: tuple[Budget, ...] = ()
    calibration_images: CalibrationImages = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.autoslim and self.norm != "universal":
            raise FieldError(["autoslim"], "needs a network that runs at any width; set norm to universal")
        for number, budget in enumerate(self.autoslim):
            if [limit.metric for limit in budget.limits] != ["macs"]:
                raise FieldError(["autoslim", number], f"{budget} is no limit of multiply-adds such as macs<=5M")


@dataclass(frozen=True, kw_only=True)
class TrainingHelp(Running):
    """Help for a training besides images and recipe, all of which is removed before the network is deployed.

    Args:
        teacher: learn from a teacher too, or from several.
        branches: train with branches and fuse them afterwards.
        netaug: train inside wider networks and extract afterwards.
        quantize: ``int8``: train with weights and activations rounded as integers of 8 bits will round them, so that
            files of such integers lose less; the network itself stays one of floats. Best from trained weights, for a
            few epochs at a small learning rate.
    """

    teacher: TeacherConfig | None = None
    branches: Branches | None = None
    netaug: NetAugConfig | None = None
    quantize: Literal["int8"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.branches is not None and self.netaug is not None:
            raise FieldError(["netaug"], "a network trains with branches or inside wider ones; leave one of them out")
        if self.quantize is not None and (self.branches or self.netaug):
            raise FieldError(["quantize"], "is for the plain network, without branches and netaug; train it on with it")
        if self.teacher is not None and self.teacher.features:
            for name, asked in (("netaug", self.netaug), ("quantize", self.quantize), ("compile", self.compile)):
                if asked:
                    raise FieldError(
                        ["teacher", "features"], f"are those of a plain network; leave {name} out, or them"
                    )


@dataclass(frozen=True, kw_only=True)
class Training(TrainingHelp):
    """The training of one network; the recipe's fields stand beside the others.

    Args:
        recipe: optimizer, epochs, augmentation, regularization.
    """

    recipe: Recipe = inline()

    def by(self, recipe: Recipe) -> Training:
        """Return the same training by another recipe."""
        return replace(self, recipe=recipe)

    def to_json(self) -> dict[str, Any]:
        """Return the training as plain JSON values; fields that are None are left out."""
        return {name: value for name, value in to_json_value(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ForTask(Checked):
    """The task that networks are trained for.

    Args:
        task: ``classification``, ``detection`` (objects by boxes) or ``segmentation`` (a class for every pixel).
        head: what turns a network's maps into boxes or masks: ``fcos``, ``retinanet`` or ``ssdlite`` for detection,
            ``lraspp`` or ``pyramid`` for segmentation, or a mapping with its ``kind`` and options; None: the first of
            these.
        class_weights: weights of the classes in the cross entropy of segmentation: ``balanced``, the median share of
            pixels in the training masks divided by the class's own, so that rare ones count more; a number for every
            class; or a mapping of names to numbers, where others weigh 1. None: all pixels count alike.
    """

    task: TaskName = "classification"
    head: AnyHead | None = None
    class_weights: ClassWeights | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        head_of(self.task, self.head)
        check_weights(self.class_weights, self.task)

    @property
    def whole_head(self) -> AnyHead | None:
        """The head of the task, given or not; None for classification."""
        return head_of(self.task, self.head)


@dataclass(frozen=True, kw_only=True)
class FitConfig(TrainingHelp, ForTask, YamlFile):
    """Everything that determines the result of one training.

    Args:
        task: what networks are trained for: classes of images, boxes around objects, or a class for every pixel.
        head: what turns a network's maps into boxes (``fcos``, ``retinanet``, ``ssdlite``) or masks (``lraspp``,
            ``pyramid``), or a mapping of its ``kind`` and options; None: the first of these.
        class_weights: how much the classes of masks count, where some are rare: ``balanced`` by the pixels of the
            training masks, a number for every class, or a mapping of names to numbers; None: all pixels count alike.
        network: name of the network; see docs/guides/names.md. A saved network starts from its weights.
        data: images.
        recipe: optimizer, epochs, augmentation, regularization.
        weights: weights that training starts from, whatever classes they were trained on.
        widths: train one network that runs at all these widths: a family at width 1, such as ``mobilenet_v2``, or any
            network of timm, torchvision or own code, at shares of its channels up to 1.
        slimmable: options of the training of widths.
        images: train on so many images, classes in proportion and the same for every seed; 0: all.
        program: also write a ``torch.export`` program that needs PyTorch alone.
        seed: seed of initial weights, batches and augmented networks.
        output: folder of the results.
        threads: processor threads; 0: as PyTorch decides.
        note: remark that belongs beside the results.

    Raises:
        ValueError: if two options exclude each other.
    """

    network: str
    data: DataConfig
    recipe: Recipe
    weights: StartingWeights | None = None
    widths: tuple[Annotated[float, Range(0, 16, above=True)], ...] = ()
    slimmable: SlimmableConfig = field(default_factory=SlimmableConfig)
    images: ImageCount = 0
    program: bool = True
    seed: Seed = 0
    output: Path | None = None
    threads: Threads = 0
    note: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Nothing is chosen on these images, so that a tenth will do; sources of dense tasks may hold out their own.
        if self.data.validation is None and self.task == "classification":
            object.__setattr__(self, "data", replace(self.data, validation=TENTH))
        if self.widths and (self.branches or self.netaug):
            raise FieldError(["widths"], "a network of several widths trains without branches and netaug")
        if self.widths and self.teacher is not None and self.teacher.features:
            raise FieldError(["teacher", "features"], "are those of a network of one width; leave widths out, or them")
        if self.widths and self.quantize is not None:
            raise FieldError(["quantize"], "is for a network of one width")
        if self.widths and self.weights is not None and not self._is_from_elsewhere:
            raise FieldError(["weights"], "a network of several widths starts from random weights; leave weights out")
        if self.recipe.initialization != "default" and (self.widths or self.weights):
            what = "several widths have an initialization of their own" if self.widths else "weights are not random"
            raise FieldError(["recipe", "initialization"], f"is for plain networks with random weights, and {what}")
        self._check_loaded()
        self._check_task()
        if self.slimmable != SlimmableConfig() and not self.widths:
            raise FieldError(["slimmable"], "says how widths are trained; give widths too, such as [0.25, 0.5, 1.0]")

    def _check_task(self) -> None:
        """Refuse what detectors and segmenters do not have."""
        if self.task == "classification":
            return
        if self.widths and self._is_from_elsewhere:
            raise FieldError(["widths"], f"of a network with a head are those of a family; {self.network} is none")
        if self.widths and self.slimmable != SlimmableConfig():
            raise FieldError(["slimmable"], f"is for classification, and the task is {self.task}; leave it out")
        if self.widths and self.whole_head is not None and self.whole_head.kind == "lraspp":
            problem = "lraspp has batch norms, whose statistics would be those of all widths; legal: fcos, pyramid"
            raise FieldError(["head"], problem)

    @property
    def _is_from_elsewhere(self) -> bool:
        """Whether the network is none of ours, as its name tells: such as ``timm:resnet18``, or a saved folder."""
        return ":" in self.network or Path(self.network).is_dir()

    def _check_loaded(self) -> None:
        """Take the name of weights for the weights, and refuse to freeze what wider networks change."""
        if isinstance(self.weights, str):
            object.__setattr__(self, "weights", StartingWeights(self.weights))
        if self.recipe.frozen_epochs and self.netaug is not None:
            problem = "wider networks (netaug) share their first channels with what would be frozen; leave one out"
            raise FieldError(["recipe", "frozen_epochs"], problem)

    @property
    def training(self) -> Training:
        """The training of the network."""
        return Training(
            recipe=self.recipe,
            teacher=self.teacher,
            branches=self.branches,
            netaug=self.netaug,
            quantize=self.quantize,
            **{each.name: getattr(self, each.name) for each in fields(Running)},
        )
