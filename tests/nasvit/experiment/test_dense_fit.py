"""``nasvit fit`` and ``nasvit run`` of detectors and segmenters: every way to train one, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import search_spaces
from nasvit.any_network import Elastic
from nasvit.compute import ALONE, Compute
from nasvit.costs.counting import count
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.experiment import fit as fit_module
from nasvit.experiment.config import Experiment
from nasvit.experiment.fit import fit, fitting_of, images_of
from nasvit.experiment.fitting import objective
from nasvit.experiment.measured import Asked, subject_of
from nasvit.experiment.pipeline import run
from nasvit.experiment.stages.start import start_supernet
from nasvit.experiment.stages.train import train
from nasvit.experiment.training import FitConfig, TeacherConfig
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import load_saved
from nasvit.files.records import read_json
from nasvit.heads.dense import DenseNetwork
from nasvit.specs import DenseSpec, DenseWidthsSpec
from nasvit.supernets.supernet import Supernet, build_subnet
from search_spaces.values import FieldError
from tests.nasvit.costs.latency.fake import FakeDevice
from tests.nasvit.experiment.drawn import CLASSES, SIZE, write_boxes, write_masks

pytest.importorskip("torchmetrics")

SPACE = """\
name: small
source: a test
resolution: [32]
stem: {width: [8], stride: 2}
stages:
  - {name: a, block: mbconv, width: [8, 16], depth: [1, 2], kernel_size: [3], expand_ratio: [1, 2], stride: 2}
  - {name: b, block: mbconv, width: [16, 24], depth: [1, 2], kernel_size: [3], expand_ratio: [2], stride: 2}
head: {width: [32], expand_ratio: 2}
"""
RECIPE = "{optimizer: adamw, learning_rate: 0.01, epochs: EPOCHS, batch_size: 8, warmup_epochs: 1, clip_norm: 5.0}"
HEADS = {
    "detection": "{kind: fcos, channels: 16, convs: 1, strides: [4, 8]}",
    "segmentation": "{kind: lraspp, channels: 16, strides: [4, 8]}",
}
HEIGHT, WIDTH = SIZE
DATA = f"{{source: 'SOURCE', image_size: [{HEIGHT}, {WIDTH}], crop: pad, padding: 2}}"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Drawn pictures with boxes and with masks."""
    folder = tmp_path_factory.mktemp("drawn")
    return {"detection": write_boxes(folder / "boxes"), "segmentation": write_masks(folder / "masks")}


def config(folder: Path, source: str, task: str, more: str = "", *, epochs: int = 1, head: str = "") -> FitConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.yaml").write_text(SPACE)
    lines = [
        f"task: {task}",
        f"head: {head or HEADS[task]}",
        f"data: {DATA.replace('SOURCE', source)}",
        f"recipe: {RECIPE.replace('EPOCHS', str(epochs))}",
        "threads: 1",
        "program: false",
        more if more.startswith("network:") else f"network: {folder / 'small.yaml'}:smallest\n{more}",
    ]
    (folder / "fit.yaml").write_text("\n".join(lines))
    return FitConfig.load(folder / "fit.yaml")


def outputs(network: nn.Module) -> tuple[torch.Tensor, ...]:
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network.eval()(images)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_trained_network_finds_what_was_drawn_and_comes_back_as_it_was(
    task: str, sources: dict[str, str], tmp_path: Path
) -> None:
    asked = config(tmp_path, sources[task], task, epochs=12)
    results = fit(asked, tmp_path / "out")
    metric = {"detection": "map50", "segmentation": "miou"}[task]
    assert results["deployed"][metric] > {"detection": 0.4, "segmentation": 0.6}[task]
    network, card = load_saved(tmp_path / "out" / "deployed")
    assert isinstance(card.spec, DenseSpec)
    assert card.shape == (3, *SIZE)
    assert card.classes == (CLASSES if task == "detection" else ("ground", *CLASSES))
    images = images_of(asked)
    batches = images.test_loader(None).evaluation_batches()
    assert images.task.evaluate(network, batches).value == pytest.approx(
        results["deployed"][images.task.metric.name], abs=1e-6
    )
    assert results["macs"] == count(network, *card.shape).macs


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize(
    "help_",
    [
        "netaug: {augmentation: 2, diversity: 1, calibration_images: 16}",
        "branches: {count: 2}",
        "quantize: int8",
        "accumulate: 2",
    ],
)
def test_every_help_of_classifiers_helps_here_and_leaves_a_plain_network(
    task: str, help_: str, sources: dict[str, str], tmp_path: Path
) -> None:
    plain = config(tmp_path / "plain", sources[task], task)
    results = fit(config(tmp_path, sources[task], task, help_), tmp_path / "out")
    network, _ = load_saved(tmp_path / "out" / "deployed")
    assert type(network) is DenseNetwork
    assert results["macs"] == count(fitting_of(plain, images_of(plain)).way.model, 3, *SIZE).macs
    assert all(torch.isfinite(each).all() for each in outputs(network))


