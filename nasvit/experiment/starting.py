"""Weights that a training of one network starts from, by their name in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from nasvit.branches import fuse
from nasvit.experiment.fitting import Start
from nasvit.experiment.training import StartingWeights
from nasvit.experiment.workbench import SUPERNET
from nasvit.export.card import CARD
from nasvit.export.saved import WEIGHTS, Described, load_saved, with_fused_structure
from nasvit.export.switchable import SwitchableModel
from nasvit.files.whole import sha256_of
from nasvit.importing import describe_imported, is_imported, load_imported, transfer
from nasvit.importing.transfer import Report, Source, read_source
from nasvit.layers.calibration import track_statistics
from nasvit.layers.reparameterized import has_branches
from nasvit.names import TIMM
from nasvit.registry import create, imported_path
from nasvit.specs import Spec, SubnetSpec
from nasvit.supernets.supernet import Supernet
from nasvit.supernets.widths import names_of
from search_spaces.values import FieldError

PRETRAINED = "pretrained"

_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")  # names that end so are files, not networks


class Found(NamedTuple):
    """Weights that were found under a name, and whether the branches of their network were fused."""

    source: Source
    fused: bool = False


def start_from(
    weights: StartingWeights, spec: Spec, classes: Sequence[str], *, seed: int = 0, name: str = "this network"
) -> Start:
    """Return the start of a training: a network with loaded weights, and the report of loading.

    Args:
        weights: the weights.
        spec: spec of the network.
        classes: the classes that it is to score.
        seed: seed of what is made anew.
        name: name of the network, which ``pretrained`` are the weights of.

    Raises:
        ValueError: if there are no such weights, or they do not fit.
    """
    network = spec.build(len(classes), seed=seed)
    track_statistics(network)
    try:
        found = find_weights(name if weights.source == PRETRAINED else weights.source, network, spec)
        network = with_fused_structure(network.eval()) if found.fused else network
        report = transfer.load_weights(network, found.source, classes, title=name, partial=weights.partial)
    except (ValueError, FileNotFoundError) as error:
        raise FieldError(["weights"], str(error)) from error
    return Start(spec, network, found.fused, report)


def load_weights(network: nn.Module, weights: StartingWeights | str, classes: Sequence[str], name: str = "") -> Report:
    """Copy weights into any network, of one's own code too, and report what was done.

    Args:
        network: the network, whose tensors are overwritten in place.
        weights: the weights; their source alone is enough.
        classes: names of the classes that the network scores.
        name: name of the network, such as ``timm:resnet18``, which ``pretrained`` are the weights of.

    Raises:
        ValueError: if there are no such weights, or they do not fit.
    """
    asked = StartingWeights(weights) if isinstance(weights, str) else weights
    found = find_weights(name if asked.source == PRETRAINED else asked.source, network)
    if found.fused:
        raise ValueError(f"{asked.source} holds a network whose branches were fused, which others do not fit")
    return transfer.load_weights(network, found.source, classes, title=name or "this network", partial=asked.partial)


def require_same_weights(report: Report, before: Mapping[str, Any], folder: Path) -> None:
    """Refuse weights that were replaced since this folder's results were made.

    Raises:
        ValueError: naming the source and the way out.
    """
    if report.to_json().get("sha256") != before.get("sha256"):
        raise FieldError(
            ["weights"],
            f"{report.source} is not what the results in {folder} started from: its content changed since; give "
            "another output folder, or the file of before",
        )


def find_weights(name: str, network: nn.Module, spec: Spec | None = None) -> Found:
    """Return the weights of a name, of a plain network.

    Args:
        name: see :class:`nasvit.experiment.training.StartingWeights`.
        network: the network that they are for.
        spec: its spec, if it has one: of a supernet that is named without a subnet, the one of that spec is taken.

    Raises:
        ValueError: if there are no such weights.
    """
    path, imported = Path(name), imported_path(name)
    if (path / CARD).exists():
        return _of_network(name, load_saved(path), path / WEIGHTS, network)
    if (path / SUPERNET).exists():
        raise ValueError(
            f"{name} is the folder of an experiment; a network starts from one of its networks, such as "
            f"{name}/subnets/NAME/finetuned"
        )
    if imported is not None and imported.is_file() and is_imported(imported):
        return _of_network(name, _imported(name, imported, spec), imported, network)
    if path.is_file():
        return Found(read_source(path, list(network.state_dict())))
    if path.suffix in _FILES:
        raise FileNotFoundError(f"there is no file {name}")
    if name.startswith(TIMM):
        return Found(_of_timm(name))
    described = create(name, pretrained=True)  # which says what is legal
    return _of_network(name, described, None, network)


def _imported(name: str, path: Path, spec: Spec | None) -> Described:
    """Return a network of an imported file; of a supernet without more words the subnet that is to be trained."""
    which = name.removeprefix(str(path)).removeprefix(":")
    shared = load_imported(path) if not which and isinstance(spec, SubnetSpec) else None
    if isinstance(shared, Supernet) and isinstance(spec, SubnetSpec):
        shared.space.check(spec.architecture)
        return Described(shared.extract(spec.architecture), describe_imported(path, "smallest").card)
    return describe_imported(path, which)


def _of_network(name: str, described: Described, file: Path | None, target: nn.Module) -> Found:
    """Return the weights of a network; its branches are fused if the network that they are for has none."""
    network, card = described
    if isinstance(network, SwitchableModel):
        widths = [f"{each:g}" for each in names_of(network.widths)]
        raise ValueError(f"{name} runs at several widths ({', '.join(widths)}); name one, as in {name}:{widths[-1]}")
    fuses = has_branches(network) and network.state_dict().keys() != target.state_dict().keys()
    state = (fuse(network.eval()) if fuses else network).state_dict()
    return Found(Source(name, state, card.classes, "" if file is None else sha256_of(file)), card.fused or fuses)


def _of_timm(name: str) -> Source:
    try:
        network, card = create(name, pretrained=True)
    except ValueError:
        raise
    except Exception as error:  # networks, hubs and files fail in any way there is
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(
            f"the weights of {name} cannot be fetched ({reason}); where there is no network, name a file with them"
        ) from error
    return Source(str(card.origin["weights"]), network.state_dict())
