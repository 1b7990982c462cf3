"""One training of one network: its start, its trainer, and the network to deploy."""

from __future__ import annotations

import re
import warnings
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from nasvit.any_network.augmented import AugmentedModel
from nasvit.any_network.model import PREFIX
from nasvit.branches import fuse, reparameterize
from nasvit.compute import ALONE, Compute
from nasvit.data import ImageSet, Loader
from nasvit.dense.shared import DenseAugmented
from nasvit.experiment.config import TrainConfig
from nasvit.experiment.image_size import square_side
from nasvit.experiment.images import Images
from nasvit.experiment.training import INSIDE_WIDER, NetAugConfig, TeacherConfig, Training
from nasvit.export.card import Card
from nasvit.heads.dense import DenseNetwork
from nasvit.importing.transfer import Report
from nasvit.layers.calibration import track_statistics
from nasvit.layers.fake_quantize import fake_quantize, without_fake_quantization
from nasvit.layers.reparameterized import has_branches
from nasvit.registry import augmentable, create, is_augmentable, is_timms_own, timm_classes
from nasvit.specs import DenseSpec, GhostNetSpec, Spec, elastic_plan
from nasvit.supernets import Augmented, augment
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.imitation import STUDENT, Imitated, Imitating
from nasvit.tasks.objective import LabelObjective, Objective
from nasvit.tasks.task import Score
from nasvit.tasks.teacher import Teacher, Teachers
from nasvit.training.initialization import draw_weights
from nasvit.training.learner import Learner, Values
from nasvit.training.sampling import NetAug
from nasvit.training.trainer import Trainer
from search_spaces.values import FieldError


@dataclass(frozen=True)
class Start:
    """Start of a training.

    Args:
        spec: spec of the network.
        network: the network with trained weights, which is trained in place; None: one with random weights.
        fused: whether that network's branches were fused.
        report: what was loaded into the network; None: all that it has, if there is one.
        new_head: whether the head of a detector or segmenter has random weights, whatever its backbone has.
        initialization: how random weights are drawn, of a detector or segmenter those of the backbone; as in a recipe.
    """

    spec: Spec
    network: nn.Module | None = None
    fused: bool = False
    report: Report | None = None
    new_head: bool = False
    initialization: str = "default"

    @property
    def is_loaded(self) -> Callable[[str], bool] | None:
        """Tells of a parameter's name whether it was loaded; None: nothing was."""
        if self.network is None:
            return None
        tells = _everything if self.report is None else self.report.is_loaded
        if not self.new_head:
            return tells
        return lambda name: name.startswith("backbone") and tells(name_in_network(name))


_BACKBONE = re.compile(r"^backbones?\.(?:body\.(?:network\.|graph\.)?)?")


def name_in_network(name: str) -> str:
    """Return the name that a parameter of a backbone has in the network that the backbone was made of."""
    return _BACKBONE.sub("", name)


def _everything(name: str) -> bool:
    return True


