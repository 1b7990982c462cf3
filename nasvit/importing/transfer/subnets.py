"""Weights of a supernet for another one that holds some of its subnets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

from nasvit.elastic.shared_parameter import SharedParameter
from nasvit.importing.transfer.classifier import classifier_tensors, remark_on_classes, rows_of_classes
from nasvit.importing.transfer.report import Report
from nasvit.importing.transfer.shapes import Reshaping, stem_of
from nasvit.importing.transfer.source import Source
from nasvit.supernets.supernet import Supernet
from search_spaces import Architecture, Space

_PATIENCE = 40  # subnets without anything new after which there is nothing new in any
_COUNTED = "num_batches_tracked"


def load_supernet(
    supernet: Supernet, other: Supernet, source: Source, classes: Sequence[str], *, title: str = "this supernet"
) -> Report:
    """Copy weights of a supernet into one whose subnets it holds, as when budgets left choices out of its space.

    Every subnet gets the weights that it has in the other supernet, so that of larger tensors exactly those parts are
    taken that its elastic layers mean: first channels, centers of kernels, first blocks. A classifier of other classes
    keeps its own start. Batch-norm statistics belong to subnets, and are no part of a supernet that trains.

    Args:
        supernet: the supernet, whose tensors are overwritten in place.
        other: the supernet to take weights from.
        source: where they are from.
        classes: names of the classes that the supernet scores.
        title: what messages call the supernet.

    Raises:
        ValueError: if the other supernet does not hold all of its subnets.
    """
    require_held(supernet.space, other.space, source.title, title)
    copying, in_vain = _Copying(supernet, other, source, classes), 0
    for architecture in _needed(supernet.space):
        copying.copy(architecture)
    rng = np.random.default_rng(0)
    while in_vain < _PATIENCE:
        in_vain = 0 if copying.copy(supernet.space.sample(rng)) else in_vain + 1
    supernet.forget()  # views and gradients that were only made to copy
    return copying.report()


def require_held(space: Space, other: Space, source: str, title: str) -> None:
    """Refuse a space with subnets that another one does not hold.

    Raises:
        ValueError: naming the decision and the choices.
    """
    legal = {decision.name: decision.values for decision in other.decisions}
    for decision in space.decisions:
        beyond = [value for value in decision.values if value not in legal.get(decision.name, ())]
        if beyond:
            raise ValueError(
                f"{source} is a supernet of the space {other.name}, which has no {decision.label} of "
                f"{', '.join(map(str, beyond))}; {title} needs weights of a supernet that holds all of its subnets: "
                "leave these choices out of the space, or name another source"
            )


def _needed(space: Space) -> list[Architecture]:
    """Return the ends, and the largest subnet at every pair of values that a tensor may belong to.

    Transformer blocks may have scales of their own for each depth of a stage with a width or a resolution, and a block
    changes the channels of its shortcut where one stage is wider than the other. All else is in the largest subnet.
    """
    columns = {gene.name: number for number, gene in enumerate(space.genome.genes)}
    largest = space.encode([space.largest])
    rows = [largest]
    for pair in _pairs(space):
        chosen = [columns[name] for name in pair if name in columns]
        for values in product(*(range(space.genome.cards[column]) for column in chosen)):
            row = largest.copy()
            row[0, chosen] = values
            rows.append(row)
    return [space.smallest, *dict.fromkeys(space.decode(space.canonical(np.concatenate(rows))))]


def _pairs(space: Space) -> list[tuple[str, str]]:
    """Return the names of decisions of which two together may say which part of a tensor is meant."""
    stages = [stage.name for stage in space.stages]
    scales = [(f"depth.{stage}", other) for stage in stages for other in (f"width.{stage}", "resolution")]
    return [*scales, *((f"width.{one}", f"width.{next_}") for one, next_ in pairwise(["stem", *stages, "head"]))]


class _Copying:
    """Copies weights subnet by subnet, and keeps account of what was copied."""

    def __init__(self, supernet: Supernet, other: Supernet, source: Source, classes: Sequence[str]) -> None:
        self.supernet, self.other, self.source, self.classes = supernet, other, source, classes
        self.names = {id(parameter): name for name, parameter in supernet.named_parameters()}
        self.left = {id(each): torch.ones(each.shape, dtype=torch.bool) for each in supernet.parameters()}
        self.classifier = classifier_tensors(supernet, len(classes))
        self.rows, self.why = rows_of_classes(source, other.classes, classes)
        self.reshaped: dict[str, str] = {}
        self.reshape = Reshaping(supernet)
        if self.rows is None:
            for parameter in self.classifier.values():
                self.left.pop(id(parameter))

    @torch.no_grad()
    def copy(self, architecture: Architecture) -> bool:
        """Copy the weights of one subnet; return whether there was anything new among them."""
        theirs, is_new = dict(self.other.at(architecture).named_parameters()), False
        for name, view in self.supernet.at(architecture).named_parameters():
            assert isinstance(view, SharedParameter)
            left = self.left.get(id(view.source))
            if left is not None and bool(left[view.slices].any()):
                view.copy_(self._fitted(self.names[id(view.source)], view.shape, theirs.get(name)))
                left[view.slices] = False
                is_new = True
        return is_new

    def _fitted(self, name: str, wanted: torch.Size, tensor: Tensor | None) -> Tensor:
        """Return what a subnet's tensor takes from that of the same subnet in the other supernet."""
        if tensor is not None and name in self.classifier:
            assert self.rows is not None
            tensor = tensor[self.rows]
            if self.why:
                self.reshaped[name] = self.why
        elif tensor is not None and self.reshape.is_stem(name, tuple(tensor.shape), tuple(wanted)):
            tensor, self.reshaped[name] = stem_of(tensor, wanted[1])
        if tensor is None or tensor.shape != wanted:
            there = "missing there" if tensor is None else f"{tuple(tensor.shape)} there, {tuple(wanted)} here"
            raise ValueError(
                f"{self.source.title} is a supernet of another space than {self.supernet.space.name}: {name} is {there}"
            )
        return tensor

    def report(self) -> Report:
        """Return what was done."""
        anew = {} if self.rows is not None else dict.fromkeys(self.classifier, self.why)
        beyond = self._beyond()
        return Report(
            self.source.title,
            tuple(self.names[key] for key, mask in self.left.items() if not bool(mask.all())),
            sum(int((~mask).sum()) for mask in self.left.values()),
            self._how(),
            self.reshaped,
            anew,
            {"of blocks beyond this space, or statistics": beyond} if beyond else {},
            self.source.sha256,
            remark_on_classes(self.source, self.other.classes, self.classes),
        )

    def _how(self) -> str:
        """Return in words what was taken of larger tensors, and what of this supernet's no subnet computes with."""
        cut = self.supernet.space != self.other.space
        left = sum(int(mask.sum()) for mask in self.left.values())
        parts = ["of larger tensors the parts that the subnets of this space have"] if cut else []
        parts += [f"all but {left:,} that no subnet computes with"] if left else []
        return ", ".join(parts)

    def _beyond(self) -> tuple[str, ...]:
        ours = self.supernet.state_dict()
        return tuple(name for name in self.other.state_dict() if name not in ours and not name.endswith(_COUNTED))
