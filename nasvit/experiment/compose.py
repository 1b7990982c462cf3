"""An experiment from nothing but images, budgets and hours: what else is to be decided follows from the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

import search_spaces
from nasvit.costs.ends import costs_of_ends, counted, usual_classes
from nasvit.data import ImageSet, load_images
from nasvit.data.bad import OnBadImage
from nasvit.data.class_names import Classes
from nasvit.data.config import DataConfig
from nasvit.data.images import EncodedImages
from nasvit.experiment.config import SUPERNET_RECIPE, Evaluate, Experiment, SearchConfig, TrainConfig
from nasvit.experiment.training import StartingWeights, Training
from nasvit.experiment.yaml_file import decisive
from nasvit.files.whole import write_text
from nasvit.options import Overrides
from nasvit.search.storage import hide_password
from predictors.limits import Budget, Limit, pretty
from search_spaces import Recipe, Space
from search_spaces.merging import read_merged
from search_spaces.recipe import DEFAULTS

SPACES = ("micro8", "micro32", "micro128", "alphanet")
"""The spaces that are chosen from if none is named, by rising image size."""

FROM_SCRATCH = 2e-3
"""Learning rate of trainings from random weights, the one that the priors' measurements were made with."""

RECIPE = Recipe(
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=0.05,
    epochs=30,
    batch_size=64,
    warmup_epochs=1,
    label_smoothing=0.1,
    clip_norm=1.0,
)
"""Training of what was chosen, from the supernet's weights."""

FROM_WEIGHTS = 1e-3
"""Learning rate of fine-tuning from the weights of a network that was trained on other images."""

_BATCH_SIZES = ((2_000, 32), (50_000, 64), (float("inf"), 128))
"""Below so many images, so many in a batch: a few hundred images in batches of 128 are a handful of steps an epoch."""

_HEAD = "# Written by `nasvit run` for these images and budgets ({}); change it and run it like any other.\n"
_PLANNED = "# The hours decide the epochs; trainings from random weights have the learning rate of train.recipe.\n"
_SMALL = 64  # images of one size up to this are padded and cut, larger ones cropped and resized
_PROBED = 64  # images whose sizes are looked at
_STEP, _USUAL = 32, 224  # images for a network of others: multiples of 32 pixels, up to what such networks are made for
_UPSAMPLED = 0.75  # a space whose smallest resolution is more than the images' size over this would blow them up


@dataclass(frozen=True)
class Seen:
    """What the images look like.

    Args:
        images: number of training images, held-out ones included.
        channels: 1 or 3.
        side: median short side in pixels.
        equal: whether all images that were looked at have one size.
    """

    images: int
    channels: int
    side: int
    equal: bool


def look_at(
    source: str, *, download: bool = False, on_bad_image: OnBadImage = "stop", classes: Classes = "equal"
) -> Seen:
    """Return what the training images of a source look like; opens a few of them.

    Args:
        source: as in the ``data`` section of an experiment.
        download: let torchvision download missing data sets.
        on_bad_image: what to do with images that cannot be decoded.
        classes: whether all splits must have the same classes.

    Raises:
        ValueError: if there are no such images.
    """
    images = load_images(source, "train", download=download, on_bad_image=on_bad_image, classes=classes)
    sizes = _sizes(images)
    return Seen(len(images), images.channels, int(np.median([min(size) for size in sizes])), len(set(sizes)) == 1)


def _sizes(images: ImageSet) -> list[tuple[int, int]]:
    if not isinstance(images.images, EncodedImages):
        height, width = images.images.shape[2:]
        return [(height, width)]
    looked_at = np.linspace(0, len(images) - 1, min(_PROBED, len(images))).astype(int)
    return [images.images.size(int(index)) for index in looked_at]


def compose(
    source: str,
    budgets: Sequence[str],
    hours: float | None,
    space: str | None = None,
    network: str | None = None,
    weights: str | None = None,
    **reading: Any,
) -> Experiment:
    """Return an experiment for some images: the space, the image size, the batch size follow from what they look like.

    Args:
        source: as in the ``data`` section of an experiment.
        budgets: limits such as ``macs<=20M``, one network for each; shares such as ``macs<=50%`` of a network.
        hours: time there is; None: the default epochs.
        space: a space; None: the one of the catalog that fits the images and in which every budget can be met.
        network: a network to be made smaller, instead of a space.
        weights: weights that it starts from.
        reading: options of :func:`look_at`.

    Raises:
        ValueError: if there are no such images, a budget cannot be read, or no space has subnets that meet it.
    """
    if not budgets:
        raise ValueError(f"how large may the network be? Give a budget: nasvit run {source} --budget 'macs<=20M'")
    seen, limits = look_at(source, **reading), tuple(map(Budget, budgets))
    batch_size = next(size for images, size in _BATCH_SIZES if seen.images < images)
    recipe = replace(RECIPE, batch_size=batch_size)
    if network is not None:
        return _of_network(source, seen, limits, hours, network, weights, recipe)
    chosen = _find_space(seen, limits) if space is None else search_spaces.load(space)
    return Experiment(
        space=space or chosen.name,
        weights=None if weights is None else StartingWeights(weights),
        data=_data(source, seen, chosen, limits),
        search=SearchConfig(budgets=limits),
        finetune=Training(recipe=recipe),
        train=TrainConfig(recipe=replace(SUPERNET_RECIPE, learning_rate=FROM_SCRATCH, batch_size=batch_size)),
        hours=hours,
    )


