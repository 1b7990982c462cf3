"""What cannot be made elastic, said before anything is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from nasvit.any_network.plan import Plan


def refuse_computed_weights(network: nn.Module) -> None:
    """Refuse a network with weights that are computed from other ones whenever it runs.

    Raises:
        ValueError: naming the module, what computes its weights, and how to make them plain.
    """
    for path, module in network.named_modules():
        if parametrize.is_parametrized(module):
            name, chain = next(iter(module.parametrizations.items()))  # type: ignore[operator,union-attr]
            computes, way_out = type(chain[0]).__name__, "torch.nn.utils.parametrize.remove_parametrizations"
            raise ValueError(_refusal(path, f"{name} by {computes}", f"{way_out}(module, {name!r})"))
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                library = type(hook).__module__
                raise ValueError(_refusal(path, f"weights by {type(hook).__name__}", f"see {library}"))


class LooksAtNumbers(ValueError):
    """The code of a network looks at the numbers of a tensor, so what it does may depend on the image."""


def refuse_without_groups(network: nn.Module, plan: Plan, what: str) -> None:
    """Refuse a network all of whose channels have to stay.

    Args:
        network: the network.
        plan: what can be decided in it.
        what: what cannot be done then, such as ``be narrower``.

    Raises:
        ValueError: naming the first modules that have to stay, and why.
    """
    if not plan.groups:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in plan.fixed[:5]) or "it has no weights"
        raise ValueError(f"nothing in {type(network).__name__} can {what}: {reasons}")


def _refusal(path: str, what: str, way_out: str) -> str:
    where = path or "the network itself"
    return f"{where} computes its {what}, so its weights cannot be shared; make them plain first: {way_out}"
