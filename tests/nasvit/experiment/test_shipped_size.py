"""What is shipped takes images at the subnet's own resolution, so that its limits are those that were asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import search_spaces
from nasvit.costs.counting import count
from nasvit.costs.tables import cost_table
from nasvit.data.config import DataConfig
from nasvit.experiment import pipeline
from nasvit.experiment.fit import fit
from nasvit.experiment.fitting import load_teacher
from nasvit.experiment.image_size import size_remarks
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages import extract as extract_stage
from nasvit.experiment.stages.subjects import Subject
from nasvit.experiment.training import TeacherConfig
from nasvit.experiment.workbench import Workbench
from nasvit.export import saved
from nasvit.export.card import Card
from nasvit.export.program import PROGRAM
from nasvit.export.saved import load_network, save_network
from nasvit.layers import Resize
from nasvit.layers.calibration import track_statistics
from nasvit.names import spec_of_name
from nasvit.supernets.supernet import build_subnet
from nasvit.tasks.classification import evaluate
from nasvit.tasks.teacher import Teacher
from predictors.limits import Budget
from search_spaces import Architecture
from tests.nasvit.experiment.test_fit import config as fit_config
from tests.nasvit.experiment.tiny import write_experiment
from tests.nasvit.filled import filled

SIDES = {"micro8": 16, "micro32": 32}
"""Spaces, and a size of images above the resolution of their smallest subnet."""


def bench_of(space: str, folder: Path) -> Workbench:
    data = f"data: {{source: digits, image_size: {SIDES[space]}, validation: 0.6, padding: 1}}"
    changes = {"space": f"space: {space}", "budgets": "  budgets: [macs<=1G]"}
    return open_workbench(write_experiment(folder, data=data, **changes), folder / "out")


def ship(bench: Workbench, architecture: Architecture, folder: Path) -> Subject:
    subject = Subject("small", Budget(), architecture, bench.experiment.finetune, folder, chosen=True)
    network = filled(build_subnet(bench.space, architecture, 10)).eval()
    extract_stage.save(bench, subject, network, folder, {})
    return subject


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Exporting a program takes longer than all else; what it was asked for."""
    asked = dict[str, object]()
    monkeypatch.setattr(saved, "export_program", lambda _, path, **settings: path.touch() or asked.update(settings))
    return asked


@pytest.mark.parametrize("space", SIDES)
def test_what_is_shipped_needs_the_memory_that_its_limit_was_held_against(
    space: str, tmp_path: Path, no_programs: dict[str, object]
) -> None:
    bench = bench_of(space, tmp_path)
    architecture = bench.space.smallest
    ship(bench, architecture, tmp_path / "shipped")
    shape = Card.read(tmp_path / "shipped").shape
    promised = cost_table(bench.space, 10).memory(bench.space.encode([architecture]))
    assert shape == no_programs["shape"] == (bench.space.image_channels, *2 * (architecture.resolution,))
    assert count(load_network(tmp_path / "shipped"), *shape).memory == promised
    assert count(load_network(tmp_path / "shipped"), *bench.images.shape).memory > promised


def test_a_program_needs_no_more_memory_than_its_network_and_its_weights_still_take_other_sizes(tmp_path: Path) -> None:
    bench = bench_of("micro8", tmp_path)
    ship(bench, bench.space.smallest, tmp_path / "shipped")
    program = torch.export.load(tmp_path / "shipped" / PROGRAM).module()
    network, pixels = load_network(tmp_path / "shipped"), torch.rand(2, 1, 8, 8)
    promised = cost_table(bench.space, 10).memory(bench.space.encode([bench.space.smallest]))
    assert count(program, 1, 8, 8).memory <= promised
    normalization = bench.images.normalization
    scores = network((pixels - normalization.mean[0]) / normalization.std[0])
    torch.testing.assert_close(program(pixels), scores, rtol=1e-4, atol=1e-5)
    large = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(network(large), network(Resize(8)(large)))


