"""The supernet before its training: with random weights, or with those of another supernet."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nasvit.any_network.model import PREFIX, ElasticModel
from nasvit.costs.dense import as_backbones
from nasvit.dense.shared import BACKBONES, DenseShared
from nasvit.experiment.origin import OfNetwork
from nasvit.experiment.starting import start_from
from nasvit.experiment.trained_for import TrainedFor
from nasvit.experiment.training import StartingWeights
from nasvit.experiment.workbench import CLASSES, RECORD, SUPERNET, Workbench
from nasvit.export.card import CARD
from nasvit.files.records import read_json, read_record
from nasvit.files.tensors import load_state, read_tensors
from nasvit.files.whole import sha256_of
from nasvit.importing import is_imported, load_imported
from nasvit.importing.transfer import Report, Source, load_supernet, load_weights, read_source
from nasvit.specs import head_from_json
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.supernets.supernet import Supernet
from search_spaces import ElasticSpace, Space, load
from search_spaces.values import FieldError

_CLASSIFIER = "head.classifier.weight"
_NO_CLASSES = ("",)
"""Classes of backbones, whose classifier is left out: one without a name."""


class SupernetStart(NamedTuple):
    """A supernet before its training, and the report of what was loaded; None: nothing was."""

    supernet: SharedNetwork
    report: Report | None = None

    def is_loaded(self, name: str) -> bool:
        """Return whether a parameter of the supernet was loaded, by its name there."""
        assert self.report is not None, "where nothing was loaded, nobody asks"
        if isinstance(self.supernet, DenseShared):
            return name.startswith(BACKBONES) and self.report.is_loaded(name.removeprefix(BACKBONES))
        return self.report.is_loaded(name.removeprefix(PREFIX) if isinstance(self.supernet, ElasticModel) else name)


def random_supernet(bench: Workbench) -> SupernetStart:
    """Return the supernet of an experiment with random weights."""
    return SupernetStart(bench.origin.supernet(bench.space, len(bench.classes), bench.experiment.seed))


def start_supernet(bench: Workbench) -> SupernetStart:
    """Return the supernet of an experiment as its training starts: with the weights that the experiment names, if any.

    Raises:
        ValueError: if there are no such weights, or they do not fit.
    """
    weights = bench.experiment.weights
    if weights is None:
        return random_supernet(bench)
    if isinstance(bench.origin, OfNetwork):
        return _elastic(bench, bench.origin, weights)
    start = random_supernet(bench)
    # Of a detector or segmenter the backbones start from the supernet of a classifier.
    dense = isinstance(start.supernet, DenseShared)
    supernet = start.supernet.backbones if isinstance(start.supernet, DenseShared) else start.supernet
    assert isinstance(supernet, Supernet)
    assert bench.experiment.space is not None
    try:
        other, source = _find(weights.source, load(bench.experiment.space))
        title = f"the supernet of {bench.space.name}"
        report = load_supernet(supernet, other, source, _NO_CLASSES if dense else bench.classes, title=title)
        return SupernetStart(start.supernet, report)
    except (ValueError, FileNotFoundError) as error:
        raise FieldError(["weights"], str(error)) from error


def _elastic(bench: Workbench, origin: OfNetwork, weights: StartingWeights) -> SupernetStart:
    """Return a network with weights, made elastic, its channels sorted by importance."""
    space, name = bench.space, bench.experiment.network or ""
    assert isinstance(space, ElasticSpace)
    started = start_from(weights, origin.base, bench.classes, seed=bench.experiment.seed, name=name)
    assert started.network is not None
    model = origin.elastic_model(space, started.network.train())
    model.sort()
    return SupernetStart(model, started.report)


def _find(name: str, space: Space) -> tuple[Supernet, Source]:
    """Return the supernet of a name, and where it is from.

    Args:
        name: the folder of an experiment, a file that ``nasvit import`` wrote, or one of a supernet's state dict.
        space: the space of the latter, which such a file does not say.
    """
    path = Path(name)
    if (path / SUPERNET).exists():
        return _of_experiment(path)
    if path.is_file() and path.suffix == ".safetensors" and is_imported(path):
        shared = load_imported(path)
        if isinstance(shared, Supernet):
            return shared, Source(name, {}, sha256=sha256_of(path))
    elif path.is_file():
        return _of_file(path, space)
    what = "one network alone" if (path / CARD).exists() or path.is_file() else "no supernet"
    raise ValueError(
        f"{name} holds {what}; a supernet starts from the folder of an experiment that trained one, from a file that "
        f"nasvit import wrote of a released one, or from a file such as {SUPERNET}"
    )


def _of_experiment(folder: Path) -> tuple[Supernet, Source]:
    """Return the supernet that an experiment trained."""
    told, record = read_record(folder / RECORD, "space"), TrainedFor.read(folder)
    space, classes = load(told["space"]), _classes_of(folder)
    state = read_tensors(folder / SUPERNET)
    if told.get("task", "classification") != "classification":  # of a detector or segmenter the backbones
        space, classes = as_backbones(space, head_from_json(told, str(folder / RECORD))), _NO_CLASSES
        state = {key.removeprefix(BACKBONES): each for key, each in state.items() if key.startswith(BACKBONES)}
    if _CLASSIFIER not in state:
        raise ValueError(f"{folder / SUPERNET} holds no supernet: {_CLASSIFIER} is missing")
    supernet = Supernet(space if record is None else space.cut(record.values), len(state[_CLASSIFIER]))
    load_state(supernet, state, folder / SUPERNET)
    return supernet, Source(str(folder), {}, classes, sha256_of(folder / SUPERNET))


def _classes_of(folder: Path) -> tuple[str, ...]:
    """Return the names of an experiment's classes, in old folders as the card of a network says; empty: unknown."""
    if (folder / CLASSES).exists():
        return tuple(read_json(folder / CLASSES))
    card = next(iter(sorted(folder.glob(f"subnets/*/*/{CARD}"))), None)
    return () if card is None else tuple(read_json(card)["classes"])


def _of_file(path: Path, space: Space) -> tuple[Supernet, Source]:
    """Return the supernet whose state dict a file holds."""
    source = read_source(path, [_CLASSIFIER])
    if _CLASSIFIER not in source.tensors:
        raise ValueError(
            f"{path} holds no supernet of nasvit: {_CLASSIFIER} is missing; a released checkpoint is converted first, "
            "by nasvit import"
        )
    classes = tuple(map(str, range(len(source.tensors[_CLASSIFIER]))))
    supernet = Supernet(space, len(classes))
    load_weights(supernet, source, classes, title=f"the supernet of {space.name}")
    return supernet, Source(source.title, {}, sha256=source.sha256)