class Fitting:
    """One training of one network, and the deployment of the result.

    ``nasvit fit``, the fine-tuning stage and the trials of a search all train this way.

    Args:
        start: the network, with trained or random weights.
        training: recipe, teacher, branches and NetAug.
        images: the images to train on, to validate and to test with.
        seed: seed of initial weights, batches and augmented networks.
        name: name on the progress bar.
        compute: the processes that train together; those of ``images`` if left out.
    """

    def __init__(
        self,
        start: Start,
        training: Training,
        images: Images,
        *,
        seed: int,
        name: str,
        compute: Compute | None = None,
    ) -> None:
        how = training.recipe.initialization
        if how != "default" and start.network is not None:
            problem = f"{how} says how random weights are drawn, and training starts from others; leave it out"
            raise FieldError(["recipe", "initialization"], problem)
        self.start, self.training, self.images = replace(start, initialization=how), training, images
        self.seed, self.name, self.compute = seed, name, compute or images.compute

    @cached_property
    def way(self) -> Way:
        """The preparation of the network for its training, and the extraction of the deployed one."""
        classes, training = len(self.images.classes), self.training
        if training.netaug is not None:
            return _InsideWider(self.start, training.netaug, self.images, classes, self.seed)
        if training.branches is not None:
            return _WithBranches(self.start, training, classes, self.seed)
        if training.quantize is not None:
            return _Rounded(self.start, classes, self.seed)
        return _AsItIs(self.start, classes, self.seed)

    def trainer(
        self,
        folder: Path,
        *,
        images: ImageSet | None = None,
        validation: ImageSet | None = None,
        every: int | None = None,
    ) -> Trainer:
        """Return the trainer of the network.

        Args:
            folder: folder of checkpoints and metrics.
            images: images to train on; all training images if left out.
            validation: images to evaluate on; all validation images if left out, and some of the training images, too.
            every: epochs between two evaluations; a fifth of the training if left out.
        """
        recipe = self.training.recipe
        self._check_head(recipe.batch_size)
        held_out = self.images.validation if validation is None else validation
        plain = images is None and validation is None and every != 0
        learned = self.images.learned if plain else None
        model, learned_from = self._taught(objective(self.training, self.images, self.compute))
        learner = Learner(
            model,
            recipe,
            learned_from,
            sampling=self.way.sampling,
            is_loaded=self._is_loaded,
        )
        return Trainer(
            learner,
            self.images.training(recipe, images, self.compute),
            recipe,
            folder,
            seed=self.seed,
            chance_loss=self.images.task.chance_loss,
            running=self.training,
            compute=self.compute,
            evaluate=lambda trained: self._validate(trained, held_out, learned),
            evaluate_every=max(1, recipe.epochs // 5) if every is None else every,
            name=self.name,
        )

    def _taught(self, learned_from: Objective) -> tuple[nn.Module, Objective]:
        """Return the model to train, which shows its maps if a teacher's are imitated, and what it learns from."""
        model = self.compute.place(self.way.model)
        if not isinstance(learned_from, LabelObjective) or learned_from.imitated is None:
            return model, learned_from
        imitating = Imitating(model, learned_from.imitated, seed=self.seed)
        imitated = replace(learned_from.imitated, strides=imitating.strides)
        return self.compute.place(imitating), replace(learned_from, imitated=imitated)

    def _check_head(self, batch_size: int) -> None:
        """Refuse so few images at once that the head's batch norms have nothing to take statistics of."""
        spec, training = self.start.spec, self.training
        if not isinstance(spec, DenseSpec):
            return
        parts = training.accumulate * (self.compute.count if training.batch_norm == "own" else 1)
        if batch_size // parts < spec.head.least_images(spec.size):
            least, has = spec.head.least_images(spec.size), f"batch_size {batch_size} in {parts} parts has fewer"
            problem = f"{spec.head.kind} needs {least} images of this size at once, and {has}; take larger batches"
            raise FieldError(["head"], problem)

    @property
    def _is_loaded(self) -> Callable[[str], bool] | None:
        """Tells of the name of a parameter that trains whether it was loaded; None: nothing was."""
        tells, teacher = self.start.is_loaded, self.training.teacher
        if tells is not None and teacher is not None and teacher.features:
            return lambda name: name.startswith(STUDENT) and tells(name.removeprefix(STUDENT))
        if tells is None or not isinstance(self.way.model, AugmentedModel):
            return tells
        return lambda name: tells(name.removeprefix(PREFIX))

    def deployed(self, trained: nn.Module) -> nn.Module:
        """Return the plain network to deploy of a trained model, in evaluation mode."""
        return self.way.deployed(trained.network if isinstance(trained, Imitating) else trained).eval()

    def card(self, trained: nn.Module, origin: dict[str, Any]) -> Card:
        """Return the card of the deployed network.

        Args:
            trained: the model that the trainer returned.
            origin: origin of the weights.
        """
        fused = self.start.fused or has_branches(trained)
        return self.images.card(self.start.spec, origin, fused=fused)

    def score(self, network: nn.Module, images: ImageSet) -> Score:
        """Return the score of a network on a set of images, which the processes share out."""
        return self._score(network, self.images.evaluation_loader(images, compute=self.compute))

    def test(self, network: nn.Module) -> Score:
        """Return the score on the test images, at the size of those that the shipped network takes."""
        side = self.images.shape_for(self.start.spec)[1]
        return self._score(network, self.images.test_loader(side, self.compute))

    def _score(self, network: nn.Module, loader: Loader) -> Score:
        return self.images.task.evaluate(self.compute.place(network), loader.evaluation_batches(), self.compute)

    def _validate(self, trained: nn.Module, held_out: ImageSet, learned: ImageSet | None = None) -> Values:
        """Return the score on held-out images, and the one on training images that says whether it could learn more."""
        network = self.way.deployed(trained) if self.training.netaug is not None else trained
        with torch.no_grad():
            score = self.score(network, held_out)
            told = {"score": score.value, **score.numbers()}
            if learned is not None:
                score = self.score(network, learned)
                told |= {"training_score": score.value}
        return {name: round(value, 4) for name, value in told.items()}


def objective(
    training: Training | TrainConfig, images: Images, compute: Compute = ALONE, usual: Distillation | None = None
) -> Objective:
    """Return the objective of a training: targets, and perhaps a teacher.

    Args:
        training: recipe and teacher.
        images: images of the training.
        compute: the processes that train together; all of them call this together.
        usual: blend of targets and teacher where the training says none; None: half and half.

    Raises:
        ValueError: if the teacher cannot be loaded, or was trained on other classes or channels.
    """
    smoothing, asked, task = training.recipe.label_smoothing, training.teacher, images.learned_task(compute)
    if asked is None:
        return task.objective(smoothing=smoothing, compute=compute)
    teacher, blend = load_teacher(asked, images), asked.distillation or usual
    made = task.objective(smoothing=smoothing, teacher=teacher, distillation=blend, maps=asked.maps, compute=compute)
    if not asked.features:
        return made
    if not isinstance(made, LabelObjective):
        raise FieldError(["teacher", "features"], f"{asked.features} is for classification; legal here: 0, and maps")
    return replace(made, imitated=Imitated(teacher, asked.features, images.shape))


_TEACHERS: WeakKeyDictionary[Images, dict[str, Teacher]] = WeakKeyDictionary()
"""The teachers of all candidates that a search trains on the same images, by name."""


def load_teacher(asked: TeacherConfig, images: Images) -> Teacher | Teachers:
    """Load teachers, frozen and in evaluation mode, that get the student's images in their own normalization and size.

    Args:
        asked: names of the teachers, and their temperature.
        images: images of the student.

    Raises:
        ValueError: if a teacher has no weights, or was trained on other classes or channels.
    """
    loaded = _TEACHERS.setdefault(images, {})
    for name in asked.networks:
        if name not in loaded:
            loaded[name] = _load_teacher(name, images)
    teachers = [loaded[name] for name in asked.networks]
    return teachers[0] if len(teachers) == 1 and asked.temperature == 1 else Teachers(teachers, asked.temperature)


def _load_teacher(name: str, images: Images) -> Teacher:
    fetched = images.made_up and is_timms_own(name)  # for which a check does without
    try:
        classes = timm_classes(name) if fetched else None
        found = create(name, classes, pretrained=not fetched, image_channels=images.shape[0])
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"teacher: {error}") from error
    card, normalization = found.card, images.normalization
    if card.spec.channels != images.shape[0]:
        raise ValueError(
            f"teacher: {name} takes images of {card.spec.channels} channels, the student's have {images.shape[0]}"
        )
    columns = _columns(name, card, images.classes)
    if not card.mean and not fetched:
        warnings.warn(
            f"teacher: {name} does not say how its images were normalized, and gets them as the student does; save it "
            "with a card that says so (nasvit.save_network)",
            UserWarning,
            stacklevel=2,
        )
    takes_any_size = isinstance(card.spec, DenseSpec)
    side = None if takes_any_size or card.shape[1] in (0, images.shape[1]) else card.shape[1]
    teacher = Teacher(
        found.network,
        normalization.mean,
        normalization.std,
        own_mean=card.mean,
        own_deviation=card.deviation,
        side=side,
        columns=columns,
    )
    if card.spec.task == "classification":
        _try(name, teacher, images)
    return images.compute.place(teacher)


