"""The start of a training of a detector or segmenter: a backbone by its name, and a head on its maps."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from nasvit.experiment.fitting import Start, name_in_network
from nasvit.experiment.images import Images
from nasvit.experiment.starting import start_from
from nasvit.experiment.training import FitConfig
from nasvit.export.saved import Described
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.kinds import AnyHead
from nasvit.importing.transfer import Report
from nasvit.registry import create, has_weights
from nasvit.specs import DenseSpec, Spec, SubnetSpec, WidthsSpec
from search_spaces.values import FieldError

ANY = 1
"""Classes of a backbone without weights: its classifier is left out."""


def dense_start(config: FitConfig, images: Images) -> Start:
    """Return the network of a configuration with a head, and the weights that the configuration or the name brings.

    A saved network of the same task is taken with its head, if that has these classes; of every other the classifier
    is left out.

    Raises:
        FieldError: if a name is wrong, weights do not fit, or the network has no maps for the head.
    """
    head, brings = config.whole_head, has_weights(config.network)
    assert head is not None
    try:
        named = create(config.network, None if brings else ANY, seed=config.seed, image_channels=images.shape[0])
    except (ValueError, FileNotFoundError) as error:
        raise FieldError(["network"], str(error)) from error
    check_takes(config.network, named.card.spec, images)
    if isinstance(named.card.spec, WidthsSpec):
        raise FieldError(
            ["network"], f"{config.network} runs at several widths; name one of them, {config.network}:WIDTH"
        )
    if isinstance(named.card.spec, DenseSpec):
        return _of_same_kind(config, named, head, images)
    base = _as_backbone(named.card.spec)
    if config.weights is not None:
        start = start_from(config.weights, base, images.classes, seed=config.seed, name=config.network)
    else:
        start = Start(base, named.network if brings else None, named.card.fused)
    return _with_head(start, head, images, config)


def _of_same_kind(config: FitConfig, named: Described, head: AnyHead, images: Images) -> Start:
    """Return the start of a network that has a head already, or at least of its backbone."""
    spec, network = named.card.spec, named.network
    assert isinstance(spec, DenseSpec)
    assert isinstance(network, DenseNetwork)
    if config.weights is not None:
        raise FieldError(["weights"], f"{config.network} brings its own; leave them out")
    own = replace(spec, head=head, size=images.shape[1:])
    if spec.head == head and named.card.classes == images.classes:
        return Start(own, network, named.card.fused)
    if spec.head.strides != head.strides:
        has = list(spec.head.strides)
        problem = f"needs maps of strides {list(head.strides)}; the saved network has those of {has}"
        raise FieldError(["head"], problem)
    channels = network.backbone.feature_info.channels()  # type: ignore[operator, union-attr]
    made = head.build(channels, len(images.classes), seed=config.seed)
    return Start(own, DenseNetwork(network.backbone, made), named.card.fused, new_head=True)


def _with_head(start: Start, head: AnyHead, images: Images, config: FitConfig) -> Start:
    spec = DenseSpec(start.spec, head, images.shape[1:])
    try:
        if start.network is None:
            spec.build(len(images.classes))  # which says what is wrong before anything is written
            return Start(spec, None, start.fused)
        network = spec.around(start.network, len(images.classes), seed=config.seed)
    except ValueError as error:
        raise FieldError(["network"], f"{config.network}: {error}") from error
    report = None if start.report is None else _of_backbone(start.report, network)
    return Start(spec, network, start.fused, report, new_head=True)


def _of_backbone(report: Report, network: nn.Module) -> Report:
    """Return what is to be said of loading once the classifier was left out and a head put in its place."""
    kept = {name_in_network(name) for name in network.state_dict() if name.startswith("backbone")}
    anew = {name: reason for name, reason in report.anew.items() if name in kept}
    left_out = dict(report.left_out) | {"no layer of the backbone": tuple(set(report.loaded) - kept)}
    loaded = tuple(name for name in report.loaded if name in kept)
    return replace(report, loaded=loaded, anew=anew | {"head": "the task's"}, left_out=left_out)


def _as_backbone(spec: Spec) -> Spec:
    """Return the spec of a network that takes images as they are."""
    return replace(spec, resize=False) if isinstance(spec, SubnetSpec) else spec


def check_takes(name: str, spec: Spec, images: Images) -> None:
    """Refuse images of other channels than a network takes.

    Raises:
        FieldError: naming both.
    """
    if spec.channels != images.shape[0]:
        problem = f"{name} takes images of {spec.channels} channels, these have {images.shape[0]}"
        raise FieldError(["network"], problem)