def _of_network(
    source: str,
    seen: Seen,
    budgets: tuple[Budget, ...],
    hours: float | None,
    network: str,
    weights: str | None,
    recipe: Recipe,
) -> Experiment:
    """Return an experiment that makes a network smaller: without a supernet, as short trainings of one do not pay."""
    rate = FROM_SCRATCH if weights is None else FROM_WEIGHTS
    unplanned: Evaluate = "largest" if weights is None else "features"
    scratch = replace(SUPERNET_RECIPE, learning_rate=FROM_SCRATCH, batch_size=recipe.batch_size)
    return Experiment(
        network=network,
        weights=None if weights is None else StartingWeights(weights),
        data=DataConfig(source, image_size=max(_STEP, min(seen.side, _USUAL) // _STEP * _STEP), crop="resized"),
        search=SearchConfig(budgets=budgets, evaluate=unplanned if hours is None else "auto"),
        finetune=Training(recipe=replace(recipe, learning_rate=rate)),
        train=TrainConfig(recipe=scratch),
        hours=hours,
    )


def _data(source: str, seen: Seen, space: Space, budgets: Sequence[Budget]) -> DataConfig:
    side = _highest_resolution(space, budgets)
    small = seen.equal and seen.side <= _SMALL
    return DataConfig(source, image_size=side, crop="pad" if small else "resized", padding=max(1, side // 8))


def _highest_resolution(space: Space, budgets: Sequence[Budget]) -> int:
    """Return the highest resolution at which a subnet keeps a budget; larger images would only be made smaller."""
    sides, classes = sorted(space.resolution), usual_classes(space.name)
    for side in reversed(sides[1:]):
        costs: dict[str, float] = dict(counted(space, replace(space.smallest, resolution=side), classes))
        if any(all(costs.get(each.metric, 0) <= each.high for each in budget.limits) for budget in budgets):
            return side
    return sides[0]


def _find_space(seen: Seen, budgets: Sequence[Budget]) -> Space:
    """Return the space of the largest images, no larger than these, in which every budget can be met."""
    limits, problems = [limit for budget in budgets for limit in budget.limits], []
    if any(budget.is_share for budget in budgets):
        raise ValueError("a share such as 50% is of a network: name that one with --network, or a space with --space")
    if any(limit.metric == "latency" for limit in limits):
        raise ValueError("latency is known of spaces that were measured on a device: name that one with --space")
    for name in reversed(SPACES):
        space = search_spaces.load(name)
        if space.image_channels != seen.channels:
            continue
        if _UPSAMPLED * min(space.resolution) > seen.side:
            problems.append(f"{name} is for images of {min(space.resolution)} pixels and more")
            continue
        least, most = costs_of_ends(space, usual_classes(name))
        broken = [limit for limit in limits if limit.high < least[limit.metric] or limit.low > most[limit.metric]]
        if not broken:
            return space
        ends = " to ".join(pretty(end[broken[0].metric], broken[0].metric) for end in (least, most))
        problems.append(f"no subnet of {name} meets {broken[0]}, they have {ends}")
    kind = f"images of {seen.channels} channels and {seen.side} pixels"
    raise ValueError(
        f"no space is for {kind} and these budgets: {'; '.join(problems) or 'none has so many channels'}; give "
        "another budget, or name a space with --space"
    )


_USUAL_MACS = 20_000_000


def usual_budget(seen: Seen, space: str | None = None) -> str:
    """Return a budget for who names none: 20 million multiply-adds, or the middle of a space without such networks.

    Args:
        seen: what the images look like.
        space: a space; None: the one of the catalog that fits the images.

    Raises:
        ValueError: if no space is for such images.
    """
    chosen = _find_space(seen, [Budget(f"macs<={_USUAL_MACS}")]) if space is None else search_spaces.load(space)
    least, most = (costs["macs"] for costs in costs_of_ends(chosen, usual_classes(chosen.name)))
    macs = _USUAL_MACS if least < _USUAL_MACS < most else float(f"{(least * most) ** 0.5:.2g}")
    return str(Budget(str(Limit("macs", high=macs))))


def composed_file(asked: str, budgets: Sequence[str], overrides: Overrides = (), output: Path | None = None) -> Path:
    """Return the file of an experiment: the one that is named, or one written for the images that are named.

    What is written can be read, changed and run like any other, with the fields that go before it in it. Of these,
    ``space``, ``network``, ``weights`` and ``hours`` decide the others.

    Args:
        asked: a YAML file, or images.
        budgets: what each network may cost; for images alone.
        overrides: fields that go before those of the file.
        output: folder of the results, which gets the file; ``runs/`` and the name of the images if left out.

    Raises:
        ValueError: if budgets are given beside a file, a file that nasvit did not write would be replaced, or as
            :func:`compose`.
    """
    if asked.endswith((".yaml", ".yml")):
        if budgets:
            raise ValueError(f"--budget: {asked} says its own; give --search.budgets.0 {budgets[0]!r} instead")
        return Path(asked)
    given = dict(overrides)
    folder = output or Path("runs") / (Path(asked.partition(":")[2] or asked).name or "images")
    path = folder.with_name(f"{folder.name}.yaml")
    asked_of_data = ("download", "on_bad_image", "classes")
    reading = {name: given[f"data.{name}"] for name in asked_of_data if f"data.{name}" in given}
    if "download" in reading:
        reading["download"] = reading["download"].lower() == "true"  # type: ignore[assignment]
    named = {name: given[name] for name in ("space", "network", "weights") if name in given}
    if "weights.source" in given:
        named["weights"] = given["weights.source"]
    experiment = compose(asked, budgets, _hours(given.get("hours")), **named, **reading)
    said = said_of(experiment)
    if "weights.source" in given:
        said["weights"] = {"source": given["weights.source"]}  # a mapping, which other fields of it can be laid over
    body, experiment = _with(yaml.safe_dump(said, sort_keys=False), overrides)
    body = body if experiment.hours is None else _PLANNED + body
    _write(path, folder, body, experiment)
    what = f"space {experiment.space}" if experiment.network is None else f"network {experiment.network}"
    print(f"written: {path}, with {what} for images of this size and these budgets")
    return path


def _with(body: str, overrides: Overrides) -> tuple[str, Experiment]:
    """Return the text of an experiment with fields that go before those in it, and that experiment.

    Raises:
        ValueError: if a field is wrong.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "composed.yaml"
        path.write_text(body, encoding="utf-8")
        experiment = Experiment.load(path, overrides)
        content = read_merged(path, overrides).plain
        content["search"] = hide_password(content["search"])  # which the option says again
        return yaml.safe_dump(content, sort_keys=False), experiment


def _hours(text: str | None) -> float | None:
    try:
        return None if text in (None, "null") else float(text)  # type: ignore[arg-type]
    except ValueError:
        raise ValueError(f"--hours: {text!r} is no number; legal: numbers above 0, or null") from None


def _write(path: Path, folder: Path, body: str, experiment: Experiment) -> None:
    """Write an experiment, unless that would replace what the user wrote, or another one's that was begun."""
    text = _HEAD.format(hashlib.sha256(body.encode()).hexdigest()[:8]) + body
    before = path.read_text(encoding="utf-8") if path.exists() else text
    if before == text:
        pass
    elif not _is_ours(before):
        raise ValueError(f"{path} is a file of yours; run it, or give another --output")
    elif any((folder / name).exists() for name in ("train", "search", "subnets")):
        earlier = Experiment.load(path)
        others = _differences(earlier, experiment)
        if others:
            was = f"with other {', '.join(others)}"
            if others == ["search"] and earlier.search.budgets != experiment.search.budgets:
                was = f"for {' and '.join(map(str, earlier.search.budgets))}"
            other = folder.with_name(f"{folder.name}-2")
            raise ValueError(f"{folder} was begun {was}, and is kept; give another folder: --output {other}")
    write_text(path, text)


def _differences(one: Experiment, other: Experiment) -> list[str]:
    """Return the names of the parts in which two experiments differ, so that their results do."""
    contents = [decisive(each.to_json()) for each in (one, other)]
    return [name for name in contents[1] if contents[0].get(name) != contents[1][name]]


def _is_ours(text: str) -> bool:
    """Whether a file was written here and not changed since."""
    body = text.partition("\n")[2]
    return text == _HEAD.format(hashlib.sha256(body.encode()).hexdigest()[:8]) + body


def said_of(experiment: Experiment) -> dict[str, Any]:
    """Return what a file has to say of an experiment; all else is as always."""
    content = experiment.to_json()
    data = {name: content["data"][name] for name in ("source", "image_size", "crop", "padding")}
    said: dict[str, Any] = {name: content[name] for name in ("space", "network") if content.get(name) is not None}
    if experiment.weights is not None:
        said["weights"] = experiment.weights.source
    said |= {"data": data, "search": {"budgets": content["search"]["budgets"]}}
    if experiment.hours is None and experiment.search.evaluate != "auto":
        said["search"]["evaluate"] = experiment.search.evaluate
    said |= {
        "finetune": _differing(experiment.finetune.recipe),
        "train": {"recipe": _differing(experiment.train.recipe)},
    }
    return said if experiment.hours is None else said | {"hours": experiment.hours}


def _differing(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe that are not at their defaults."""
    return {name: value for name, value in json.loads(recipe.to_json()).items() if value != DEFAULTS.get(name)}