def test_a_network_trained_with_branches_computes_the_same_once_they_are_fused(
    sources: dict[str, str], tmp_path: Path
) -> None:
    asked = config(tmp_path, sources["segmentation"], "segmentation", "branches: {count: 2}")
    results = fit(asked, tmp_path / "out")
    assert results["deployed"]["loss"] == pytest.approx(results["before_fusing"]["loss"], rel=1e-4)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_killed_and_called_again_it_comes_to_the_same(
    task: str, sources: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path, sources[task], task, epochs=2)
    whole = fit(asked, tmp_path / "whole")
    save = fit_module.save_network

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    trainer = fitting_of(asked, images_of(asked)).trainer(tmp_path / "cut" / "training")
    trainer.run(until=5)
    monkeypatch.setattr(fit_module, "save_network", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(asked, tmp_path / "cut")
    monkeypatch.setattr(fit_module, "save_network", save)
    assert fit(asked, tmp_path / "cut")["deployed"] == whole["deployed"]
    first, second = (load_saved(tmp_path / name / "deployed").network for name in ("whole", "cut"))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_student_learns_from_a_teacher_of_the_same_head(task: str, sources: dict[str, str], tmp_path: Path) -> None:
    fit(config(tmp_path / "teacher", sources[task], task), tmp_path / "taught")
    teacher = f"teacher: {{network: {tmp_path / 'taught' / 'deployed'}, distillation: {{alpha: 1.0}}}}"
    asked = config(tmp_path, sources[task], task, teacher)
    learner = fitting_of(asked, images_of(asked)).trainer(tmp_path / "out").learner
    student = fitting_of(asked, images_of(asked)).way.model
    taught = load_saved(tmp_path / "taught" / "deployed").network
    images, targets = next(images_of(asked).training(asked.recipe).batches(0))
    autocast = torch.autocast("cpu", enabled=False)
    objective = learner.objective  # type: ignore[attr-defined]
    taught.head.training = True  # type: ignore[union-attr]
    learned = objective.of_batch(images, targets, autocast)
    with torch.no_grad():
        assert objective.loss(taught(images), learned) < objective.loss(student.train()(images), learned)


def test_a_teachers_maps_are_imitated_by_networks_supernets_and_wider_ones_and_nothing_of_it_is_shipped(
    sources: dict[str, str], tmp_path: Path
) -> None:
    source = sources["segmentation"]
    plain = fit(config(tmp_path / "teacher", source, "segmentation"), tmp_path / "taught")
    teacher = f"teacher: {{network: {tmp_path / 'taught' / 'deployed'}, maps: 1.0}}"
    netaug = "netaug: {augmentation: 2, diversity: 1, calibration_images: 16}"
    for number, more in enumerate((f"{teacher}\naccumulate: 2", f"{teacher}\n{netaug}")):
        results = fit(config(tmp_path, source, "segmentation", more), tmp_path / f"{number}")
        assert [results[each] for each in ("macs", "params")] == [plain[each] for each in ("macs", "params")]
        network = load_saved(tmp_path / f"{number}" / "deployed").network
        assert network.state_dict().keys() == load_saved(tmp_path / "taught" / "deployed").network.state_dict().keys()
    content = RUN.replace("RECIPE", RECIPE.replace("EPOCHS", "1")).replace("MACS", "300K")
    (tmp_path / "run.yaml").write_text(
        f"task: segmentation\nhead: {HEADS['segmentation']}\nspace: {tmp_path / 'small.yaml'}\n"
        f"data: {DATA.replace('SOURCE', source)}\nthreads: 1\n{content.replace('train: {', f'train: {{{teacher}, ')}"
    )
    bench = Workbench(Experiment.load(tmp_path / "run.yaml"), tmp_path / "run")
    assert bench.experiment.train.teacher == TeacherConfig(str(tmp_path / "taught" / "deployed"), maps=1.0)
    train(bench, until=2)


def test_a_teacher_with_another_head_is_refused(sources: dict[str, str], tmp_path: Path) -> None:
    fit(config(tmp_path / "teacher", sources["detection"], "detection"), tmp_path / "taught")
    teacher = f"teacher: {tmp_path / 'taught' / 'deployed'}"
    asked = config(tmp_path, sources["detection"], "detection", teacher, head="{kind: retinanet, strides: [4, 8]}")
    with pytest.raises(FieldError, match="is no single network with the head"):
        fitting_of(asked, images_of(asked)).trainer(tmp_path / "out")


def test_classes_weigh_by_the_pixels_of_the_training_masks_and_alike_in_all_processes(
    sources: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = config(tmp_path, sources["segmentation"], "segmentation", "class_weights: balanced")
    results = fit(asked, tmp_path / "out")
    assert capsys.readouterr().err.count("weights of the classes: ground ") == 1
    weights = results["class_weights"]
    ground, red, blue = weights.values()
    assert list(weights) == ["ground", *CLASSES]
    assert ground < 0.5 < min(red, blue) <= 1 <= max(red, blue)
    assert objective(asked.training, images_of(asked)).task.weights == (ground, red, blue)  # type: ignore[attr-defined]

    class Second(Compute):
        def from_first(self, work: Any) -> Any:
            return (1.0, 2.0, 3.0)

    images = images_of(asked)
    assert images.class_weights(ALONE) == (ground, red, blue)
    assert images.class_weights(Second(rank=1, count=2)) == (1.0, 2.0, 3.0)
    (tmp_path / "run.yaml").write_text(
        f"task: segmentation\nspace: micro32\nclass_weights: {{red: 3}}\ndata: {DATA}\nfinetune: {RECIPE}\n".replace(
            "SOURCE", sources["segmentation"]
        ).replace("EPOCHS", "1")
        + "search: {budgets: [macs<=1M]}\n"
    )
    bench = Workbench(Experiment.load(tmp_path / "run.yaml"), tmp_path / "searched")
    assert objective(bench.experiment.train, bench.images).task.weights == (1.0, 3.0, 1.0)  # type: ignore[attr-defined]


def test_widths_share_one_head_and_are_saved_as_one(sources: dict[str, str], tmp_path: Path) -> None:
    more = "network: mobilenet_v2\nwidths: [0.25, 0.35]"
    asked = config(
        tmp_path, sources["detection"], "detection", more, head="{kind: fcos, channels: 16, strides: [8, 16]}"
    )
    results = fit(asked, tmp_path / "out")
    network, card = load_saved(tmp_path / "out" / "deployed")
    assert isinstance(card.spec, DenseWidthsSpec)
    assert [row["width"] for row in results["widths"]] == [0.25, 0.35]
    for row in results["widths"]:
        alone = network.export(row["width"])  # type: ignore[operator]
        assert count(alone, 3, *SIZE).macs == row["macs"]
        together = network(torch.zeros(1, 3, *SIZE), width=row["width"])
        assert all(map(torch.equal, alone.eval()(torch.zeros(1, 3, *SIZE)), together))


def test_a_saved_detector_is_trained_on_and_lends_its_backbone_to_other_classes(
    sources: dict[str, str], tmp_path: Path
) -> None:
    fit(config(tmp_path, sources["detection"], "detection"), tmp_path / "first")
    saved = tmp_path / "first" / "deployed"
    before = load_saved(saved).network
    goes_on = config(tmp_path / "on", sources["detection"], "detection", f"network: {saved}")
    start = fitting_of(goes_on, images_of(goes_on)).start
    assert start.network is not None
    assert all(map(torch.equal, start.network.state_dict().values(), before.state_dict().values()))
    other = config(tmp_path / "other", sources["segmentation"], "segmentation", f"network: {saved}")
    start = fitting_of(other, images_of(other)).start
    assert isinstance(start.network, DenseNetwork)
    theirs = start.network.backbone.state_dict()
    assert all(torch.equal(theirs[name], each) for name, each in before.backbone.state_dict().items())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("head: lraspp", "lraspp is for segmentation; legal of detection: fcos, retinanet, ssdlite"),
        ("recipe.label_smoothing: 0.1", "label_smoothing.*0.1 is for classification"),
        ("recipe.cutmix: 1.0", "cutmix"),
        ("head.strides: [2, 4]", "no map of 2"),
        ("class_weights: balanced", "class_weights: weigh the pixels of segmentation, and the task is detection"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    more: str, told: str, sources: dict[str, str], tmp_path: Path
) -> None:
    config(tmp_path, sources["detection"], "detection")
    name, _, value = more.partition(": ")
    with pytest.raises(ValueError, match=told):
        fit(FitConfig.load(tmp_path / "fit.yaml", [(name, value)]), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


RUN = """\
train: {recipe: RECIPE, evaluate_every: 0}
search: {budgets: ["macs<=MACS"], evaluations: 4, finalists: 2, calibration_batches: 1, calibration_batch_size: 16}
finetune: RECIPE
"""


MEASURED = MeasurementSettings(networks=8, name="fake", policy=NoisePolicy(rounds=1))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_backbone_is_searched_by_its_score_on_the_task(task: str, sources: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    data = DATA.replace("SOURCE", sources[task])
    limit = {"detection": "2500K", "segmentation": "300K"}[task]
    budget = f"macs<={limit} and memory<=90% and latency<=90%"
    content = RUN.replace("RECIPE", RECIPE.replace("EPOCHS", "2")).replace("macs<=MACS", budget)
    content = content.replace("search: {", f"search: {{latency: {tmp_path / 'table.json'}, ")
    (tmp_path / "run.yaml").write_text(
        f"task: {task}\nhead: {HEADS[task]}\nspace: {tmp_path / 'small.yaml'}\ndata: {data}\nthreads: 1\n{content}"
    )
    subject, settings = subject_of(str(tmp_path / "run.yaml"), MEASURED, Asked(), Elastic())
    device = FakeDevice(subject, classes=settings.classes)
    table = build_table(MeasurementPlan(subject, settings, tmp_path / "table.json", injected=device))
    bench = Workbench(Experiment.load(tmp_path / "run.yaml"), tmp_path / "out")
    (row,) = run(bench)
    most = float(limit.removesuffix("K")) * 1e3
    network, card = load_saved(tmp_path / "out" / "subnets" / row["name"] / "finetuned")
    cost = count(network, *card.shape)
    assert cost.macs == row["macs"] <= most
    assert cost.memory == row["memory"] <= 0.9 * bench.origin.whole["memory"]
    chosen, largest = table.latency(bench.whole_space.encode([card.spec.base.architecture, bench.whole_space.largest]))
    assert chosen == row["latency"] <= 0.9 * largest
    assert row["scores"]["supernet"] == row["scores"]["extracted"]
    records = [
        json.loads(line) for line in (tmp_path / "out" / "search" / "evaluations.jsonl").read_text().splitlines()
    ]
    assert all(0 <= record["score"] <= 1 for record in records)
    assert bench.task.metric.name == read_json(tmp_path / "out" / "results.json")["metric"]


def test_what_is_known_of_classification_alone_is_refused_in_a_search(tmp_path: Path) -> None:
    base = f"task: detection\nspace: micro32\ndata: {DATA}\nfinetune: {RECIPE.replace('EPOCHS', '1')}\n"
    for more, told in (
        ("search: {budgets: [macs<=1M]}\nhours: 1\n", "hours.*is for classification, and the task is detection"),
        ("search: {budgets: [macs<=1M], evaluate: prior}\n", "prior is for classification"),
        ("search: {budgets: [macs<=1M], prior: file.json}\n", "prior.*is for classification"),
    ):
        (tmp_path / "run.yaml").write_text(base + more)
        with pytest.raises(ValueError, match=told):
            Experiment.load(tmp_path / "run.yaml")


def test_a_supernet_with_a_head_starts_from_the_supernet_of_a_classifier(
    sources: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    classifier = Supernet(search_spaces.load(tmp_path / "small.yaml"), 7, seed=5)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    data, content = (
        DATA.replace("SOURCE", sources["segmentation"]),
        RUN.replace("RECIPE", RECIPE.replace("EPOCHS", "1")),
    )
    (tmp_path / "run.yaml").write_text(
        f"task: segmentation\nhead: {HEADS['segmentation']}\nspace: {tmp_path / 'small.yaml'}\ndata: {data}\n"
        f"weights: {tmp_path / 'classifier.pt'}\n{content.replace('MACS', '300K')}"
    )
    start = start_supernet(Workbench(Experiment.load(tmp_path / "run.yaml"), tmp_path / "out"))
    state, given = start.supernet.state_dict(), classifier.state_dict()
    loaded = [name for name, _ in start.supernet.named_parameters() if start.is_loaded(name)]
    assert any(name.startswith("backbones.stages.1") for name in loaded)
    assert not any(name.startswith("head.") for name in loaded)
    for name in loaded:
        theirs = given[name.removeprefix("backbones.")]
        if theirs.shape == state[name].shape:  # others are those of widths that the space of backbones does not have
            assert torch.equal(state[name], theirs), name


def test_only_what_was_loaded_trains_at_the_rate_of_what_was_loaded(sources: dict[str, str], tmp_path: Path) -> None:
    asked = config(tmp_path / "plain", sources["detection"], "detection")
    space = search_spaces.load(tmp_path / "plain" / "small.yaml")
    classifier = build_subnet(space, space.smallest, 5)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    more = f"weights: {tmp_path / 'classifier.pt'}"
    asked = config(tmp_path, sources["detection"], "detection", more)
    asked = replace(asked, recipe=replace(asked.recipe, loaded_rate=0.1, epochs=2, frozen_epochs=1))
    fitting = fitting_of(asked, images_of(asked))
    trainer = fitting.trainer(tmp_path / "out")
    names = {id(parameter): name for name, parameter in trainer.learner.model.named_parameters()}
    loaded = {names[id(each)] for each in trainer.learner.loaded}
    assert loaded == {name for name in names.values() if name.startswith("backbone.")}
    report = fitting.start.report
    assert report is not None
    assert "head" in report.anew
    assert not any("classifier" in name for name in report.anew)
    before = {name: each.clone() for name, each in classifier.state_dict().items()}
    trainer.run(until=len(trainer.loader))
    state = trainer.learner.model.state_dict()
    for name in loaded:
        assert torch.equal(state[name], before[name.removeprefix("backbone.body.")])


def test_a_teacher_that_was_trained_at_another_size_teaches(sources: dict[str, str], tmp_path: Path) -> None:
    small = config(tmp_path / "teacher", sources["detection"], "detection")
    fit(replace(small, data=replace(small.data, image_size=(32, 48))), tmp_path / "taught")
    asked = config(tmp_path, sources["detection"], "detection", f"teacher: {tmp_path / 'taught' / 'deployed'}")
    assert fit(asked, tmp_path / "out")["deployed"]["map"] >= 0


def test_a_supernet_with_a_head_lends_its_backbones_to_another(sources: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    content = RUN.replace("RECIPE", RECIPE.replace("EPOCHS", "1"))
    begun = f"task: detection\nhead: {HEADS['detection']}\nspace: {tmp_path / 'small.yaml'}\nthreads: 1\n"
    begun += f"data: {DATA.replace('SOURCE', sources['detection'])}\n{content.replace('MACS', '2500K')}"
    (tmp_path / "run.yaml").write_text(begun)
    first = Workbench(Experiment.load(tmp_path / "run.yaml"), tmp_path / "first")
    train(first)
    (tmp_path / "again.yaml").write_text(f"{begun}weights: {tmp_path / 'first'}\n")
    second = start_supernet(Workbench(Experiment.load(tmp_path / "again.yaml"), tmp_path / "second"))
    trained = torch.load(tmp_path / "first" / "supernet.pt", weights_only=True)
    state = second.supernet.state_dict()
    loaded = [name for name, _ in second.supernet.named_parameters() if second.is_loaded(name)]
    assert loaded
    assert all(torch.equal(state[name], trained[name]) for name in loaded)


@pytest.mark.parametrize(
    ("head", "more", "told"),
    [
        ("{kind: ssdlite, strides: [4, 8], extra: 3}", "accumulate: 8", "ssdlite needs 2 images of this size at once"),
        ("{kind: retinanet, strides: [4, 8], anchor: 0.1}", "", "0.1 strides are less than a pixel; legal: 1 / 4"),
    ],
)
def test_what_a_head_cannot_be_trained_with_is_refused_before_anything_is_written(
    head: str, more: str, told: str, sources: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        fit(config(tmp_path, sources["detection"], "detection", more, head=head), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()
