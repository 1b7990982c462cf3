"""Whole steps, stages and deployments on a pretend accelerator: no devices are mixed, and no step waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nasvit
from nasvit.branches import fuse, reparameterize
from nasvit.data import Augmentation, Loader, Normalization
from nasvit.dense.shared import DenseSlimmable
from nasvit.experiment import pipeline
from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig
from nasvit.export.program import export_program
from nasvit.export.saved import load_network
from nasvit.export.switchable import deploy
from nasvit.heads.segmentation import PyramidSegmentation
from nasvit.supernets.augment import augment
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet, build_subnet
from nasvit.tasks.classification import Classification
from nasvit.tasks.distillation import AdaptiveAlphaDivergence, Distillation
from nasvit.tasks.objective import LabelObjective
from nasvit.tasks.segmentation import Segmentation
from nasvit.tasks.teacher import Teacher
from nasvit.training.conflict import Project
from nasvit.training.execution import Execution
from nasvit.training.learner import Learner
from nasvit.training.metrics import read_metrics
from nasvit.training.sampling import AllSwitches, NetAug, RandomWidths, Sandwich
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.test_fit import TINY
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment
from tests.nasvit.pretend import DEVICE, PRETEND, READING, MixedDevicesError, PretendDevice, generators_on_the_host
from tests.nasvit.supernets.tiny import FAMILY
from tests.nasvit.training.short import RECIPE as SHORT
from tests.nasvit.training.short import SHALLOW, digits

SPACE = SHALLOW
RECIPE = replace(SHORT, epochs=3, label_smoothing=0.1)


def images(count: int = 8, side: int = 8) -> Tensor:
    return torch.empty(count, 1, side, side, device=DEVICE)


def projecting(supernet: Supernet, per: Any = "tensor") -> Project:
    return Project([name for name, _ in supernet.named_parameters()], per=per)


def supernet_learner(recipe: Recipe = RECIPE, per: Any = "tensor") -> Learner:
    supernet = Supernet(SPACE, 10).to(DEVICE)
    return Learner(
        supernet,
        recipe,
        sampling=Sandwich(SPACE, random=1),
        distill=AdaptiveAlphaDivergence(),
        conflict=projecting(supernet, per),
    )


def switches_learner(recipe: Recipe = RECIPE) -> Learner:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=AllSwitches(network))


def universal_learner(recipe: Recipe = RECIPE) -> Learner:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, norm="universal", image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=RandomWidths(0.5, 1.0, 1))


def netaug_learner(recipe: Recipe = RECIPE) -> Learner:
    network = augment(FAMILY, classes=10, image_channels=1).to(DEVICE)
    return Learner(network, recipe, sampling=NetAug(network))


def taught_learner(recipe: Recipe = RECIPE) -> Learner:
    student, teacher = (build_subnet(SPACE, SPACE.smallest, 10) for _ in range(2))
    taught = Teacher(teacher, (0.5,), (0.2,), own_mean=(0.4,), own_deviation=(0.3,)).to(DEVICE)
    return Learner(student.to(DEVICE), recipe, LabelObjective(0.1, taught, Distillation()))


LEARNERS = {
    "supernet": supernet_learner,
    "by layer": lambda recipe=RECIPE: supernet_learner(recipe, "layer"),
    "switches": switches_learner,
    "universal": universal_learner,
    "netaug": netaug_learner,
    "taught": taught_learner,
}


def trainer_of(kind: str, folder: Path, recipe: Recipe = RECIPE, **settings: Any) -> Trainer:
    data = digits()
    loader = Loader(
        data,
        batch_size=recipe.batch_size,
        normalization=Normalization.of(data),
        augmentation=Augmentation(padding=1, random_erasing=0.5, mixup=0.2, cutmix=0.2),
        compute=PRETEND,
    )
    learner = LEARNERS[kind](recipe)
    with generators_on_the_host():
        return Trainer(learner, loader, recipe, folder, seed=1, chance_loss=2.3, compute=PRETEND, **settings)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop_tf", "lamb"])  # adamw below
def test_no_step_of_any_optimizer_waits_for_the_device(optimizer: Any, tmp_path: Path) -> None:
    check_steps("taught", tmp_path, optimizer=optimizer)


@pytest.mark.parametrize("kind", LEARNERS)
def test_no_step_of_any_kind_waits_for_the_device(kind: str, tmp_path: Path) -> None:
    check_steps(kind, tmp_path)


def check_steps(kind: str, folder: Path, optimizer: Any = "adamw") -> None:
    """Take steps on the pretend device: the first builds views and moments, the others must neither wait nor upload."""
    trainer = trainer_of(kind, folder, replace(RECIPE, optimizer=optimizer))
    batches = trainer.loader.steps(0, 4)
    with PretendDevice(uploads=None):
        trainer._train_on(next(batches))
    trainer.step += 1
    with PretendDevice():
        for batch in batches:
            values, rate = trainer._train_on(batch)
            trainer.readings.add(trainer.step, values, {"learning_rate": rate})
            trainer.step += 1
    assert trainer.step == 4


def test_a_step_of_weighted_classes_and_a_teachers_maps_does_not_wait() -> None:
    head = PyramidSegmentation(channels=8, strides=(2, 4))
    subnets = SlimmableNetwork(FAMILY, (0.5, 1.0), 1, image_channels=1)
    student = DenseSlimmable(subnets, head, (1, 8, 8), 3)
    teacher = student.extract(1.0)
    task = Segmentation(3, head, (8, 8), (1.0, 2.0, 3.0))
    objective = task.objective(teacher=teacher.eval().to(DEVICE), maps=1.0, compute=PRETEND)
    learner = Learner(student.to(DEVICE), RECIPE, objective, sampling=AllSwitches(student))
    targets = torch.empty(8, 8, 8, dtype=torch.int64, device=DEVICE)
    for uploads in (None, ()):
        with PretendDevice(uploads=uploads):
            learner.add_gradients(images(), targets, np.random.default_rng(0), Execution(compute=PRETEND))


def test_a_training_waits_only_to_read_late_numbers_and_scores(tmp_path: Path) -> None:
    trainer = trainer_of("supernet", tmp_path, replace(RECIPE, epochs=1), evaluate_every=1)
    task = Classification(10)

    def evaluate(model: Any) -> dict[str, float]:
        network = nasvit.calibrate(model.at(SPACE.smallest), [images()])
        return {"score": task.evaluate(network, [(images(), labels())]).value}

    trainer.evaluate = evaluate
    with PretendDevice(waiting=(READING,), uploads=None) as device:
        trainer.run()
    steps, evaluations = 4, 1
    assert trainer.step == steps
    assert device.waits["training/readings.py:values"] == steps  # one copy each
    assert device.waits["tasks/classification.py:_read_losses"] == evaluations
    places = {place for place in device.waits if not place.startswith("files/tensors.py")}
    assert places == {
        "training/readings.py:values",
        *(f"tasks/classification.py:_read_{what}" for what in ("losses", "counts")),
    }
    records = [record for record in read_metrics(tmp_path / "metrics.jsonl") if "loss" in record]
    assert [record["step"] for record in records] == list(range(1, steps + 1))


def labels(count: int = 8) -> Tensor:
    return torch.zeros(count, dtype=torch.long, device=DEVICE)


def test_calibration_does_not_wait_and_a_score_is_read_once() -> None:
    supernet = Supernet(SPACE, 10).to(DEVICE)
    subnet = supernet.at(SPACE.largest)
    nasvit.calibrate(supernet.at(SPACE.largest), [images()])
    with PretendDevice():
        nasvit.calibrate(subnet, [images()] * 3)
    with PretendDevice(waiting=(READING,)) as device:
        nasvit.evaluate(subnet, [(images(), labels())] * 5)
    assert device.waits.total() == 2


def test_slimmable_networks_are_calibrated_and_deployed_where_they_are() -> None:
    network = SlimmableNetwork(FAMILY, (0.5, 1.0), 10, norm="universal", image_channels=1).to(DEVICE)
    with PretendDevice(uploads=None):
        network.calibrate([images()] * 2)
        model = deploy(network)
        assert model(images(), width=0.5).device == DEVICE
    assert {tensor.device for tensor in model.state_dict().values()} == {DEVICE}


def test_what_is_extracted_is_where_the_supernet_is() -> None:
    supernet = Supernet(SPACE, 10).to(DEVICE)
    with PretendDevice(uploads=None):
        network = supernet.extract(SPACE.smallest, [images()])
    assert {tensor.device for tensor in network.state_dict().values()} == {DEVICE}
    with PretendDevice(), pytest.raises(MixedDevicesError):
        network(torch.empty(2, 1, 8, 8))


def test_branches_are_added_and_fused_where_the_network_is() -> None:
    network = build_subnet(SPACE, SPACE.smallest, 10).to(DEVICE)
    with PretendDevice(uploads=None):
        branched = reparameterize(network, 2)
        branched(images())
        fused = fuse(branched.eval())
    assert {tensor.device for tensor in fused.state_dict().values()} == {DEVICE}


def test_a_saved_network_comes_from_main_memory_whatever_the_device(tmp_path: Path) -> None:
    network = build_subnet(SPACE, SPACE.smallest, 10)
    nasvit.calibrate(network, [torch.zeros(4, 1, 8, 8)])
    with PretendDevice(waiting=(READING,), uploads=None) as device:
        export_program(network.to(DEVICE), tmp_path / "program.pt2", shape=(1, 8, 8))
    assert device.waits
    program = torch.export.load(tmp_path / "program.pt2").module()
    assert program(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


SMALL = """\
name: small
source: a test
image_channels: 1
resolution: 8
activation: swish
stem: {width: [8, 16], stride: 2}
stages:
  - {name: mix, block: hybrid, width: [16, 24], depth: [1, 2], kernel_size: 3, expand_ratio: 2, stride: 1, mlp_ratio: 1,
     windows: 1}
