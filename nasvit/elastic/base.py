"""Base of elastic layers: the largest tensors, and plain layers that are views into them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from nasvit.elastic.live import enliven, fresh_shell, zero_in_place
from nasvit.elastic.shared_parameter import SharedParameter

P = ParamSpec("P")
E = TypeVar("E", bound="Elastic")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class _Template:
    """A plain module that ``at`` built once, and the views inside."""

    module: nn.Module
    views: tuple[SharedParameter, ...]

    @classmethod
    def of(cls, module: nn.Module) -> _Template:
        views = tuple(each for each in module.parameters() if isinstance(each, SharedParameter))
        return cls(enliven(module), views)

    def is_stale(self) -> bool:
        return any(view.is_stale() for view in self.views)

    def check(self) -> None:
        for view in self.views:
            view.check()


class Elastic(nn.Module):
    """Base of elastic layers and blocks: owns the largest tensors, has no ``forward``, answers ``at``.

    A module that ``at`` built is kept as a template; callers get fresh module shells around the same parameter views,
    so that ``eval()``, a hook or statistics set on one subnet never reach the next. Templates are no part of the
    state dict, of copies or of pickles, and are forgotten whenever the tensors they look into are replaced or frozen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._templates: dict[Any, _Template] = {}

    def view(self, name: str, *index: int | slice) -> SharedParameter:
        """Return the view ``self.<name>[index]`` as a leaf parameter that shares memory and gradient."""
        return SharedParameter.of(self._parameters, name, index)

    def check_views(self) -> None:
        """Raise if a cached view or its gradient was replaced (see :meth:`SharedParameter.check`)."""
        for layer in self._layers():
            if any(template.is_stale() for template in layer._templates.values()):
                layer.forget()
            for template in layer._templates.values():
                template.check()

    def forget(self) -> None:
        """Drop the cached views of this layer and of those inside it; subnets that somebody still has are watched."""
        for layer in self._layers():
            for template in layer._templates.values():
                for view in template.views:
                    view.watch()
        for module in self.modules():
            if isinstance(module, Elastic):
                module._templates.clear()

    def _layers(self) -> Iterator[Elastic]:
        """Yield the elastic layers with parameters of their own; all views are views of these."""
        for module in self.modules():
            if isinstance(module, Elastic) and module.has_views:
                yield module

    @property
    def has_views(self) -> bool:
        """Whether there are views of parameters of its own."""
        return bool(self._parameters)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradients to zero in place; views of them stay views.

        Raises:
            ValueError: for ``set_to_none=True``, which would cut every subnet off from its gradients.
        """
        zero_in_place(self, set_to_none)

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Elastic layers only share tensors.

        Raises:
            TypeError: always; plain layers compute.
        """
        name = type(self).__name__
        raise TypeError(f"{name} only shares tensors and computes nothing; call {name}.at(...) and use what it returns")

    def requires_grad_(self, requires_grad: bool = True) -> Elastic:
        """Freeze or unfreeze all parameters; cached views are made anew."""
        super().requires_grad_(requires_grad)
        self.forget()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Elastic:
        super()._apply(fn, recurse)
        self.forget()
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Any, *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
        if local_metadata.get("assign_to_params_buffers", False):
            self.forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_templates": {}}


def shared(build: Callable[Concatenate[E, P], M]) -> Callable[Concatenate[E, P], M]:
    """Turn a method that builds a plain module into an ``at`` that builds it once and returns fresh shells."""

    @functools.wraps(build)
    def at(self: E, *args: P.args, **kwargs: P.kwargs) -> M:
        key = (build.__name__, args, tuple(kwargs.items()))
        template = self._templates.get(key)
        if template is not None and template.is_stale():
            self.forget()
            template = None
        if template is None:
            with torch.inference_mode(False):  # views made in inference mode could never train
                template = self._templates[key] = _Template.of(build(self, *args, **kwargs))
        template.check()
        return fresh_shell(template.module)  # type: ignore[return-value]

    return at  # type: ignore[return-value]


def check_size(layer: str, name: str, value: int, largest: int) -> None:
    """Raise if a layer does not hold a requested size.

    Raises:
        ValueError: naming the layer, the size and the legal ones.
    """
    if not 1 <= value <= largest:
        raise ValueError(f"{layer}: {name}={value} is outside 1..{largest}, the sizes this layer holds")


def is_live(module: nn.Module) -> bool:
    """Return whether ``module`` shares parameters with a supernet."""
    return any(isinstance(parameter, SharedParameter) for parameter in module.parameters())
