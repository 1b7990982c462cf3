"""Any network as a supernet: its subnets are networks of the same classes that share its weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.any_network.attributes import values_of
from nasvit.any_network.gathered import GatheredParameter, Refreshing, gather
from nasvit.any_network.importance import Importance, sort_units
from nasvit.any_network.kept import Chosen, Positions, chosen_of
from nasvit.any_network.plan import Plan
from nasvit.any_network.runs import cropped
from nasvit.any_network.shell import shell_of
from nasvit.elastic.live import Live, live_class
from nasvit.elastic.shared_parameter import SharedParameter
from nasvit.layers.network import Resize, Resized
from nasvit.supernets.shared_network import SharedNetwork, independent
from search_spaces.elastic import ElasticArchitecture, ElasticSpace

PREFIX = "network."
"""What the names of a network's tensors begin with in its elastic model."""


class ElasticModel(SharedNetwork):
    """All subnets of a network, sharing its weights.

    ``elastic.at(architecture)`` is a network of the same classes whose parameters are those of the network, or slices
    of them: its backward pass trains the network. ``elastic.extract(architecture)`` is an independent copy of it. The
    largest subnet is the network itself, bit for bit. Made by :func:`nasvit.elasticize`.

    Args:
        network: the network.
        plan: what can be decided in it.
        space: the sizes that are chosen from.
        image: shape of the images that it was made for, ``(channels, height, width)``.
    """

    def __init__(self, network: nn.Module, plan: Plan, space: ElasticSpace, image: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.plan, self.space, self.image = network, plan, space, image
        self._positions = Positions(network, plan.groups)
        self._views: dict[Any, SharedParameter] = {}
        self._seen: list[tuple[int, int, bool]] = []

    def at(self, architecture: ElasticArchitecture) -> nn.Module:
        """Return a subnet: a network of the same classes that shares this one's weights.

        Gradients of its backward pass add to this network's. Every call gives fresh modules; batch-norm statistics are
        copies, which belong to the subnet.

        Raises:
            ValueError: if the space does not hold the architecture.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        self.space.check(architecture)
        self.bind()
        self._forget_if_replaced()
        subnet = self._shell(chosen_of(self.plan, architecture))
        if len(self.space.resolution) > 1:
            subnet = Resized(Resize(architecture.resolution), subnet).train(self.training)
        return self.as_live(subnet)

    def _shell(self, chosen: Chosen) -> nn.Module:
        values: dict[str, dict[str, Any]] = values_of(self.network, self.plan.attributes, chosen.kept)
        for path, side in chosen.kernels.items():
            values.setdefault(path, {}).update(cropped(cast(nn.Conv2d, self.network.get_submodule(path)), side))

        def tensor_at(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
            if isinstance(tensor, nn.Parameter):
                return self._view(name, tensor, module, chosen)
            index = self._positions.index(name, tensor, chosen)
            if index is not None:
                return gather(tensor, index)
            return tensor.clone() if isinstance(module, _BatchNorm) else tensor

        with torch.inference_mode(False):  # views made in inference mode could never train
            return shell_of(self.network, tensor_at, values, chosen.left_out)

    def _view(self, name: str, tensor: nn.Parameter, module: nn.Module, chosen: Chosen) -> SharedParameter:
        key = (name, *self._positions.key(name, chosen))
        view = self._views.get(key)
        if view is not None:
            view.check()
        else:
            own = name.rpartition(".")[2]
            index = self._positions.index(name, tensor, chosen)
            if index is None or not any(isinstance(kept, Tensor) for kept in index):
                slices = cast("tuple[slice, ...]", index or (slice(None),) * tensor.ndim)
                view = SharedParameter.of(module._parameters, own, slices)
            else:
                view = GatheredParameter.gathered(module._parameters, own, index)
            self._views[key] = view
        view.check()
        if isinstance(view, GatheredParameter):
            view.refresh()
        return view

    def as_live(self, network: nn.Module) -> nn.Module:  # type: ignore[override]
        """Return a network made of this one's parts as a live one, in this network's mode."""
        for module in network.modules():
            if not isinstance(module, Live):
                live = live_class(type(module), *self._mixins(module))  # type: ignore[arg-type]  # classes can be hashed
                object.__setattr__(module, "__class__", live)
        return network if self.training else network.eval()

    def _mixins(self, module: nn.Module) -> tuple[type[nn.Module], ...]:
        """Return what the live class of a module needs besides :class:`Live`."""
        gathers = any(isinstance(each, GatheredParameter) for each in module._parameters.values())
        return (Refreshing,) if gathers else ()

    def sort(self, importance: Importance = "magnitude") -> None:
        """Sort the units of every group by importance, in place, so that subnets keep the best; see :func:`sort_units`.

        The largest subnet computes the same as before, within rounding. Do it before anything is trained: optimizers
        and averages do not follow.
        """
        sort_units(self.network, self.plan, importance)

    def _forget_if_replaced(self) -> None:
        """Forget all views if a parameter was replaced, moved, frozen or unfrozen since they were made.

        Looking at the parameters is enough, however many views of them there are.
        """
        now = [(id(each), each.data_ptr(), each.requires_grad) for each in self.parameters()]
        if now != self._seen:
            if self._views:
                self.forget()
                self.bind()
            self._seen = now

    def check_views(self) -> None:
        """Raise if a view or its gradient was replaced; forget all if a parameter was."""
        self._forget_if_replaced()
        for view in self._views.values():
            view.check()

    def forget(self) -> None:
        """Drop the cached views and the gradient buffer; both are created again when needed."""
        views = self.__dict__.get("_views", {})
        for view in views.values():
            view.watch()
        views.clear()
        super().forget()

    def extract(
        self,
        architecture: ElasticArchitecture,
        calibration: Iterable[Tensor] | None = None,
        *,
        resize: bool = True,
    ) -> nn.Module:
        """Return an independent network of the original classes that computes the same as a subnet.

        Args:
            architecture: sizes of the subnet.
            calibration: batches of images to take batch-norm statistics from; without them the copy has those of the
                network, which fit the largest subnet only.
            resize: where the space has several resolutions, keep the layer that resizes images.

        Raises:
            ValueError: if the space does not hold the architecture.
        """
        network = independent(self.at(architecture), calibration)
        return network.network if isinstance(network, Resized) and not resize else network

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_views": {}, "_seen": []}

    def extra_repr(self) -> str:
        return f"space={self.space.name}, subnets={self.space.size:,}"