def _columns(name: str, card: Card, classes: tuple[str, ...]) -> list[int]:
    """Return which scores of a teacher belong to some classes, by their names where both sides have any.

    Raises:
        ValueError: if it was trained on other classes, or those of a detector or segmenter have another order.
    """
    theirs, numbers = card.classes, tuple(map(str, range(max(len(card.classes), len(classes)))))
    if theirs == classes:
        return []
    if theirs == numbers[: len(theirs)] or classes == numbers[: len(classes)]:  # of which nobody knows the names
        if len(theirs) == len(classes):
            return []
        raise ValueError(
            f"teacher: {name!r} scores {len(theirs)} classes and {len(classes)} are needed; choose one that was "
            "trained on them"
        )
    unknown = [each for each in classes if each not in theirs]
    if unknown:
        more = ", ..." if len(unknown) > 3 else ""
        raise ValueError(
            f"teacher: {name!r} does not know {len(unknown)} of the {len(classes)} classes ({', '.join(unknown[:3])}"
            f"{more}); it scores {', '.join(theirs[:3])}{', ...' if len(theirs) > 3 else ''}"
        )
    if card.spec.task != "classification":
        raise ValueError(
            f"teacher: {name!r} has its {len(theirs)} classes in another order than the student's {len(classes)}, or "
            f"more of them, which only classifiers may have; train one on these images"
        )
    return [theirs.index(each) for each in classes]


