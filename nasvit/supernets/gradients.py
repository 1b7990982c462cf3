"""All gradients of a supernet in one flat buffer."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

ROW = 64  # numbers a row; parameters start on a row of their own, so sums per parameter are sums of whole rows
_AT_ONCE = 4096  # rows whose products are there at once: they stay in the processor's cache, five times as fast


class FlatGradients:
    """One buffer that holds the gradients of many parameters as views.

    Every parameter starts on a new row of 64 numbers, so that norms, inner products and scalings per parameter are
    a few calls on a ``(rows, 64)`` matrix, and one all-reduce serves all.

    Args:
        parameters: the parameters, all of one dtype and device. Gradients that they have are kept.

    Raises:
        ValueError: if there are none, or their dtypes or devices differ.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        kinds = {(parameter.dtype, parameter.device) for parameter in self.parameters}
        if len(kinds) != 1:
            found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none at all"
            raise ValueError(f"flat gradients need parameters of one dtype and device, found {found}")
        dtype, device = kinds.pop()
        counts = [-(-parameter.numel() // ROW) for parameter in self.parameters]
        self.rows = torch.zeros(sum(counts), ROW, dtype=dtype, device=device)
        self.counts = torch.tensor(counts, device=device)
        self.owner = torch.repeat_interleave(self.counts, output_size=sum(counts))
        self.views: list[Tensor] = []
        start = 0
        for parameter, count in zip(self.parameters, counts, strict=True):
            flat = self.rows.view(-1)
            view = flat.as_strided(parameter.shape, parameter.stride(), start * ROW)
            if parameter.grad is not None:
                view.copy_(parameter.grad.detach())
            parameter.grad = view
            self.views.append(view)
            start += count

    @property
    def left(self) -> bool:
        """Whether the parameters were moved to another device or dtype, and took their gradients out of the buffer."""
        first, rows = self.views[0], self.rows
        moved = (first.device, first.dtype) != (rows.device, rows.dtype)
        return moved or first.untyped_storage().data_ptr() != rows.untyped_storage().data_ptr()  # there and back

    def intact(self) -> bool:
        """Return whether every parameter's gradient is still its slice of the buffer."""
        return not self.left and all(
            parameter.grad is view for parameter, view in zip(self.parameters, self.views, strict=True)
        )

    def are_of(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Return whether the buffer holds the gradients of exactly these parameters, in this order."""
        return len(parameters) == len(self.parameters) and all(map(operator.is_, parameters, self.parameters))

    def check(self) -> None:
        """Raise if a gradient is not its slice of the buffer.

        Raises:
            RuntimeError: as after ``optimizer.zero_grad()``, which sets gradients to None.
        """
        if not self.intact():
            raise RuntimeError(
                "a gradient of the supernet is not its slice of the gradient buffer any more, so nothing would be "
                "learned; use supernet.zero_grad() instead of optimizer.zero_grad() "
                "(or optimizer.zero_grad(set_to_none=False))"
            )

    def zero_(self) -> None:
        """Set all gradients to zero."""
        self.rows.zero_()

    def norm(self) -> Tensor:
        """Return the L2 norm of all gradients together."""
        return torch.linalg.vector_norm(self.rows)

    def clip_values_(self, largest: float) -> None:
        """Limit every number to at most ``largest`` in size; what is not finite becomes NaN, so that it still shows."""
        clipped = self.rows.clamp(-largest, largest)
        self.rows.mul_(0).add_(clipped)  # 0 times infinity is NaN; clamping alone would make an overflow look harmless

    def clip_(self, largest_norm: float) -> Tensor:
        """Scale all gradients so that their norm is at most ``largest_norm``; return the norm before."""
        norm = self.norm()
        self.rows.mul_((largest_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def inner(self, first: Tensor, second: Tensor, groups: Tensor | None = None, count: int | None = None) -> Tensor:
        """Return the inner product of two buffers over each parameter.

        Args:
            first: shape ``(rows, 64)``.
            second: shape ``(rows, 64)``.
            groups: the group of each parameter, to sum over groups of parameters instead; int64.
            count: number of groups.

        Returns:
            Shape ``(parameters,)`` or ``(count,)``.
        """
        size = len(self.parameters) if count is None else count
        blocks = zip(first.split(_AT_ONCE), second.split(_AT_ONCE), strict=True)
        rows = torch.cat([(one * other).sum(1) for one, other in blocks])
        if rows.device.type in ("cpu", "mps"):
            owner = self.owner if groups is None else groups[self.owner]
            return rows.new_zeros(size).index_add_(0, owner, rows)
        # Elsewhere adding by index is atomic, in another order every time.
        sums = torch.segment_reduce(rows, "sum", lengths=self.counts, unsafe=True)
        if groups is None:
            return sums
        belongs = groups[None] == torch.arange(size, device=groups.device)[:, None]
        return belongs.to(sums.dtype) @ sums


def group_by_layer(names: Sequence[str]) -> tuple[list[str], Tensor]:
    """Group parameter names by the layer that owns them.

    Args:
        names: full parameter names such as ``stem.conv.weight``.

    Returns:
        The layers' names in order, and for every parameter the number of its layer (int64).
    """
    layers: dict[str, int] = {}
    numbers = [layers.setdefault(name.rpartition(".")[0], len(layers)) for name in names]
    return list(layers), torch.tensor(numbers)
