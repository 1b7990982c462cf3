"""What reads the inputs of users: each with right examples of its inputs, which are then spoiled."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import search_spaces
from nasvit import cli
from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig
from nasvit.export.card import CARD, Card
from nasvit.export.saved import WEIGHTS, save_network
from nasvit.heads.fcos import FCOS
from nasvit.registry import create, spec_of
from nasvit.report.latency import describe_device
from nasvit.specs import DenseSpec, ElasticSpec
from nasvit.training.trainer import Trainer
from predictors.blocks import fingerprint, unique_blocks
from predictors.latency import FORMAT, load_table
from search_spaces.files import read_json
from search_spaces.nodes import read_text, read_yaml
from search_spaces.recipe_space import load_recipes


class ReachedTraining(BaseException):
    """Everything was checked, and a training would begin now."""


@dataclass(frozen=True)
class Target:
    """Something that reads what users wrote.

    Args:
        examples: right inputs, as plain values.
        read: reads the bytes of a spoiled one, in an empty working folder; raises what users would see.
        share: how often it is tried, relative to others.
        words: whether its inputs are the words of a command line.
    """

    examples: Callable[[], Sequence[Any]]
    read: Callable[[bytes], object]
    share: int = 4
    words: bool = False


_EXPERIMENT = """
space: micro8
note: a test
seed: 0
threads: 1
hours: null
data: {source: digits, image_size: 8, validation: 0.2, crop: pad, padding: 1, workers: 0, crop_pct: 1.0}
train:
  recipe:
    {optimizer: adamw, learning_rate: 4e-3, epochs: 3, batch_size: 64, schedule: {kind: cosine, minimum: 0}}
  random_subnets: 1
  members: all
  largest_first: 0.1
  teacher: {network: [deployed], temperature: 2, distillation: {alpha: 0.5}}
  evaluate_every: 1
  accumulate: 1
search:
  budgets: [macs<=300K, 200K<=macs<=600K and params<=60K]
  front: {cost: macs, points: 3}
  evaluate: auto
  evaluations: 14
  finalists: 2
  images: 100
  seed: 1
  early_stop: 0.0
  calibration_batches: 1
  calibration_batch_size: 64
finetune:
  optimizer: adamw
  learning_rate: 1e-3
  epochs: 2
  batch_size: 64
  schedule: {kind: step, milestones: [0.5, 0.75], factor: 0.1}
  netaug: {augmentation: 3, diversity: 2, weight: 1.0, phases: {widths: 0.5, sort: true}}