@torch.no_grad()
def _try(name: str, teacher: Teacher, images: Images) -> None:
    """Refuse a teacher that says no numbers of two gray images, so that it shows before anything is trained."""
    shape = tuple(side or 224 for side in images.shape)
    try:
        scores = teacher(torch.zeros(2, *shape))
    except Exception as error:  # networks of others fail in any way there is
        raise ValueError(f"teacher: {name} fails on images of {shape}: {type(error).__name__}: {error}") from error
    wanted = (2, len(images.classes))
    if not isinstance(scores, torch.Tensor) or scores.shape != wanted:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ValueError(f"teacher: {name} returns {found} for 2 images, and scores of shape {wanted} are needed")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError(f"teacher: {name} returns NaN or infinite scores; its weights are not usable")


class Way(ABC):
    """Preparation of a network for its training, and extraction of the deployed one."""

    model: nn.Module
    sampling: NetAug | None = None

    def deployed(self, trained: nn.Module) -> nn.Module:
        """Return the network to deploy of a trained model: branches are fused into one convolution."""
        return fuse(trained.eval()) if has_branches(trained) else trained.eval()


class _AsItIs(Way):
    def __init__(self, start: Start, classes: int, seed: int) -> None:
        self.model = _network(start, classes, seed)


class _Rounded(Way):
    """Weights and activations rounded as integers of 8 bits will be; what is deployed rounds nothing."""

    def __init__(self, start: Start, classes: int, seed: int) -> None:
        self.model = fake_quantize(_network(start, classes, seed))

    def deployed(self, trained: nn.Module) -> nn.Module:
        return without_fake_quantization(trained)


class _WithBranches(Way):
    """Branches beside every convolution that allows it, of a backbone if there is a head.

    Those of trained networks start at gain 0.
    """

    def __init__(self, start: Start, training: Training, classes: int, seed: int) -> None:
        branches = training.branches
        assert branches is not None
        options: dict[str, Any] = {"scale": branches.scale, "identity": branches.identity}
        spec = start.spec
        base = spec.base if isinstance(spec, DenseSpec) else spec
        if isinstance(base, GhostNetSpec) and start.network is None:
            branched = base.branched(branches.count, **options)
            whole = replace(spec, base=branched) if isinstance(spec, DenseSpec) else branched
            self.model = _network(replace(start, spec=whole), classes, seed)
            return
        network = _network(start, classes, seed)
        options |= {"keep_output": start.network is not None, "seed": seed}
        if isinstance(network, DenseNetwork):
            network.backbone = reparameterize(network.backbone, branches.count, **options)
            self.model = network
        else:
            self.model = reparameterize(network, branches.count, **options)


