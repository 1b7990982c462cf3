"""A finished experiment that is run again: what nothing changed for is not done again, and what changed is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasvit.data import ImageSet
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.stages import extract as extract_stage
from nasvit.experiment.stages import finetune as finetune_stage
from nasvit.experiment.stages.evaluate import SCORES, evaluate
from nasvit.experiment.stages.extract import extract
from nasvit.experiment.stages.search import search
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.workbench import Workbench
from nasvit.export import saved
from nasvit.export.saved import is_saved
from nasvit.files.records import read_json, write_json
from nasvit.tasks.classification import Classification
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

CHANGES = {
    "budgets": "  budgets: [macs<=300K]",
    "evaluations": "  evaluations: 4",
    "compare": "",
    "finetune": "finetune: {optimizer: adamw, learning_rate: 4e-3, epochs: 2, batch_size: 64}",
    "random_subnets": "  random_subnets: 1\n  within_budgets: false",  # so that a larger budget may come later
}
ANOTHER = {"budgets": "  budgets: [macs<=300K, macs<=600K]"}


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    with without_programs(), few_digits():
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder and the rows of a finished experiment."""
    folder = tmp_path_factory.mktemp("done")
    return folder / "out", run(open_workbench(write_experiment(folder, **CHANGES), folder / "out"))


