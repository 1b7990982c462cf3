"""``nasvit fit``: train one network from a YAML file, with help that costs nothing once the network is deployed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.compute import ALONE, Compute
from nasvit.costs.counting import count
from nasvit.data.config import TENTH
from nasvit.data.identity import ChangedImagesError
from nasvit.experiment.dense_start import check_takes, dense_start
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.fitting_widths import WidthsFitting
from nasvit.experiment.image_size import size_remarks, spec_for_images, square_side
from nasvit.experiment.images import Images
from nasvit.experiment.memory import require_memory
from nasvit.experiment.shared_folder import require_shared
from nasvit.experiment.starting import require_same_weights, start_from
from nasvit.experiment.training import FitConfig, StartingWeights
from nasvit.experiment.widths_start import DenseWidths, FamilyWidths, NetworkWidths, WidthsStart
from nasvit.experiment.workbench import STARTED_FROM
from nasvit.experiment.yaml_file import decisive
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.files.held import held
from nasvit.files.records import read_json, read_record, versions, write_record
from nasvit.models.plan import ChannelPlan
from nasvit.registry import create, has_weights
from nasvit.specs import PlannedSpec, Spec, SubnetSpec, WidthsSpec
from nasvit.tasks.task import Score, title_of
from search_spaces import ElasticArchitecture
from search_spaces.values import FieldError

CONFIG, RESULTS = "config.json", "results.json"
DEPLOYED = "deployed"


def main(
    path: Path, output: Path | None = None, overrides: Sequence[tuple[str, str]] = (), compute: Compute = ALONE
) -> None:
    """Train the network of a YAML file and print its scores.

    Args:
        path: the file; see :class:`nasvit.experiment.training.FitConfig`.
        output: folder of the results; left out: the file's ``output``, else ``runs/`` and the name of the file.
        overrides: fields that replace those of the file; see :func:`search_spaces.reading.load_yaml`.
        compute: the device, and the processes that share the work.
    """
    config = FitConfig.load(path, tuple(overrides))
    compute.announce()
    folder = output or config.output or Path("runs") / path.stem
    results = fit(config, folder, compute)
    compute.once(lambda: print(_summary(config, results) + f"\ndeployed network: {folder / DEPLOYED}"))


def fit(config: FitConfig, folder: Path, compute: Compute = ALONE) -> dict[str, Any]:
    """Train, evaluate, remove branches or wider networks, and save the deployed network.

    Killed at any moment and called again, it goes on to the same result; a finished one is only read.

    Args:
        config: configuration of the training.
        folder: gets ``training/`` (checkpoints, log), ``deployed/`` (the network) and ``results.json``.
        compute: the device, and the processes that share the work.

    Returns:
        The content of ``results.json``: scores on the test images, costs, configuration, versions.

    Raises:
        ValueError: if the folder holds the training of another configuration or of other images, another process writes
            there, or the configuration is illegal.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    require_shared(folder, compute)
    with held(folder, compute):
        return _fit(config, folder, compute)


def _fit(config: FitConfig, folder: Path, compute: Compute) -> dict[str, Any]:
    asked = config.to_json()
    finished = compute.from_first(lambda: _finished(folder, asked))
    images = images_of(config, compute, folder)
    if finished is not None:
        compute.once(lambda: _require_same(images, folder))
        return finished
    images.open()
    run = _run_widths if config.widths else _run
    results = {**run(config, images, folder), "seed": config.seed, "config": asked, "versions": versions()}
    results["device"] = str(compute)
    if weights := images.class_weights(compute):
        results["class_weights"] = dict(zip(images.classes, weights, strict=True))
    compute.once(images.require_unchanged)
    compute.once(lambda: write_record(folder / RESULTS, results))
    return results


