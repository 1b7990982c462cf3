"""Copy the weights of a source into any network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from nasvit.importing.conversion import LayoutError, check_usable
from nasvit.importing.transfer.classifier import (
    classifier_tensors,
    is_scored_like,
    leftover_classifier,
    remark_on_classes,
    rows_of_classes,
)
from nasvit.importing.transfer.matching import BY_ORDER, COUNTER, Matching, Shape, match
from nasvit.importing.transfer.report import Report
from nasvit.importing.transfer.shapes import Reshaping
from nasvit.importing.transfer.source import Source

WAY_OUT = (
    "; name the network that they belong to, or give partial: true beside the source, which starts what does not fit "
    "from random weights"
)
_STATISTICS = ("running_mean", "running_var")


def load_weights(
    network: nn.Module, source: Source, classes: Sequence[str], *, title: str = "this network", partial: bool = False
) -> Report:
    """Copy weights into a network, and report everything that was done.

    A classifier of other classes keeps the network's own start, stems for 1 and 3 channels are made into each other,
    and tables of positions are resized. Anything else that does not fit is an error, unless it is asked for.

    Args:
        network: any network, whose tensors are overwritten in place.
        source: the weights.
        classes: names of the classes that the network scores.
        title: what messages call the network.
        partial: leave what does not fit as it is, in the network and in the source.

    Raises:
        ValueError: if they do not fit; it lists what is missing, unexpected or of another shape, and says the way out.
    """
    loading = _Loading(network, source, classes)
    if not loading.is_whole or loading.matching.how == BY_ORDER:
        loading = _as_timm_reads(network, source, classes) or loading
    if not partial:
        loading.require_whole(title)
    if not loading.fitting:
        raise ValueError(f"nothing of {source.title} fits {title}; name weights of the same network")
    loading.copy()
    return loading.report()


def _as_timm_reads(network: nn.Module, source: Source, classes: Sequence[str]) -> _Loading | None:
    """Return the loading of a source as timm converts foreign checkpoints of this network; None if nothing fits so."""
    module = type(network).__module__
    convert = getattr(sys.modules.get(module), "checkpoint_filter_fn", None) if module.startswith("timm.") else None
    if convert is None:
        return None
    try:
        tensors = convert(dict(source.tensors), network)
    except Exception:  # it expects files of a few origins, and fails in any way on others
        return None
    if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
        return None
    loading = _Loading(network, replace(source, tensors=tensors), classes, "names converted as timm does")
    return loading if loading.is_whole and loading.matching.how != BY_ORDER else None


@dataclass
class _Loading:
    """One loading: what belongs to what, decided before anything is copied.

    Args:
        network: the network.
        source: the weights.
        classes: names of the classes that the network scores.
        converted: what was done to the names of the source before, in words.
    """

    network: nn.Module
    source: Source
    classes: Sequence[str]
    converted: str = ""
    fitting: dict[str, Tensor] = field(default_factory=dict, init=False)
    reshaped: dict[str, str] = field(default_factory=dict, init=False)
    anew: dict[str, str] = field(default_factory=dict, init=False)
    misshapen: list[tuple[str, Shape, Shape]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.state = {name: tensor for name, tensor in self.network.state_dict().items() if _is_loaded(name, tensor)}
        self.tensors = {name: each for name, each in self.source.tensors.items() if _is_loaded(name, each)}
        self.reshape = Reshaping(self.network)
        self.classifier = classifier_tensors(self.network, len(self.classes))
        self.matching = self._match()
        self.rows = self._rows()
        for name, other in self.matching.pairs.items():
            self._fit(name, self.tensors[other])
        self._note_missing()

    def _match(self) -> Matching:
        ours, theirs = (_shapes(tensors) for tensors in (self.state, self.tensors))
        return match(ours, theirs, self.classifier, self._alike)

    def _alike(self, name: str, found: Shape) -> bool:
        wanted = tuple(self.state[name].shape)
        same = found == wanted or (name in self.classifier and len(found) > 0 and found[1:] == wanted[1:])
        return same or self.reshape.is_stem(name, found)

    def _rows(self) -> int:
        """Return the outputs of the source's classifier; 0 if it has none."""
        weight = next((self.matching.pairs[name] for name in self.classifier if name in self.matching.pairs), None)
        return 0 if weight is None else self.tensors[weight].shape[0]

    def _fit(self, name: str, tensor: Tensor) -> None:
        """Decide what becomes of one pair of tensors."""
        wanted = tuple(self.state[name].shape)
        if name in self.classifier or is_scored_like(tensor.shape, wanted, self.rows, len(self.classes)):
            tensor_of_classes = self._of_classes(name, tensor)
            if tensor_of_classes is None:
                return
            tensor = tensor_of_classes
        fitted = self.reshape(name, tensor)
        if fitted is None:
            self.misshapen.append((name, tuple(tensor.shape), wanted))
            return
        self.fitting[name], how = fitted
        if how:
            self.reshaped[name] = how

    def _of_classes(self, name: str, tensor: Tensor) -> Tensor | None:
        """Return the rows that score the network's classes; None if they are made anew."""
        rows, why = rows_of_classes(self.source, self.rows, self.classes)
        if rows is None:
            self.anew[name] = why
            return None
        if rows == list(range(len(tensor))):
            return tensor
        self.reshaped[name] = why
        return tensor[rows]

    def _note_missing(self) -> None:
        """Note which tensors of the network and of the source have no counterpart."""
        self.missing = [name for name in self.state if name not in self.matching.pairs and not name.endswith(COUNTER)]
        scored = {name: self.missing.pop(self.missing.index(name)) for name in self.classifier if name in self.missing}
        self.anew |= dict.fromkeys(scored, "the source has no such classifier")
        used = set(self.matching.pairs.values())
        left = [name for name in self.tensors if name not in used and not name.endswith(COUNTER)]
        self.statistics = tuple(name for name in left if self._is_needless_statistic(name))
        left = [name for name in left if name not in self.statistics]
        self.other_classifier = leftover_classifier(left, self.tensors) if scored else ()
        self.unexpected = [name for name in left if name not in self.other_classifier]

    def _is_needless_statistic(self, name: str) -> bool:
        """Return whether it is a batch norm's statistic, and the network takes those of that norm from its images."""
        owner, _, part = name.rpartition(".")
        norms = {other.rpartition(".")[0] for other in self.matching.pairs.values()}
        return part in _STATISTICS and owner in norms

    @property
    def is_whole(self) -> bool:
        """Whether everything fits."""
        return not (self.missing or self.unexpected or self.misshapen)

    def require_whole(self, title: str) -> None:
        """Refuse weights of which anything does not fit.

        Raises:
            ValueError: listing all of it.
        """
        if not self.is_whole:
            title = f"{title} ({self.source.title})"
            raise LayoutError(title, self.missing, self.unexpected, self.misshapen, WAY_OUT)

    @torch.no_grad()
    def copy(self) -> None:
        """Copy everything that fits.

        Raises:
            CheckpointError: if it cannot be computed with.
        """
        check_usable({name: (tensor, self.state[name]) for name, tensor in self.fitting.items()})
        for name, tensor in self.fitting.items():
            self.state[name].copy_(tensor)

    def report(self) -> Report:
        """Return what was done."""
        anew = self.anew | dict.fromkeys(self.missing, "the source has none")
        anew |= {name: "of another shape in the source" for name, *_ in self.misshapen}
        indices = tuple(name for name, each in self.source.tensors.items() if name not in self.tensors)
        left_out = {
            "statistics, which this network takes from images": self.statistics,
            "its classifier": self.other_classifier,
            "tables of indices, which the network makes itself": indices,
            "without a place in this network": tuple(self.unexpected),
        }
        return Report(
            self.source.title,
            tuple(name for name in self.fitting if not name.endswith(COUNTER)),
            sum(tensor.numel() for tensor in self.fitting.values()),
            ", ".join(filter(None, [self.converted, self.matching.how])),
            {name: how for name, how in self.reshaped.items() if name in self.fitting},
            {name: why for name, why in anew.items() if name in self.state},
            {reason: names for reason, names in left_out.items() if names},
            self.source.sha256,
            remark_on_classes(self.source, self.rows, self.classes),
        )


def _is_loaded(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is one of numbers, or counts batches; networks make the others, indices, themselves."""
    return torch.is_floating_point(tensor) or name.endswith(COUNTER)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