head: {width: 32, expand_ratio: 2}
transformer: {head_dim: 8, value_ratio: 2}
"""


@pytest.mark.parametrize("evaluate", ["inherited", "finetune"])
def test_all_stages_of_an_experiment_run_on_the_device(evaluate: str, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    path = write_experiment(
        tmp_path,
        space=f"space: {tmp_path / 'small.yaml'}",
        recipe="  recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64}",
        budgets="  budgets: [macs<=200K]",
        evaluations=f"  evaluate: {evaluate}\n  evaluations: 2",
        finalists="  finalists: 1",
        compare="",
    )
    waiting = (READING, "experiment/stages/extract.py:_computes_the_same")
    with PretendDevice(waiting=waiting, uploads=None), generators_on_the_host(), without_programs(), few_digits(300):
        rows = pipeline.run(pipeline.open_workbench(path, tmp_path / "out", compute=PRETEND))
    assert rows


FITS = {
    "plain": "network: SPACE\n",
    "netaug": "network: SPACE\nnetaug: {calibration_images: 64}\n",
    "branches": "network: tinymbv2@32\nbranches: {count: 2}\n",
    "widths": "network: tinymbv2@32\nwidths: [0.5, 1.0]\n",
    "universal": "network: mobilenet_v1\nwidths: [0.5, 1.0]\nslimmable: {norm: universal, calibration_images: 64}\n",
}


SLOW_FITS = ("branches", "widths")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW_FITS else k for k in FITS])
def test_a_fit_runs_on_the_device(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "fit.yaml").write_text(
        FITS[kind].replace("SPACE", str(tmp_path / "tiny.yaml"))
        + "data: {source: digits, image_size: 16, crop: none}\nimages: 128\nprogram: false\n"
        "recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64, ema_decay: 0.9}\n"
    )
    config = FitConfig.load(tmp_path / "fit.yaml")
    with PretendDevice(waiting=(READING,), uploads=None), generators_on_the_host():
        results = fit(config, tmp_path / "out", PRETEND)
    assert results["training_images"] > 100
    assert load_network(tmp_path / "out" / "deployed") is not None
