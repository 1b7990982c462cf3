"""Imitation of a teacher's maps: the loss by its formula, what is deployed, and stopping halfway."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from nasvit.experiment.config import TrainConfig
from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig, TeacherConfig
from nasvit.export.saved import load_network
from nasvit.heads.head import Shown
from nasvit.tasks.distillation import Distillation
from nasvit.tasks.imitation import Imitated, Imitating, relative_distance
from nasvit.tasks.objective import LabelObjective
from nasvit.tasks.teacher import Teacher, Teachers
from search_spaces.values import FieldError
from tests.nasvit.experiment.test_fit import FIT, TINY, fitting

WEIGHT = 3.0


def asked(folder: Path, width: int = 8, more: str = "") -> FitConfig:
    """The fit of a network with maps of stride 4."""
    text = TINY.replace("width: 8, stride: 1", f"width: {width}, stride: 2").replace(
        "width: 8, depth", f"width: {width}, depth"
    )
    (folder / "tiny.yaml").write_text(text)
    (folder / "fit.yaml").write_text(FIT.replace("SPACE", str(folder / "tiny.yaml")) + more)
    return FitConfig.load(folder / "fit.yaml")


def taught_by(folder: Path) -> str:
    """Train a wider teacher; return what to write into the file of a student."""
    wide = asked(folder, 16)
    fit(replace(wide, recipe=replace(wide.recipe, epochs=1, warmup_epochs=0), images=100), folder / "teacher")
    return (
        f"teacher: {{network: {folder / 'teacher' / 'deployed'}, features: {WEIGHT}, distillation: {{alpha: 0.6}}}}\n"
    )


def test_maps_are_imitated_while_a_network_trains_and_nothing_of_it_is_deployed_or_lost_in_a_stop(
    tmp_path: Path,
) -> None:
    more = taught_by(tmp_path)
    plain, taught = (fitting(asked(tmp_path, more=text)) for text in (more.replace(f"features: {WEIGHT}, ", ""), more))
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6)
    loaded = fitting(replace(asked(tmp_path, more=more), network=str(tmp_path / "teacher" / "deployed")))._is_loaded
    assert loaded is not None and loaded("network.stem.0.weight") and not loaded("projections.0.weight")

    learner = taught.trainer(tmp_path / "one").learner
    model, objective = learner.model, learner.objective  # type: ignore[attr-defined]
    assert isinstance(model, Imitating) and model.strides == (4,)
    teacher = objective.teacher.network
    theirs = teacher.forward_features(objective.teacher.own(images))
    student = model.network.train()
    ours = student.forward_features(images)
    projection = model.projections[0]
    kernel = projection.weight[:, :, 0, 0]
    projected = torch.einsum("oc,bchw->bohw", kernel, ours) + projection.bias[:, None, None]
    by_image = [((s - t) ** 2).sum() / (t**2).sum() for s, t in zip(projected, theirs, strict=True)]
    wanted = LabelObjective(0.0, objective.teacher, Distillation(0.6))
    logits = wanted.loss(student(images), wanted.of_batch(images, labels, nullcontext()))
    learned = objective.of_batch(images, labels, nullcontext())
    said = model.train()(images)
    assert isinstance(said, Shown) and len(learned) == 3
    torch.testing.assert_close(objective.loss(said, learned), logits + WEIGHT * sum(by_image) / len(by_image))
    halves = [
        objective.loss(Shown(said.outputs[p], (said.maps[0][p],)), tuple(each[p] for each in learned))
        for p in (slice(3), slice(3, 6))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), objective.loss(said, learned))
    assert torch.equal(model.eval()(images), model.network(images))

    fitting(asked(tmp_path, more=more)).trainer(tmp_path / "parts" / "training").run(until=7)
    whole, parts = (fit(asked(tmp_path, more=more), tmp_path / name) for name in ("whole", "parts"))
    assert whole["deployed"] == parts["deployed"]
    networks = [load_network(tmp_path / name / "deployed") for name in ("whole", "parts")]
    plain.trainer(tmp_path / "plain").run()
    without = plain.deployed(plain.way.model)
    shapes = [[(name, each.shape) for name, each in one.state_dict().items()] for one in (*networks, without)]
    assert type(networks[0]) is type(without) and shapes[0] == shapes[2]
    assert all(torch.equal(*pair) for pair in zip(*(each.state_dict().values() for each in networks), strict=True))
    changed = zip(networks[0].parameters(), without.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in changed)
    assert whole["training_params"] - whole["params"] >= 8 * 16 + 16


def test_networks_from_elsewhere_imitate_and_teach_at_the_strides_that_both_have() -> None:
    student, teacher = torchvision.models.resnet18(num_classes=3), timm.create_model("mobilenetv3_small_050")
    imitated = Imitated(Teacher(teacher, [0.0] * 3, [1.0] * 3, side=96), 1.0, (3, 64, 64))
    model, images = Imitating(student.train(), imitated), torch.randn(2, 3, 64, 64)
    assert model.strides == (4, 8, 16, 32) and student.training
    assert model.places == ("layer1.1", "layer2.1", "layer3.1", "layer4.1")
    said, maps = model(images), imitated.maps(images)
    assert [each.shape[1] for each in said.maps] == [each.shape[1] for each in maps]
    assert [each.shape[-1] for each in maps] == [24, 12, 6, 3]  # of its own size
    relative_distance(said.maps, maps).backward()
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in model.projections[-1].parameters())
    assert model.network.layer4[1].conv2.weight.grad.abs().max() > 0


def test_a_teacher_of_zeros_or_what_agrees_is_at_a_finite_distance() -> None:
    maps = [torch.randn(2, 3, 4, 4)]
    assert relative_distance(maps, maps) == 0 and relative_distance([0 * maps[0]], maps) == 1
    assert torch.isfinite(relative_distance(maps, [0 * maps[0]]))


def test_where_there_are_no_maps_to_compare_is_said_before_training(tmp_path: Path) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    teacher = Teacher(timm.create_model("resnet10t", num_classes=3), [0.0] * 3, [1.0] * 3)
    with pytest.raises(FieldError, match="teacher.features: are the maps of one teacher"):
        Imitated(Teachers([teacher, teacher]), 1.0, (3, 8, 8))
    with pytest.raises(FieldError, match="the student has no maps to compare: there is no map of a stride"):
        Imitating(flat, Imitated(teacher, 1.0, (3, 8, 8)))
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2)
    with pytest.raises(FieldError, match="blocks.1 of the student returns no map"):
        Imitating(vit, Imitated(teacher, 1.0, (3, 224, 224)))
    helped = TeacherConfig("a", features=1.0)
    assert TeacherConfig.from_json(helped.to_json()) == helped and "features" not in TeacherConfig("a").to_json()
    with pytest.raises(FieldError, match="teacher.features: are those of a plain network, and subnets"):
        TrainConfig(teacher=helped)
    for more, name in (
        ("netaug: {width: [1, 2]}\n", "netaug"),
        ("quantize: int8\n", "quantize"),
        ("compile: true\n", "compile"),
    ):
        with pytest.raises(ValueError, match=f"teacher.features: are those of a plain network; leave {name} out"):
            asked(tmp_path, more=more + "teacher: {network: a, features: 1}\n")
    with pytest.raises(ValueError, match="teacher.features: are those of a network of one width"):
        asked(tmp_path, more="widths: [0.5, 1.0]\nteacher: {network: a, features: 1}\n")
