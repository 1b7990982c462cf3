"""``nasvit init``: a commented experiment for some images and this machine, to be read, changed and run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

import search_spaces
from nasvit.compute import Compute
from nasvit.costs.ends import costs_of_ends, usual_classes
from nasvit.data.annotated import task_of
from nasvit.experiment.compose import RECIPE, Seen, compose, look_at, said_of, usual_budget
from nasvit.experiment.config import Experiment
from nasvit.experiment.images import Images
from nasvit.experiment.plan import MOST_EPOCHS, Plan, from_json
from nasvit.experiment.planning import follow_plan
from nasvit.experiment.workbench import PLAN, Workbench
from nasvit.files.records import read_json
from nasvit.files.whole import write_text
from predictors.limits import Budget

_UNEVEN = 2.0  # the largest class over the smallest: from here on it is worth a word
_FEW = 30  # training images of a class
_WIDTH = 110  # of comments
_LONGEST = 100  # characters of a name in a comment

Place = tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What an experiment was made from.

    Args:
        seen: what the images look like.
        images: the images.
        asked: whether the budgets were asked for.
        named: whether the space was.
        experiment: the experiment, whose epochs were planned.
        plan: the plan that they are of.
        device: the device that was timed, in words.
    """

    seen: Seen
    images: Images
    asked: bool
    named: bool
    experiment: Experiment
    plan: Plan
    device: str


def write_experiment(
    source: str, budgets: Sequence[str], hours: float, out: Path, compute: Compute, space: str | None = None
) -> None:
    """Write a commented experiment that fits images and this machine; epochs are those of so many hours here.

    Args:
        source: the images, as in the ``data`` section of an experiment.
        budgets: what each network may cost; none: a usual one.
        hours: time that a run of the file takes here, about.
        out: the file.
        compute: the device that is timed.
        space: a space; None: the one of the catalog that fits the images and budgets.

    Raises:
        ValueError: if there is such a file, the images are not laid out as they should be, the budgets cannot be met,
            or the hours are not enough for one epoch.
    """
    _require_free(out)
    if compute.count > 1:
        raise ValueError(f"nasvit init is for one process, and there are {compute.count}; start it without torchrun")
    task = task_of(source)
    if task != "classification":
        raise ValueError(f"{source} is for {task}, nasvit init is for classes; docs/guides/dense.md shows such files")
    shares = [each for each in budgets if Budget(each).is_share]
    if shares:
        what = f"{shares[0]} is a share of a network's cost"
        raise ValueError(
            f"--budget: {what}, and nasvit init is for spaces; nasvit run {source} --network NAME takes it"
        )
    seen = look_at(source)
    composed = compose(source, tuple(budgets) or (usual_budget(seen, space),), hours, space)
    with TemporaryDirectory() as folder:
        bench = Workbench(composed, Path(folder), compute)
        print("timing this machine on these images", flush=True)
        follow_plan(bench)
        plan = from_json(read_json(bench.folder / PLAN)["plan"])
        text = _text(
            _Found(seen, bench.images, bool(budgets), space is not None, bench.experiment, plan, str(compute)), out
        )
    _require_free(out)
    write_text(out, text)
    print(f"written: {out}; read it, change it, and run it: nasvit run {out}")


def _require_free(out: Path) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--out {out}: legal are names that end in .yaml")
    if out.exists():
        raise ValueError(f"{out} is there already and is not replaced; give another --out, or remove it")


def _text(found: _Found, out: Path) -> str:
    head = [*_head(found, out), *_classes(found.images)]
    return "\n".join(
        [*(f"# {_line(each)}" for each in head), *_commented(said_of(found.experiment), _reasons(found)), ""]
    )


def _head(found: _Found, out: Path) -> list[str]:
    seen, images, plan = found.seen, found.images, found.plan
    sizes = "all of one size" if seen.equal else "of several sizes"
    data = images.data
    return [
        f"Written by nasvit init; run it with: nasvit run {out}",
        f"Nothing is trained yet: nasvit run {out} --check tells what it costs.",
        "nasvit fields experiment lists all that a file may say; each is an option, too, such as --finetune.epochs 20.",
        "",
        f"{seen.images:,} training images of {len(images.classes):,} classes and {len(images.test):,} test images, "
        f"{seen.channels} channel{'s' * (seen.channels > 1)}, short side {seen.side} pixels (median), {sizes}.",
        f"{len(data.validation):,} of the training images are held out where something has to be chosen by them.",
        f"Timed on {found.device}: an epoch takes {' and '.join(f'{each:.2g} s' for each in plan.paces.plain)}"
        f"{', in the order of the budgets below' * (len(plan.paces.plain) > 1)}.",
    ]


