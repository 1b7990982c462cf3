"""Base of all networks that share weights among subnets: one gradient buffer, guarded steps, extraction."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nasvit.elastic.base import Elastic
from nasvit.elastic.live import enliven
from nasvit.layers.calibration import calibrate
from nasvit.supernets.gradients import FlatGradients

N = TypeVar("N", bound=nn.Module)
_BINDING = threading.Lock()


class SharedNetwork(Elastic):
    """Base of whole networks with shared weights: supernets, slimmable and augmented networks.

    A subclass defines ``at(...)``, which returns a subnet as a plain network of views, and calls :meth:`bind` there.
    This base keeps all gradients in one buffer, of which the gradients of those views are slices.
    """

    at: Callable[..., Any]
    extract: Callable[..., Any]

    def __init__(self) -> None:
        super().__init__()
        self._gradients: FlatGradients | None = None
        self._whole: SharedNetwork | None = None

    def become_part_of(self, whole: SharedNetwork) -> None:
        """Leave the gradients to a network with shared weights that this one is a part of."""
        self.__dict__["_whole"] = whole  # not as a module of this one: it is the other way round

    @property
    def gradients(self) -> FlatGradients:
        """All gradients as one buffer."""
        if self._whole is not None:
            return self._whole.gradients
        self.bind()
        assert self._gradients is not None, "a network with shared weights has at least one parameter that trains"
        return self._gradients

    def bind(self) -> None:
        """Create the gradient buffer if there is none; earlier views are then dropped.

        Raises:
            RuntimeError: if there is one and a gradient is no longer its slice of the buffer.
        """
        if self._whole is not None:
            self._whole.bind()
        elif self._gradients is None:
            with _BINDING:  # threads that use the network for the first time must not each make a buffer
                if self._gradients is None:
                    self._bind()
        else:
            self._gradients.check()

    def _bind(self) -> None:
        trained = self._trained()
        if trained:
            self.forget()
            with torch.inference_mode(False):  # a buffer made in inference mode could never be added to
                self._gradients = FlatGradients(trained)

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set all gradients to zero in place; parameters that were frozen have none from now on.

        Raises:
            ValueError: for ``set_to_none=True``, which would cut every subnet off from its gradients.
        """
        if set_to_none:
            super().zero_grad(set_to_none)
        if self._gradients is not None and not (self._gradients.intact() and self._gradients.are_of(self._trained())):
            self.forget()
        for parameter in self.parameters():
            if not parameter.requires_grad:
                parameter.grad = None  # an optimizer would go on moving what has one
        self.bind()
        if self._gradients is not None:
            self._gradients.zero_()

    def as_live(self, network: N) -> N:
        """Return a network made of live parts as a live one itself, in this network's mode."""
        enliven(network)
        return network if self.training else network.eval()  # whatever is new trains

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Let every step of ``optimizer`` first check that the gradients are still this network's.

        The step then raises ``RuntimeError`` where it would not train the network: gradients that were replaced, as
        by ``optimizer.zero_grad()`` or ``backward(create_graph=True)``, and parameters that were, as by
        ``load_state_dict(assign=True)``.
        """
        optimizer.register_step_pre_hook(lambda *_: self._check_step(optimizer))

    def _check_step(self, optimizer: torch.optim.Optimizer) -> None:
        trained = {id(parameter) for parameter in self.gradients.parameters}
        if not any(id(parameter) in trained for group in optimizer.param_groups for parameter in group["params"]):
            raise RuntimeError(
                "the optimizer holds none of the network's parameters any more; make a new one after "
                "load_state_dict(assign=True)"
            )
        self.check_views()

    def forget(self) -> None:
        """Drop the cached views and the gradient buffer; both are created again when needed."""
        super().forget()
        self._gradients = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_gradients": None}


def independent(subnet: N, calibration: Iterable[Tensor] | None = None) -> N:
    """Return a compact copy of a live subnet that shares nothing with its supernet.

    Args:
        subnet: a subnet that ``at`` returned.
        calibration: batches of images to take batch-norm statistics from, before the copy is made.
    """
    if calibration is not None:
        calibrate(subnet, calibration)
    return copy.deepcopy(subnet)
