"""Dropout, stochastic depth and DropBlock, put into one plain network."""

from __future__ import annotations

from torch import nn

from nasvit.compute import ALONE, Compute
from nasvit.layers.drop import Drop, DropBlock
from nasvit.layers.transformer import ResidualBranch


def regularize(
    network: nn.Module,
    *,
    dropout: float = 0.0,
    drop_path_rate: float = 0.0,
    dropblock: float = 0.0,
    compute: Compute = ALONE,
) -> None:
    """Let ``network`` drop features before the classifier, skip whole residual branches, or drop squares of their maps.

    The probability of skipping grows linearly from 0 at the first branch to ``drop_path_rate`` at the last (Huang et
    al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382). Nothing is left of these in
    evaluation. Calling it again replaces what was set before; rates of 0 take it out.

    Plain blocks that can be skipped have a slot ``drop_path``, plain heads a slot ``dropout``.

    Args:
        network: a plain network, live or extracted.
        dropout: probability of dropping a feature.
        drop_path_rate: probability of skipping the last branch.
        dropblock: share of the map that every branch drops in squares, in our blocks of convolutions.
        compute: the processes, whose joined batch the masks are drawn for.
    """
    branches = [module for module in network.modules() if hasattr(module, "drop_path")]
    for number, branch in enumerate(branches):
        rate = drop_path_rate * number / max(len(branches) - 1, 1)
        drops: list[nn.Module] = []
        if dropblock and _has_maps(branch):
            drops.append(DropBlock(dropblock, compute=compute))
        if rate:
            drops.append(Drop(rate, whole=True, compute=compute))
        slot = nn.Sequential(*drops) if len(drops) > 1 else drops[0] if drops else _nothing(branch)
        setattr(branch, "drop_path", slot)  # noqa: B010 - any with the slot
    for module in network.modules():
        if hasattr(module, "dropout"):
            setattr(module, "dropout", Drop(dropout, compute=compute) if dropout else None)  # noqa: B010


def _nothing(branch: nn.Module) -> nn.Module | None:
    """What stands for no stochastic depth: None in our blocks; blocks of timm call what is there."""
    return nn.Identity() if _is_timms(branch) else None


def _has_maps(branch: nn.Module) -> bool:
    """Whether a branch returns maps with their channels first, not tokens; of timm's blocks nobody knows."""
    return not isinstance(branch, ResidualBranch) and not _is_timms(branch)


def _is_timms(branch: nn.Module) -> bool:
    return type(branch).__module__.startswith("timm.")