@pytest.mark.parametrize("crop_pct", [1.0, 0.5])
def test_a_score_is_measured_on_images_as_what_is_shipped_takes_them(tmp_path: Path, crop_pct: float) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = np.random.default_rng([ord(name), number]).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    images = Images(DataConfig(str(tmp_path), image_size=32, crop_pct=crop_pct), seed=0)
    alone = Images(DataConfig(str(tmp_path), image_size=24, crop_pct=crop_pct), seed=0)
    (shipped, labels), *_ = images.test_loader(24).evaluation_batches()
    (wanted, targets), *_ = alone.evaluation_loader(alone.test).evaluation_batches()
    mean, deviation, own_mean, own_deviation = (
        torch.tensor(values)[:, None, None]
        for each in (images, alone)
        for values in (each.normalization.mean, each.normalization.std)
    )
    torch.testing.assert_close(shipped * deviation + mean, wanted * own_deviation + own_mean)
    assert torch.equal(labels, targets)
    assert images.test_loader(24) is images.test_loader(24)
    assert images.test_loader(32) is images.test_loader(None) is images.evaluation_loader(images.test)


def test_the_reported_score_is_that_of_the_shipped_network_on_images_of_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fit_config(tmp_path)
    results = fit(replace(asked, data=replace(asked.data, image_size=16)), tmp_path / "out")
    folder = tmp_path / "out" / "deployed"
    card, network = Card.read(folder), load_network(folder)
    assert card.shape == (1, 8, 8)
    own = Images(DataConfig("digits"), seed=0)
    images = own.test.pixels.float() / 255
    batch = (images - torch.tensor(card.mean)) / torch.tensor(card.deviation)
    score = evaluate(network, [(batch, own.test.targets)])
    assert results["deployed"]["accuracy"] == pytest.approx(score.accuracy, abs=1e-6)


def test_a_saved_network_teaches_at_the_size_of_its_card(tmp_path: Path) -> None:
    spec = spec_of_name("micro8:smallest")
    images = Images(DataConfig("digits", image_size=16, crop="none"), seed=0)
    network = filled(spec.build(10)).eval()
    track_statistics(network)
    save_network(network, tmp_path / "teacher", images.card(spec, {}))
    teacher = load_teacher(TeacherConfig(str(tmp_path / "teacher")), images)
    assert isinstance(teacher, Teacher) and teacher.side == 8


def test_a_network_that_resizes_nothing_is_shipped_at_the_size_of_its_images() -> None:
    images = Images(DataConfig("digits", image_size=16), seed=0)
    subnet = spec_of_name("micro8:smallest")
    assert images.shape_for(subnet) == (1, 8, 8)
    assert images.shape_for(replace(subnet, resize=False)) == (1, 16, 16)  # type: ignore[type-var]
    assert images.shape_for(spec_of_name("tinymbv2@32", image_channels=1)) == (1, 16, 16)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (16, "images of 16x16 pixels are smaller than any network sees them, space micro32 takes 24 to 32:"),
        (64, "images of 64x64 pixels are larger than any network sees them, space micro32 takes 24 to 32:"),
    ],
)
def test_images_that_no_subnet_sees_at_their_size_are_told_before_anything_is_trained(
    side: int, words: str, tmp_path: Path
) -> None:
    data = f"data: {{source: digits, image_size: {side}, validation: 0.6, padding: 1}}"
    changes = {"space": "space: micro32", "budgets": "  budgets: [macs<=9M]"}
    bench = open_workbench(write_experiment(tmp_path, data=data, **changes), tmp_path / "out")
    (remark,) = [line for line in pipeline.check(bench) if "pixels" in line]
    assert remark.startswith(words) and "data.image_size: 32" in remark
    assert not (tmp_path / "out" / "train").exists()


def test_images_between_the_resolutions_are_no_matter_of_words_and_those_that_are_no_squares_are(
    tmp_path: Path,
) -> None:
    resolutions = search_spaces.load("micro128").resolution
    for side in (96, 112, 128):
        images = Images(DataConfig("digits", image_size=side, crop="none"), seed=0)
        assert size_remarks(images, resolutions, "it") == []
    for name in "ab":
        for number in range(10):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (16, 8), (9 * number, 0, 0)).save(tmp_path / name / f"{number}.png")
    wide = Images(DataConfig(str(tmp_path)), seed=0)
    (remark,) = size_remarks(wide, (8,), "it")
    assert remark.startswith("images of 16x8 pixels are no squares, and it takes 8:")
    assert wide.shape_for(spec_of_name("micro8:smallest")) == (3, 8, 16)


def test_fit_warns_of_images_larger_than_its_network_sees_them(tmp_path: Path) -> None:
    asked = fit_config(tmp_path)
    asked = replace(
        asked, data=replace(asked.data, image_size=16), recipe=replace(asked.recipe, epochs=1, warmup_epochs=0)
    )
    with pytest.warns(UserWarning, match="images of 16x16 pixels are larger than any network sees them"):
        fit(asked, tmp_path / "out")