@pytest.fixture
def out(done: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(done[0], tmp_path / "out"))


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is saved, and on how many images something is evaluated, from now on."""
    found, save, measure = list[str](), saved.save_network, Classification.evaluate

    def saving(network: Any, folder: Path, *rest: Any, **options: Any) -> None:
        found.append(f"{folder.parent.name}/{folder.name}")
        save(network, folder, *rest, **options)

    def measuring(*given: Any, **options: Any) -> Any:
        found.append("evaluated")
        return measure(*given, **options)

    monkeypatch.setattr(extract_stage, "save_network", saving)
    monkeypatch.setattr(Classification, "evaluate", measuring)
    return found


def bench_in(out: Path, **changes: str) -> Workbench:
    return open_workbench(write_experiment(out.parent, **CHANGES | changes), out)


def test_nothing_is_done_again_and_the_rows_are_the_same(
    done: tuple[Path, Any], out: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("needed for nothing")

    monkeypatch.setattr("nasvit.experiment.stages.trained_supernet.load_supernet", refused)
    assert run(bench_in(out)) == done[1]
    assert worked == []


def test_with_another_budget_only_what_is_new_is_done(done: tuple[Path, Any], out: Path, worked: list[str]) -> None:
    bench = bench_in(out, **ANOTHER)
    rows = run(bench)
    assert rows[0] == done[1][0]
    assert [row["name"] for row in rows] == ["macs-300K", "macs-600K"]
    assert [each for each in worked if each != "evaluated"] == ["macs-600K/extracted", "macs-600K/finetuned"]
    worked.clear()
    assert evaluate(bench) == rows and worked == []


def another_calibration(out: Path) -> dict[str, str]:
    return {"calibration_batch_size": "  calibration_batch_size: 32"}


def another_supernet(out: Path) -> dict[str, str]:
    state = torch.load(out / "supernet.pt", weights_only=True)
    torch.save({name: tensor + 1e-3 for name, tensor in state.items()}, out / "supernet.pt")
    (out / "search" / "supernet.json").unlink()  # or it would be refused
    return {}


def half_saved(out: Path) -> dict[str, str]:
    (out / "subnets" / "macs-300K" / "extracted" / "card.json").unlink()
    return {}


def without_record(out: Path) -> dict[str, str]:
    (out / "subnets" / "macs-300K" / "extracted-asked.json").unlink()
    return {}


@pytest.mark.parametrize("change", [another_calibration, another_supernet, half_saved, without_record])
def test_a_subnet_is_extracted_again_where_anything_of_it_changed(change: Any, out: Path, worked: list[str]) -> None:
    changes = change(out)
    extract(bench_in(out, **changes))
    assert worked == ["macs-300K/extracted"]
    extract(bench_in(out, **changes))
    assert worked == ["macs-300K/extracted"]


def test_a_supernet_that_was_replaced_is_refused_beside_the_choices_that_were_made_in_another(out: Path) -> None:
    another = out.parent / "another"
    shutil.copytree(out, another)
    another_supernet(another)
    shutil.copy(another / "supernet.pt", out / "supernet.pt")
    for stage in (extract, evaluate, search):
        with pytest.raises(
            ValueError, match=r"supernet\.pt is not the supernet that the search in .* rests on.*another output"
        ):
            stage(bench_in(out))


def test_a_network_is_trained_on_anew_where_what_it_starts_from_changed(out: Path) -> None:
    bench = bench_in(out)
    job = finetune_stage._job(bench, subjects(bench)[0])
    record = job.checkpoints / "asked.json"
    before = read_json(record)
    assert before == job.asked and len(before["start"]) == 64
    write_json(record, {name: value for name, value in before.items() if name != "start"})  # of an earlier version
    finetune_stage._claim([job])
    assert is_saved(job.folder) and read_json(record) == before
    finetune_stage._claim([replace(job, start="of other weights")])
    assert not is_saved(job.folder) and not (job.checkpoints / "metrics.jsonl").exists()


def test_an_extraction_that_is_killed_is_not_taken_for_that_of_before(
    out: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    changes = another_calibration(out)
    with monkeypatch.context() as patch:
        patch.setattr(extract_stage, "calibrate", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(bench_in(out, **changes))
    assert not is_saved(out / "subnets" / "macs-300K" / "extracted")
    extract(bench_in(out, **changes))
    assert worked == ["macs-300K/extracted"]


def test_only_the_network_that_changed_is_evaluated_again(done: tuple[Path, Any], out: Path, worked: list[str]) -> None:
    subnet = out / "subnets" / "macs-300K"
    shutil.rmtree(subnet / "finetuned")
    shutil.copytree(subnet / "extracted", subnet / "finetuned")
    (row,) = evaluate(bench_in(out))
    assert worked == []  # these weights were measured on these images
    assert row["scores"]["finetuned"] == row["scores"]["extracted"] != done[1][0]["scores"]["finetuned"]
    network, card = saved.load_saved(subnet / "finetuned")
    with torch.no_grad():
        next(network.parameters()).mul_(-1)
    saved.save_network(network, subnet / "finetuned", card)
    (changed,) = evaluate(bench_in(out))
    assert worked == ["evaluated"]
    assert changed["scores"]["finetuned"] != row["scores"]["finetuned"]
    assert changed["scores"]["extracted"] == row["scores"]["extracted"]


def test_other_test_images_are_evaluated_anew(out: Path, worked: list[str]) -> None:
    bench = bench_in(out)
    test = bench.images.test
    bench.images.__dict__["test"] = replace(test, images=255 - test.pixels)
    (row,) = evaluate(bench)
    assert worked == ["evaluated"] * len(row["scores"])


def test_a_killed_evaluation_goes_on_with_what_it_has_not_measured(
    done: tuple[Path, Any], out: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / SCORES).unlink()
    measure, calls = Images.test_loader, list[object]()

    def killed(self: Images, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(self, *given)

    monkeypatch.setattr(Images, "test_loader", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(bench_in(out))
    assert len(read_json(out / SCORES)) == len(worked) == 2
    assert evaluate(bench_in(out)) == done[1]
    assert len(worked) == len(done[1][0]["scores"]) == 3


def test_images_in_another_order_or_of_other_classes_are_others() -> None:
    pixels = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    one = ImageSet(pixels, torch.tensor([0, 1]), ("a", "b"), "some")
    others = [
        one.subset(torch.tensor([1, 0]).numpy()),
        replace(one, classes=("a", "c")),
        replace(one, targets=torch.tensor([0, 0])),
        replace(one, images=pixels + 1),
    ]
    assert len({each.fingerprint for each in (one, *others)}) == 5
    assert replace(one, name="elsewhere").fingerprint == one.fingerprint