compare: {scratch: true, equal: time, random: 1, learning_rate: 4e-3}
"""
_FIT = """
network: micro8:smallest
data: {source: digits, padding: 1}
recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 2, batch_size: 64, ema_decay: 0.9, randaugment: 2, mixup: 0.2}
branches: {count: 2}
teacher: deployed
images: 500
seed: 3
threads: 1
program: false
"""
_WIDTHS = """
network: mobilenet_v2@32
data: {source: digits, image_size: 32, padding: 1, mirror: false}
recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 2, batch_size: 64}
widths: [0.25, 0.5]
slimmable: {norm: universal, random: 1, autoslim: [macs<=5M], calibration_images: 100}
"""
_ELASTIC = """
network: timm:test_resnet
elastic: {width: [0.5, 1.0], divisor: 4, fewest_blocks: 1, resolution: [16, 32], fixed: [conv1.0]}
data: {source: digits, image_size: 32, padding: 2}
search: {budgets: ["macs<=50%"], evaluate: largest}
finetune: {optimizer: adamw, learning_rate: 1e-3, epochs: 2, batch_size: 64}
"""
_DENSE = """
task: detection
head: {kind: fcos, channels: 16, convs: 1, strides: [8, 16], extra: false}
network: mobilenet_v2-0.25
data: {source: "coco:nowhere", image_size: [64, 96], ignore_index: 3}
recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 2, batch_size: 4}
"""


def _of_yaml(*texts: str) -> Callable[[], list[Any]]:
    return lambda: [read_text(text, "an example").plain for text in texts]


def _catalog(folder: str) -> list[Any]:
    """Return the files of a folder of this library."""
    found = sorted((Path(search_spaces.__file__).parent / folder).glob("*.yaml"))
    return [read_yaml(path).plain for path in found]


def _file(name: str, content: bytes) -> Path:
    path = Path(name)
    path.write_bytes(content)
    return path


def _read_space(content: bytes) -> None:
    space = search_spaces.load(_file("space.yaml", content))
    space.encode([space.smallest, space.largest])
    space.decode(space.genome.sample(2, np.random.default_rng(0)))


def _read_recipes(content: bytes) -> None:
    space = load_recipes(_file("recipes.yaml", content))
    space.encode(space.decode(space.genome.sample(2, np.random.default_rng(0))))


@cache
def _table() -> dict[str, Any]:
    space = search_spaces.load("micro8")
    error = {
        "networks": 3,
        "median_relative_error": 0.1,
        "largest_relative_error": 0.2,
        "bias": 0.0,
        "kendall_tau": 0.9,
    }
    return {
        "latency_table": FORMAT,
        "space": {"name": space.name, "fingerprint": fingerprint(space)},
        "device": "a processor",
        "runs_on": "cpu",
        "runtime": "torch",
        "command": None,
        "threads": 1,
        "batch_size": 1,
        "classes": 10,
        "precision": "float32",
        "versions": {"torch": "2"},
        "date": "2026-01-01",
        "policy": {"rounds": 5, "tolerance": 0.1},
        "noise": {"median_spread": 0.01, "noisy": 0, "measured": 3},
        "correction": {"scale": 2.0, "offset": 0.25, "fitted_on": 3},
        "error": error,
        "blocks": {block.name: {"milliseconds": 0.5, "rounds": 5} for block in unique_blocks(space)},
    }


def _read_table(content: bytes) -> None:
    space = search_spaces.load("micro8")
    table = load_table(_file("table.json", content), space)
    table.latency(space.encode([space.smallest, space.largest]))
    describe_device(table)


@cache
def _saved() -> dict[str, tuple[Any, bytes]]:
    """Return the card and the weights of a saved network of every kind, by its kind."""
    specs = {
        "subnet": spec_of("micro8:smallest"),
        "planned": spec_of("mobilenet_v2-0.25"),
        "elastic": ElasticSpec(spec_of("timm:test_resnet"), search_spaces.ElasticArchitecture(32), 32),
        "dense": DenseSpec(spec_of("mobilenet_v2-0.25"), FCOS(channels=16, convs=1), (64, 96)),
    }
    found = {}
    for kind, spec in specs.items():
        with TemporaryDirectory() as folder:
            network = spec.build(10)
            save_network(network.eval(), Path(folder), Card(spec, tuple(map(str, range(10)))))
            found[kind] = (read_json(Path(folder) / CARD), (Path(folder) / WEIGHTS).read_bytes())
    return found


def _read_card(content: bytes) -> None:
    kind = next((kind for kind in reversed(_saved()) if f'"kind": "{kind}"'.encode() in content), "subnet")
    _deploy(content, _saved()[kind][1])
    create("deployed")


def _deploy(card: bytes, weights: bytes) -> None:
    Path("deployed").mkdir()
    _file(f"deployed/{WEIGHTS}", weights)
    _file(f"deployed/{CARD}", card)


def _architectures() -> list[Any]:
    space = search_spaces.load("micro8")
    return [json.loads(each.to_json()) for each in (space.smallest, space.largest)]


def _read_architecture(content: bytes) -> None:
    spec_of(f"micro8:{_file('architecture.json', content)}")
    search_spaces.Architecture.load("architecture.json")


_COMMANDS: tuple[str, ...] = (
    "run|experiment.yaml|--output|out|--finetune.epochs|3|--search.budgets.0|macs<=400K|--seed|2",
    "run|digits|--budget|macs<=300K|--hours|0.1|--output|out|--data.workers|0",
    "train|experiment.yaml|--output|out|--train.recipe.batch_size|32",
    "search|experiment.yaml|--output|out|--search.evaluations|12",
    "extract|experiment.yaml|--output|out",
    "evaluate|experiment.yaml|--output|out",
    "fit|fit.yaml|--output|out|--recipe.epochs|2|--images|400",
    "profile|micro8:smallest|--classes|10",
    "suggest|macs<=300K and params<=50K|--space|micro8|--classes|10|--out|found.json",
    "spaces|timm:test_resnet|--image-size|64|--classes|10",
    "latency|build|micro8|--out|built.json|--dry-run|--networks|8|--rounds|3",
    "latency|use|table.json|micro8|--sample|3|--architecture|architecture.json",
    "predict|deployed|image.png|--top|3|--out|found.csv",
    "evaluate|deployed|digits",
    "bench|deployed|--rounds|2|--threads|1",
    "report|deployed|--out|report.html|--no-images",
    "tensorboard|deployed|--out|board",
    "import|nasvit|weights.pth|out.safetensors",
    "fields|fit",
)


def _run_command(content: bytes) -> None:
    """Run a command line in this process, up to its first training, among files that it may name."""
    words = [word.replace("\0", "") for word in json.loads(content)]  # which no word can hold
    _file("experiment.yaml", _EXPERIMENT.encode())
    _file("fit.yaml", _FIT.encode())
    _file("table.json", json.dumps(_table()).encode())
    _file("architecture.json", json.dumps(_architectures()[0]).encode())
    picture = BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    _file("image.png", picture.getvalue())
    _file("weights.pth", b"nothing")
    card, weights = _saved()["subnet"]
    _deploy(json.dumps(card).encode(), weights)
    with _no_training(), patch.object(sys, "argv", ["nasvit", *words]):
        cli.main()


@contextmanager
def _no_training() -> Iterator[None]:
    def reach(trainer: Trainer, **_: Any) -> None:
        raise ReachedTraining

    with patch.object(Trainer, "run", reach):
        try:
            yield
        except ReachedTraining:
            return


def _run_file(content: bytes) -> None:
    """Run an experiment up to its first training."""
    _file("spoiled.yaml", content)
    _run_command(json.dumps(["run", "spoiled.yaml", "--output", "out"]).encode())


def _fit_file(content: bytes) -> None:
    _file("spoiled.yaml", content)
    _run_command(json.dumps(["fit", "spoiled.yaml", "--output", "out"]).encode())


TARGETS: dict[str, Target] = {
    "experiment": Target(
        _of_yaml(_EXPERIMENT, _ELASTIC), lambda content: Experiment.load(_file("experiment.yaml", content)), 8
    ),
    "fit": Target(_of_yaml(_FIT, _WIDTHS, _DENSE), lambda content: FitConfig.load(_file("fit.yaml", content)), 6),
    "space": Target(lambda: _catalog("catalog"), _read_space, 6),
    "recipe space": Target(lambda: _catalog("recipes"), _read_recipes, 6),
    "latency table": Target(lambda: [_table()], _read_table, 6),
    "card": Target(lambda: [card for card, _ in _saved().values()], _read_card, 6),
    "architecture": Target(_architectures, _read_architecture, 4),
    "run": Target(_of_yaml(_EXPERIMENT, _ELASTIC), _run_file, 6),
    "fit to its training": Target(_of_yaml(_FIT, _WIDTHS), _fit_file, 4),
    "command": Target(lambda: [line.split("|") for line in _COMMANDS], _run_command, 12, words=True),
}
"""All targets by name."""
