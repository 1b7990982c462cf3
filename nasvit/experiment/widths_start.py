"""What a training of several widths starts from: a family, or any network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nasvit.any_network.importance import sort_units
from nasvit.any_network.widths import AnyWidth, SlimmableModel, original_name
from nasvit.dense.shared import DenseSlimmable
from nasvit.elastic.norms import NormKind
from nasvit.experiment.fitting import Start
from nasvit.export.switchable import SwitchableModel, spec_of_widths
from nasvit.heads.kinds import AnyHead
from nasvit.models.family import Family
from nasvit.specs import DenseWidthsSpec, SlimmableSpec, WidthsSpec, elastic_plan
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.supernets.widths import Slimmable
from search_spaces.values import FieldError

if TYPE_CHECKING:
    from typing_extensions import Self


class WidthsStart(ABC):
    """Start of a training of several widths.

    Attributes:
        widths: multipliers, or the sizes that AutoSlim found.
        origin: the network that has the widths; None: it is a family.
    """

    widths: tuple[Any, ...]
    origin: Start | None

    @abstractmethod
    def network(self, classes: int, norm: NormKind, seed: int) -> Slimmable[Any]:
        """Return the network with shared weights, as the training starts.

        Args:
            classes: number of classes.
            norm: its batch norms.
            seed: seed of the weights that are random.

        Raises:
            ValueError: if it cannot have these widths.
        """

    @abstractmethod
    def spec(self, model: SwitchableModel) -> WidthsSpec:
        """Return the spec of a deployed model."""

    @abstractmethod
    def at(self, widths: tuple[Any, ...]) -> Self:
        """Return the same start at other widths."""

    @property
    def is_loaded(self) -> Callable[[str], bool] | None:
        """Tells of a parameter's name whether it was loaded; None: nothing was."""
        return None


@dataclass(frozen=True)
class FamilyWidths(WidthsStart):
    """Several widths of a family, with random weights.

    Args:
        family: everything but the channels.
        widths: multipliers, or channel plans that AutoSlim found.
        image_channels: channels of the images.
    """

    family: Family
    widths: tuple[Width, ...]
    image_channels: int = 3
    origin: None = field(default=None, init=False)

    def network(self, classes: int, norm: NormKind, seed: int) -> SlimmableNetwork:
        return SlimmableNetwork(
            self.family, self.widths, classes, norm=norm, seed=seed, image_channels=self.image_channels
        )

    def spec(self, model: SwitchableModel) -> WidthsSpec:
        assert isinstance(model.shared, SlimmableNetwork)
        return spec_of_widths(model.shared, model.widths)

    def at(self, widths: tuple[Width, ...]) -> FamilyWidths:
        return replace(self, widths=widths)


@dataclass(frozen=True)
class NetworkWidths(WidthsStart):
    """Several widths of any network; loaded weights are sorted by importance first, so that narrow ones keep the best.

    Args:
        origin: the network, with random or loaded weights.
        widths: shares of its channels, or the sizes that AutoSlim found.
        side: side of the images in pixels.
    """

    origin: Start
    widths: tuple[AnyWidth, ...]
    side: int

    def network(self, classes: int, norm: NormKind, seed: int) -> SlimmableModel:
        spec, loaded = self.origin.spec, self.origin.network
        try:
            plan = elastic_plan(spec, classes, self.side)
            network = spec.build(classes, seed=seed) if loaded is None else copy.deepcopy(loaded).float()
            if loaded is not None:
                sort_units(network, plan)
            image = (spec.channels, self.side, self.side)
            return SlimmableModel(network.requires_grad_(True), plan, image, self.widths, norm=norm)
        except FieldError:
            raise
        except ValueError as error:
            raise FieldError(["network"], str(error)) from error

    def spec(self, model: SwitchableModel) -> WidthsSpec:
        shared = model.shared
        assert isinstance(shared, SlimmableModel)
        return SlimmableSpec(self.origin.spec, shared.widths, shared.plans, shared.norm, self.side)

    def at(self, widths: tuple[AnyWidth, ...]) -> NetworkWidths:
        return replace(self, widths=widths)

    @property
    def is_loaded(self) -> Callable[[str], bool] | None:
        tells = self.origin.is_loaded
        return None if tells is None else lambda name: tells(original_name(name))


@dataclass(frozen=True)
class DenseWidths(WidthsStart):
    """Several widths of a family with one head on the maps of each, with random weights.

    Args:
        family: the widths of the family.
        head: the head.
        size: height and width of the images.
    """

    family: FamilyWidths
    head: AnyHead
    size: tuple[int, int]
    origin: None = field(default=None, init=False)

    @property
    def widths(self) -> tuple[Width, ...]:  # type: ignore[override]
        return self.family.widths

    def network(self, classes: int, norm: NormKind, seed: int) -> DenseSlimmable:
        backbones = self.family.network(1, norm, seed)
        return self._spec(backbones).around(backbones, classes, seed)

    def spec(self, model: SwitchableModel) -> DenseWidthsSpec:
        assert isinstance(model.shared, DenseSlimmable)
        return self._spec(model.shared.backbones)

    def _spec(self, backbones: SlimmableNetwork) -> DenseWidthsSpec:
        return DenseWidthsSpec(spec_of_widths(backbones, backbones.widths), self.head, self.size)

    def at(self, widths: tuple[Width, ...]) -> DenseWidths:
        return replace(self, family=self.family.at(widths))