def _finished(folder: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return the results of an earlier run, if it finished.

    Raises:
        ValueError: if the folder holds the training of another configuration.
    """
    record = folder / CONFIG
    if record.exists() and decisive(read_record(record, "data")) != decisive(asked):
        raise ValueError(f"{folder} holds the training of another configuration; give another folder or remove it")
    return read_json(folder / RESULTS) if (folder / RESULTS).exists() else None  # type: ignore[no-any-return]


def _require_same(images: Images, folder: Path) -> None:
    """Refuse to show results of other images than there are now; images that are there no more are none.

    Raises:
        ValueError: naming what changed.
    """
    try:
        images.require_same()
    except ChangedImagesError:
        raise
    except (ValueError, OSError) as error:
        warnings.warn(f"the results in {folder} are shown, though their images cannot be opened: {error}", stacklevel=2)


def images_of(config: FitConfig, compute: Compute = ALONE, folder: Path | None = None) -> Images:
    """Return the images of a configuration; every seed sees the same ones."""
    return Images(
        config.data,
        seed=config.seed,
        most=config.images,
        compute=compute,
        head=config.whole_head,
        class_weights=config.class_weights,
        held_out=TENTH,  # nothing is chosen on these images, so that a tenth will do
        folder=folder,
        begun=folder is not None and compute.from_first(lambda: (folder / CONFIG).exists()),
    )


def fitting_of(config: FitConfig, images: Images) -> Fitting:
    """Return the training of a configuration, with the starting weights that it names.

    Raises:
        ValueError: if a name is wrong, or weights do not fit.
    """
    start = _start(config, images) if config.task == "classification" else dense_start(config, images)
    if isinstance(start.spec, WidthsSpec):
        raise FieldError(
            ["network"],
            f"{config.network} runs at several widths and only evaluates; name one of them, {config.network}:WIDTH, "
            "or train a network with widths anew",
        )
    return Fitting(start, config.training, images, seed=config.seed, name=config.network)


def _start(config: FitConfig, images: Images) -> Start:
    """Return the network of a configuration's name, with the weights that the configuration or the name brings."""
    channels, brings = images.shape[0], has_weights(config.network)
    classes = None if brings else len(images.classes)
    try:
        named = create(config.network, classes, seed=config.seed, image_channels=channels)
    except (ValueError, FileNotFoundError) as error:
        raise FieldError(["network"], str(error)) from error
    spec = named.card.spec
    check_takes(config.network, spec, images)
    if isinstance(spec, WidthsSpec):
        return Start(spec, named.network if brings else None, named.card.fused)
    try:
        sized = spec_for_images(spec, named.network, images.shape, len(images.classes))
    except ValueError as error:
        raise FieldError(["network"], f"{config.network}: {error}") from error
    weights = config.weights
    if weights is None and brings and (len(named.card.classes) != len(images.classes) or sized != spec):
        weights = StartingWeights(config.network)
    if weights is not None:
        return start_from(weights, sized, images.classes, seed=config.seed, name=config.network)
    return Start(sized, named.network if brings else None, named.card.fused)


def _run(config: FitConfig, images: Images, folder: Path) -> dict[str, Any]:
    """Train into ``folder``, save the deployed network there, and return the results."""
    fitting = fitting_of(config, images)
    trainer = fitting.trainer(folder / "training")  # a mistake shows here, before the folder belongs to it
    require_memory(trainer)
    images.compute.once(lambda: _claim(folder, config, fitting.start, images))
    images.compute.once(lambda: _remark_on_size(config, fitting.start.spec, images))
    trained = trainer.run()
    deployed = fitting.deployed(trained)
    card = fitting.card(trained, _origin(config) | _started_from(fitting.start))
    _save(deployed, folder, card, config, images)
    cost = count(deployed, *images.shape_for(card.spec))
    results: dict[str, Any] = {
        "metric": images.task.metric.name,
        "deployed": _numbers(fitting.test(deployed)),
        "macs": cost.macs,
        "params": cost.params,
        "training_params": sum(parameter.numel() for parameter in trained.parameters()),
        "training_seconds": round(trainer.seconds, 1),
        "training_images": len(images.train),
        "test_images": len(images.test),
    }
    results |= _started_from(fitting.start)
    if config.branches is not None:
        results["before_fusing"] = _numbers(fitting.test(trained))
    return results


def _claim(folder: Path, config: FitConfig, start: Start | None, images: Images) -> None:
    """Let the folder belong to a configuration, and say once what its training starts from.

    Raises:
        ValueError: if the weights are not those that the training in the folder started from.
    """
    record, begun = folder / STARTED_FROM, (folder / CONFIG).exists()
    if start is not None and start.report is not None:
        if begun and record.exists():
            require_same_weights(start.report, read_json(record), folder)
        if not begun:
            print(start.report, flush=True)
        write_record(record, start.report.to_json())
    images.claim()
    write_record(folder / CONFIG, config.to_json())


def _remark_on_size(config: FitConfig, spec: Spec, images: Images) -> None:
    side = spec.resizes_to
    for remark in [] if side is None else size_remarks(images, (side,), config.network):
        warnings.warn(remark, UserWarning, stacklevel=2)


def _save(network: nn.Module, folder: Path, card: Card, config: FitConfig, images: Images) -> None:
    target, shape = folder / DEPLOYED, images.shape_for(card.spec)
    images.compute.once(lambda: save_network(network, target, card, program=config.program, shape=shape))


def _run_widths(config: FitConfig, images: Images, folder: Path) -> dict[str, Any]:
    """Train all widths into ``folder``, save them as one object there, and return the results of each."""
    fitting = widths_fitting_of(config, images)
    trainer = fitting.trainer(folder / "training")
    require_memory(trainer)
    start = fitting.start.origin
    images.compute.once(lambda: _claim(folder, config, start, images))
    trainer.run()
    seconds = trainer.seconds
    if config.slimmable.autoslim:
        fitting = fitting.slimmed(trainer)
        trainer = fitting.trainer(folder / "slimmed-training")
        trainer.run()
        seconds += trainer.seconds
    model = fitting.deployed(trainer)
    card = fitting.card(model, _origin(config) | _started_from(start))
    _save(model, folder, card, config, images)
    scores = fitting.scores(model)
    rows = []
    for width, score in zip(model.widths, scores.values(), strict=True):
        cost = count(model.export(width), *images.shape)
        rows.append({"width": _as_json(width), "score": score, "macs": cost.macs, "params": cost.params})
    return {
        "metric": images.task.metric.name,
        "widths": rows,
        "training_params": sum(parameter.numel() for parameter in fitting.network.parameters()),
        "training_seconds": round(seconds, 1),
        "training_images": len(images.train),
        "test_images": len(images.test),
    } | _started_from(start)


def _as_json(width: Any) -> Any:
    """Return a width as a JSON value: a number, the channels of a family's plan, or the sizes of a network's parts."""
    if isinstance(width, ChannelPlan):
        return list(width.channels)
    return json.loads(width.to_json()) if isinstance(width, ElasticArchitecture) else width


def widths_fitting_of(config: FitConfig, images: Images) -> WidthsFitting:
    """Return the training of several widths of a configuration.

    Raises:
        ValueError: if the network has no widths, or is a family at another width than 1, or one with weights.
    """
    return WidthsFitting(
        _widths_start(config, images), config.slimmable, config.training, images, seed=config.seed, name=config.network
    )


def _widths_start(config: FitConfig, images: Images) -> WidthsStart:
    named, head = _start(config, images), config.whole_head
    if not isinstance(named.spec, PlannedSpec):
        return _widths(config, named, images)
    family = _family_widths(config, named)
    return family if head is None else DenseWidths(family, head, images.shape[1:])


def _family_widths(config: FitConfig, named: Start) -> FamilyWidths:
    assert isinstance(named.spec, PlannedSpec)
    if named.network is not None:
        raise FieldError(
            ["network"], f"{config.network} has weights, and several widths start from random ones; name a family"
        )
    family = named.spec.family
    if named.spec.plan != family.plan():
        raise FieldError(
            ["network"], f"{config.network} is a family at another width than 1; leave its width to widths"
        )
    return FamilyWidths(family, config.widths, named.spec.channels)


def _widths(config: FitConfig, named: Start, images: Images) -> NetworkWidths:
    if isinstance(named.spec, (SubnetSpec, WidthsSpec)):
        legal = "families, tiny networks, timm:MODEL, torchvision:MODEL and package.module:function"
        raise FieldError(["network"], f"{config.network} has no widths; legal with widths are {legal}")
    if named.fused:
        raise FieldError(["network"], f"{config.network} was fused and has no batch norms, which widths differ in")
    if max(config.widths) > 1 or min(config.widths) <= 0:
        raise FieldError(["widths"], f"{list(config.widths)}; legal of {config.network}: shares above 0 and up to 1")
    if config.slimmable.norm == "shared":
        raise FieldError(["slimmable", "norm"], "shared is a baseline of families; legal here: switchable, universal")
    return NetworkWidths(named, config.widths, square_side(images.shape))


def _origin(config: FitConfig) -> dict[str, Any]:
    return {"weights": "trained", "network": config.network, "config": config.to_json(), "note": config.note}


def _started_from(start: Start | None) -> dict[str, Any]:
    """Return what a training started from, for its results and its card; nothing if it was random weights."""
    return {} if start is None or start.report is None else {"started_from": start.report.to_json()}


def _numbers(score: Score) -> dict[str, float]:
    return {name: value if name == "loss" else round(value, 6) for name, value in score.numbers().items()}


def _summary(config: FitConfig, results: dict[str, Any]) -> str:
    metric = title_of(results.get("metric", "accuracy"))  # earlier folders do not say it
    if config.widths:
        return "\n".join(
            f"width {_short(row['width'])}: {row['macs']:,} MACs, {row['params']:,} parameters, test {metric} "
            f"{row['score']:.2%}"
            for row in results["widths"]
        )
    scores = {title_of(name): value for name, value in results["deployed"].items() if name != "loss"}
    told = ", ".join(f"{name} {value:.2%}" for name, value in scores.items())
    return f"{config.network}: {results['macs']:,} MACs, {results['params']:,} parameters\ntest {told}"


def _short(width: Any) -> str:
    return f"{width:g}" if isinstance(width, (int, float)) else "found by AutoSlim"