class _InsideWider(Way):
    """A tiny network inside wider ones; the weights of a trained one are kept."""

    model: Augmented | AugmentedModel | DenseAugmented

    def __init__(self, start: Start, asked: NetAugConfig, images: Images, classes: int, seed: int) -> None:
        if start.fused:
            raise FieldError(
                ["netaug"],
                "the network to start from was fused and has no batch norms, which wider networks need; start from one "
                "that was trained without branches",
            )
        if start.initialization != "default" and (isinstance(start.spec, DenseSpec) or is_augmentable(start.spec)):
            raise FieldError(["recipe", "initialization"], INSIDE_WIDER)
        if isinstance(start.spec, DenseSpec):
            self.model = self._with_head(start, start.spec, asked, classes, seed)
        elif is_augmentable(start.spec):
            self.model = self._of_ours(start, asked, classes, seed)
        else:
            self.model = _around(start, asked, images, classes, seed)
        self.sampling = NetAug(self.model, asked.weight, asked.phases)
        self.images, self.calibration_images = images, asked.calibration_images

    @staticmethod
    def _with_head(start: Start, spec: DenseSpec, asked: NetAugConfig, classes: int, seed: int) -> DenseAugmented:
        try:
            backbones = _wider(spec.base, asked, 1, seed)
        except ValueError as error:
            raise FieldError(["netaug"], str(error)) from error
        model = DenseAugmented(backbones, spec.head, (spec.channels, *spec.size), classes, seed=seed)
        if start.network is not None:
            _take_weights(start.network, model.at(model.base))
        return model

    @staticmethod
    def _of_ours(start: Start, asked: NetAugConfig, classes: int, seed: int) -> Augmented:
        model = _wider(start.spec, asked, classes, seed)
        if start.network is not None:
            _take_weights(start.network, model.at(model.base))  # type: ignore[arg-type]
        return model

    def deployed(self, trained: nn.Module) -> nn.Module:
        calibration = self.images.calibration_of(self.calibration_images)
        extracted: nn.Module = trained.extract(calibration=calibration)  # type: ignore[operator]
        return extracted.eval()


def _wider(spec: Spec, asked: NetAugConfig, classes: int, seed: int) -> Augmented:
    """Return wider networks around a subnet of a space or a family.

    Raises:
        ValueError: if it is another network.
    """
    width, expand = asked.factors
    return augment(
        augmentable(spec), width=width, expand=expand, classes=classes, seed=seed, image_channels=spec.channels
    )


def _around(start: Start, asked: NetAugConfig, images: Images, classes: int, seed: int) -> AugmentedModel:
    """Return wider networks around any network.

    Raises:
        FieldError: if it cannot be wider.
    """
    side = square_side(images.shape)
    width, expand = asked.factors
    network, shape = _network(start, classes, seed), (start.spec.channels, side, side)
    try:
        plan = elastic_plan(start.spec, classes, side)
        return AugmentedModel(network, plan, shape, width=width, expand=expand, seed=seed)
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError(["netaug"], str(error)) from error


def _network(start: Start, classes: int, seed: int) -> nn.Module:
    network = start.spec.build(classes, seed=seed) if start.network is None else start.network.float()
    if start.network is None:
        drawn = network.backbone if isinstance(network, DenseNetwork) else network
        draw_weights(drawn, start.initialization, seed)
    track_statistics(network)
    return network.requires_grad_(True)


@torch.no_grad()
def _take_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy the values of a plain network into a live subnet of the same structure."""
    for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
        ours.copy_(theirs)