def _classes(images: Images) -> list[str]:
    """Return how many images the classes have, in words, with what that means."""
    counts = np.bincount(images.whole.targets.numpy(), minlength=len(images.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    fewest, largest = (f"{counts[each]:,} of {_short(images.classes[each])}" for each in (least, most))
    told = [f"Classes have about equally many images, {counts[least]:,} to {counts[most]:,}."]
    if counts[most] >= _UNEVEN * counts[least]:
        told = [
            f"Classes are uneven, from {fewest} to {largest}.",
            "Accuracy counts images, so that small classes hardly count in it.",
            "nasvit evaluate NETWORK IMAGES shows every class; more images of the small ones help most.",
        ]
    if counts[least] < _FEW:
        few = int((counts < _FEW).sum())
        told.append(
            f"Of {few:,} of the {len(counts):,} classes there are fewer than {_FEW} images; expect little there."
        )
    return told


def _reasons(found: _Found) -> dict[Place, list[str]]:
    """Return why each value is what it is, and what to try, by the place of the value in the file."""
    experiment, plan, seen = found.experiment, found.plan, found.seen
    assert experiment.space is not None
    space, recipe = search_spaces.load(experiment.space), experiment.finetune.recipe
    ends = [costs["macs"] for costs in costs_of_ends(space, usual_classes(experiment.space))]
    sides = sorted({min(space.resolution), max(space.resolution)})
    spans = f"{ends[0] / 1e6:.3g} to {ends[1] / 1e6:.3g} million multiply-adds"
    asked = "As asked for." if found.asked else "None was asked for: this is a usual one."
    steps = max(1, seen.images // recipe.batch_size)
    longest = " More would bring little." if recipe.epochs >= MOST_EPOCHS else ""
    padded = experiment.data.crop == "pad"
    crop = (
        "Small images of one size are shifted by up to `padding` pixels."
        if padded
        else "Random parts of photos are brought to image_size; `padding` is for crop: pad."
    )
    return {
        ("space",): [
            "As asked for."
            if found.named
            else "The space of the largest images, no larger than these, in which the budgets can be met.",
            f"It is for {' to '.join(map(str, sides))} pixels, and its networks have {spans}.",
            "Try another: nasvit spaces lists them, nasvit suggest names what is expected to be best.",
        ],
        ("data", "source"): [
            "Where train/ and val/ (or test/) are, with one folder a class; or one folder a class alone."
        ],
        ("data", "image_size"): [
            f"The largest that the space is for; these have {seen.side} pixels. Larger ones need another space."
        ],
        ("data", "crop"): [crop],
        ("search", "budgets"): [
            f"{asked} One network for each line, such as macs<=5M, params<=500K or memory<=200KB.",
            "What no network can meet is refused before anything is trained.",
        ],
        ("search", "evaluate"): [
            *plan.reasons,
            "largest: as large as the budget allows; prior: what measurements on other images expect to be best.",
        ],
        ("finetune",): ["The training of each network, from random weights."],
        ("finetune", "learning_rate"): ["Try half or twice of it if the loss jumps, or hardly moves."],
        ("finetune", "epochs"): [
            f"What fits in {plan.seconds / 3600:.3g} hours on this machine.{longest} More is the first thing to try:",
            "`hours: 8` at the end of this file plans them anew, on any machine, and goes before this number.",
        ],
        ("finetune", "batch_size"): [f"{seen.images:,} images are {steps:,} steps an epoch with it."],
        ("train",): [
            "Of a supernet alone, which search.evaluate: inherited trains: one for all budgets.",
            f"What is found is only trained on then: a finetune.learning_rate of {RECIPE.learning_rate:g} is usual.",
        ],
    }


def _commented(said: Mapping[str, Any], reasons: Mapping[Place, Sequence[str]]) -> list[str]:
    """Return the lines of a YAML file with a comment above every value that there is something to say of."""
    lines = []
    for name, value in said.items():
        lines += ["", *_comments(reasons.get((name,), ()))]
        if name == "train" or not isinstance(value, Mapping):
            lines += _yaml({name: value})
            continue
        lines.append(f"{name}:")
        for inner, each in value.items():
            about = _comments(reasons.get((name, inner), ()))
            lines += [f"  {line}" for line in (*about, *_yaml({inner: each}))]
    return lines


def _comments(sentences: Iterable[str]) -> list[str]:
    """Return sentences as comments, each of them in one or more lines, an empty one as an empty comment."""
    wrapped = (textwrap.wrap(_line(each), _WIDTH, break_long_words=False) or [""] for each in sentences)
    return [f"# {line}".rstrip() for lines in wrapped for line in lines]


def _yaml(content: Mapping[str, Any]) -> list[str]:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).splitlines()


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _line(text: str) -> str:
    """Return text that is one line of a file, whatever characters a folder's name has."""
    return "".join(each if each.isprintable() else "?" for each in text)
