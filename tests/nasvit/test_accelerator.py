"""What the pretend device cannot show: numbers, mixed precision and files on a real accelerator."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import nasvit
import search_spaces
from nasvit.any_network.features import feature_agreement
from nasvit.compute import ALONE, Compute, find_device, open_compute
from nasvit.data import Loader, Normalization
from nasvit.experiment import pipeline
from nasvit.experiment.stages.extract import _computes_the_same
from nasvit.supernets.supernet import Supernet
from nasvit.training.execution import PLAIN, Execution, Precision, Running, exact_products, resolve
from nasvit.training.metrics import read_metrics
from nasvit.training.trainer import Trainer
from tests.nasvit.experiment.tiny import write_experiment
from tests.nasvit.filled import filled
from tests.nasvit.training.short import BARE, CHANCE, RECIPE, digits, learner_of, state_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator"),
]
SPACE = search_spaces.load("micro8")


@pytest.fixture(scope="module")
def compute() -> Compute:
    return Compute(find_device("auto"))


def trained(kind: str, compute: Compute, folder: Path, running: Running = PLAIN, recipe=BARE) -> Trainer:  # type: ignore[no-untyped-def]
    learner = learner_of(kind, recipe)
    compute.place(learner.model)
    data = digits()
    loader = Loader(
        data, batch_size=recipe.batch_size, normalization=Normalization.of(data), compute=compute, workers=1
    )
    trainer = Trainer(learner, loader, recipe, folder, seed=3, chance_loss=CHANCE, running=running, compute=compute)
    trainer.run()
    return trainer


@pytest.mark.parametrize("kind", ["project", "sum", "network", "switches"])
def test_a_float32_training_is_that_of_the_processor(kind: str, compute: Compute, tmp_path: Path) -> None:
    here, there = (trained(kind, each, tmp_path / str(each.device.type)) for each in (ALONE, compute))
    losses = [
        [record["loss"] for record in read_metrics(trainer.folder / "metrics.jsonl")] for trainer in (here, there)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    for name, tensor in state_of(here.learner.model).items():
        torch.testing.assert_close(state_of(there.learner.model)[name].cpu(), tensor, rtol=2e-2, atol=2e-3, msg=name)


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float16", "tf32"])
def test_every_precision_learns(precision: Precision, compute: Compute, tmp_path: Path) -> None:
    trainer = trained("project", compute, tmp_path, Running(precision=precision), RECIPE)
    assert trainer.execution.precision == resolve(precision, compute.device)
    assert all(torch.isfinite(tensor).all() for tensor in state_of(trainer.trained).values())
    losses = [record["loss"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert len(losses) == 8 and losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["project", "network"])
def test_a_deterministic_training_is_the_same_every_time(kind: str, compute: Compute, tmp_path: Path) -> None:
    running = Running(precision="bfloat16", deterministic=True)
    first, second = (trained(kind, compute, tmp_path / name, running) for name in "ab")
    states = state_of(first.learner.model), state_of(second.learner.model)
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_an_overflow_is_left_out_on_the_device(compute: Compute) -> None:
    learner, execution = learner_of("network", BARE), Execution(PLAIN, compute)
    compute.place(learner.model)
    assert execution.precision == "float32"
    from nasvit.training.optimizers import GuardedStep, build_optimizer

    step = GuardedStep(build_optimizer(learner.model.named_parameters(), BARE), lambda: learner.gradients, waits=False)
    before = state_of(learner.model)
    learner.gradients.rows.fill_(torch.inf)
    step(torch.isfinite(learner.gradients.norm()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(learner.model).items())


def test_an_extracted_subnet_has_the_tensors_of_the_shared_one_and_scores_the_same(compute: Compute) -> None:
    supernet = compute.place(filled(Supernet(SPACE, 10)))
    images = compute.put(torch.randn(64, 1, 8, 8))
    for architecture in (SPACE.smallest, SPACE.largest, SPACE.sample(np.random.default_rng(0))):
        with exact_products():
            subnet = nasvit.calibrate(supernet.at(architecture), [images])
            network = supernet.extract(architecture, [images]).eval()
        assert _computes_the_same(network, subnet, images)
        with torch.inference_mode(), exact_products():
            torch.testing.assert_close(subnet(images), network(images), rtol=1e-4, atol=1e-4)


def test_a_whole_experiment_takes_the_accelerator_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment(tmp_path)
    with open_compute() as found:
        bench = pipeline.open_workbench(path, tmp_path / "out", compute=found)
        found.announce()
        rows = pipeline.run(bench)
    assert f"device: {found.device}" in capsys.readouterr().out
    assert all(0 <= score <= 1 for row in rows for score in row["scores"].values())
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    network = nasvit.load_network(tmp_path / "out" / "subnets" / rows[0]["name"] / "finetuned")
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


def test_an_elastic_network_trains_and_is_compared_and_extracted_as_on_the_processor(compute: Compute) -> None:
    torch.manual_seed(0)
    batches = [torch.randn(32, 3, 64, 64) for _ in range(2)]
    network = timm.create_model("resnet10t", num_classes=10)
    models = [nasvit.elasticize(copy.deepcopy(network), batches[0][:1]) for _ in range(2)]
    for model, each in zip(models, (ALONE, compute)):
        each.place(model)
    small = models[0].space.sample(np.random.default_rng(0))
    gradients, agreements, scores = [], [], []
    for model, each in zip(models, (ALONE, compute)):
        images = [each.put(batch) for batch in batches]
        with exact_products():
            model.zero_grad()
            for architecture in (model.space.largest, small):
                model.at(architecture)(images[0]).square().sum().backward()
            gradients.append({name: parameter.grad.cpu().clone() for name, parameter in model.named_parameters()})  # type: ignore[union-attr]
            model.zero_grad()
            agreements.append(feature_agreement(model, images)(small))
            extracted = model.extract(small, calibration=images).eval()
            assert next(extracted.parameters()).device.type == each.device.type
            with torch.inference_mode():
                scores.append(extracted(images[1]).cpu())
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() <= 1e-2 * gradient.norm(), name
    assert agreements[1] == pytest.approx(agreements[0], abs=1e-3)
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-3, atol=1e-3)
