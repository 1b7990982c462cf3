"""Optimizers of recipes, with weight decay only on weights of convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.loaded import FACTOR, LOADED

NO_DECAY_WORDS = ("bias", "norm", "scale", "relative_position")
"""A parameter whose last two name parts contain one of these words is not decayed, whatever its shape."""

MOMENTUM = 0.9
"""Momentum of SGD and RMSprop."""

DecayRule = Callable[[str, nn.Parameter], bool]
"""Returns whether weight decay acts on a parameter, given its dotted name and the parameter."""

_FUSED = ("cpu", "cuda", "xpu")  # devices where torch updates all tensors at once

MOMENTS = {"sgd": 1, "rmsprop_tf": 2, "adamw": 2, "lamb": 2}
"""How many tensors like its own every parameter has in the state of an optimizer, by the optimizers of recipes."""


class OptimizerRecipe(Protocol):
    """The part of a recipe that an optimizer is built from."""

    @property
    def optimizer(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay acts on a parameter: a weight of a convolution or linear layer, no vector or table.

    Args:
        name: the dotted name of the parameter.
        parameter: the parameter.
    """
    last_parts = ".".join(name.split(".")[-2:])
    return parameter.ndim > 1 and not any(word in last_parts for word in NO_DECAY_WORDS)


def is_decayed_unless_depthwise(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay acts on a parameter: as :func:`is_decayed`, but not on depthwise convolutions.

    Slimmable networks are trained so (Yu et al., 2019, released code). Arguments as in :func:`is_decayed`.
    """
    return is_decayed(name, parameter) and not (parameter.ndim == 4 and parameter.shape[1] == 1)


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    recipe: OptimizerRecipe,
    decays: DecayRule = is_decayed,
    *,
    loaded: Iterable[nn.Parameter] = (),
    loaded_rate: float = 1.0,
) -> torch.optim.Optimizer:
    """Build the optimizer of a recipe.

    Nothing here zeroes gradients: those of a supernet live in one buffer and are zeroed by the supernet.

    Args:
        named_parameters: as from ``module.named_parameters()``.
        recipe: names the optimizer: SGD with Nesterov momentum, RMSprop as in TensorFlow, AdamW or LAMB.
        decays: which parameters weight decay acts on.
        loaded: parameters that are in groups of their own, so that they can be frozen.
        loaded_rate: factor on their learning rate.

    Raises:
        ValueError: if the recipe names an unknown optimizer, or there are no parameters.
    """
    groups = parameter_groups(named_parameters, recipe.weight_decay, decays)
    groups = [each for group in groups for each in _divided(group, {id(each) for each in loaded}, loaded_rate)]
    rate = recipe.learning_rate
    # timm's updates of many tensors in one call, a third to nine tenths of the time of a loop on a processor, where it
    # would loop by default; in the groups, for releases without them do not look there.
    together = [group | {"foreach": True} for group in groups]
    # torch's fused updates: measured two to four times as fast as its loops over tensors, on a CPU too.
    fused = groups[0]["params"][0].device.type in _FUSED
    if recipe.optimizer == "sgd":
        return _with_momentum(torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True, fused=fused))
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=fused)
    if recipe.optimizer == "rmsprop_tf":
        from timm.optim.rmsprop_tf import RMSpropTF  # timm takes seconds to import

        return RMSpropTF(together, lr=rate, alpha=0.9, eps=1e-3, momentum=MOMENTUM)
    if recipe.optimizer == "lamb":
        from timm.optim.lamb import Lamb

        # It would clip gradients by itself; that is up to the recipe.
        return Lamb(together, lr=rate, max_grad_norm=None)
    raise ValueError(f"optimizer {recipe.optimizer!r}: legal are {', '.join(MOMENTS)}")


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float, decays: DecayRule = is_decayed
) -> list[dict[str, Any]]:
    """Group parameters into decayed and not decayed ones.

    Args:
        named_parameters: as from ``module.named_parameters()``; those that need no gradient are left out.
        weight_decay: weight decay of the first group; the second has 0.
        decays: which parameters belong to the first group.

    Raises:
        ValueError: if there is no parameter to train.
    """
    trained = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    if not trained:
        raise ValueError("there is no parameter that needs a gradient, so nothing to optimize")
    decayed = [parameter for name, parameter in trained if decays(name, parameter)]
    others = [parameter for name, parameter in trained if not decays(name, parameter)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _divided(group: dict[str, Any], loaded: Container[int], loaded_rate: float) -> list[dict[str, Any]]:
    """Return the group of its loaded parameters and that of the others; the group itself if nothing is loaded."""
    parts = [[each for each in group["params"] if (id(each) in loaded) is part] for part in (True, False)]
    if not parts[0]:
        return [group]
    told: tuple[dict[str, Any], ...] = ({LOADED: True, FACTOR: loaded_rate}, {})
    return [group | {"params": part} | more for part, more in zip(parts, told, strict=True) if part]


def _with_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """Let momentum begin at zero, which changes no step; PyTorch would leave it undefined if the first is skipped."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


class GuardedStep:
    """Optimizer steps that leave the weights alone where gradients are not finite.

    Where the host may not wait to know, fused optimizers leave the step out by themselves. The weights of others are
    put back; their moments see gradients of zero.

    Args:
        optimizer: the optimizer.
        gradients: returns the gradients of its parameters.
        waits: whether the host may wait for the device, as for a processor.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, gradients: Callable[[], FlatGradients], *, waits: bool = True
    ) -> None:
        self.optimizer, self.gradients, self.waits = optimizer, gradients, waits

    def __call__(self, sound: Tensor) -> None:
        """Take a step.

        Args:
            sound: whether all gradients are finite; a scalar on the device.
        """
        if self.waits:
            if sound:
                self.optimizer.step()
        elif self.optimizer.defaults.get("fused"):
            self.optimizer.found_inf = (~sound).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        else:
            self._step_or_put_back(sound)

    @torch.no_grad()
    def _step_or_put_back(self, sound: Tensor) -> None:
        gradients = self.gradients()
        before = [parameter.clone() for parameter in gradients.parameters]
        gradients.rows.masked_fill_(~sound, 0.0)
        self.optimizer.step()
        for parameter, value in zip(gradients.parameters, before, strict=True):
            parameter.copy_(torch.where(sound, parameter, value))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group, of loaded parameters times their factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(FACTOR, 1.0)
