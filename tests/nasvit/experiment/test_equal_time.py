"""Training from scratch for as long as the way to a subnet took."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasvit.experiment.clock import TIMES, Spent
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.stages import equal_time
from nasvit.experiment.stages.equal_time import epochs_that_fit
from nasvit.experiment.stages.jobs import Job
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import write_json
from nasvit.report import results
from nasvit.training.trainer import Trainer
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

SHORT = {
    "recipe": "  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 1, batch_size: 64}",
    "random_subnets": "  random_subnets: 0",
    "evaluate_every": "  evaluate_every: 0",
    "evaluations": "  evaluations: 12",
    "finalists": "  finalists: 1",
    "compare": "compare: {scratch: true, equal: both, learning_rate: 2e-3}",
}
WAY = {"train": 10.0, "search": 4.0, "extract": 2.0}
EPOCH = 3.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    with without_programs(), few_digits():
        yield


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal_time, "_measured", lambda folder, name: EPOCH)


def took(folder: Path, way: dict[str, float] = WAY) -> None:
    """Let the stages of a folder have taken some seconds of work."""
    write_json(folder / TIMES, {stage: Spent(7 * work, 9 * work, work).to_json() for stage, work in way.items()})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished experiment that compares nothing."""
    folder = tmp_path_factory.mktemp("equal")
    run(open_workbench(write_experiment(folder, **SHORT | {"compare": ""}), folder / "out"))
    return folder / "out"


@pytest.fixture
def out(found: Path, tmp_path: Path) -> Path:
    shutil.copytree(found, tmp_path / "out")
    took(tmp_path / "out")
    return tmp_path / "out"


def bench_of(out: Path, **changed: str) -> Workbench:
    return open_workbench(write_experiment(out.parent, **SHORT | changed), out)


def card(row: dict[str, Any], how: str, out: Path) -> dict[str, Any]:
    origin = json.loads((out / "subnets" / row["name"] / how / "card.json").read_text())["origin"]
    return json.loads(origin["recipe"])  # type: ignore[no-any-return]


def test_from_scratch_gets_the_epochs_of_the_subnets_share_of_the_way_and_of_its_fine_tuning(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = bench_of(out)
    rows = run(bench)
    # A share of (10 + 4 + 2) / 2 budgets is 8 seconds: two epochs of 3 seconds besides the one of fine-tuning.
    assert [row["epochs"] for row in rows] == [{"extracted": 0, "finetuned": 1, "scratch": 1, "scratch_time": 3}] * 2
    for row in rows:
        assert [card(row, how, out)["epochs"] for how in ("finetuned", "scratch", "scratch_time")] == [1, 1, 3]
        assert [card(row, how, out)["learning_rate"] for how in ("finetuned", "scratch_time")] == [1e-3, 2e-3]
        assert set(row["scores"]) == {"supernet", "extracted", "finetuned", "scratch", "scratch_time"}
    results.show(bench, rows)
    assert "| from scratch, equal epochs (1 epoch) | from scratch, equal time (3 epochs) |" in (
        (out / "results.md").read_text()
    )
    assert "time: supernet 1:10, search 0:28, extraction 0:1" in capsys.readouterr().out


def test_the_epochs_stay_when_times_are_measured_anew_and_follow_another_fine_tuning(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_time = {"compare": "compare: {scratch: true}"}
    assert [row["epochs"]["scratch_time"] for row in run(bench_of(out, **only_time))] == [3, 3]
    took(out, {stage: 10 * work for stage, work in WAY.items()})
    with monkeypatch.context() as patch:
        patch.setattr("nasvit.experiment.stages.finetune._train", None)  # nothing is trained again
        assert [row["epochs"]["scratch_time"] for row in run(bench_of(out, **only_time))] == [3, 3]
    two = "finetune: {optimizer: adamw, learning_rate: 1e-3, epochs: 2, batch_size: 64}"
    took(out)
    # Of _measured, which is now the time of two epochs, 8 seconds are 5 epochs.
    assert [row["epochs"]["scratch_time"] for row in run(bench_of(out, finetune=two, **only_time))] == [2 + 5] * 2


def test_who_asks_for_equal_epochs_needs_no_times_and_gets_no_other_training(out: Path) -> None:
    (out / TIMES).unlink()
    rows = run(bench_of(out, compare="compare: {scratch: true, equal: epochs}"))
    assert [row["epochs"] for row in rows] == [{"extracted": 0, "finetuned": 1, "scratch": 1}] * 2
    assert not list(out.glob("subnets/*/scratch_time*"))
    assert [set(row["scores"]) for row in run(bench_of(out, compare=""))] == [
        {"supernet", "extracted", "finetuned"}
    ] * 2


def test_stages_whose_time_is_not_known_are_named_before_anything_is_trained(out: Path) -> None:
    took(out, {"search": 4.0})
    with pytest.raises(ValueError, match=r"does not say how long train took .* set compare\.equal to epochs, or give"):
        run(bench_of(out))
    assert not list(out.glob("subnets/*/scratch*"))


def test_a_fine_tuning_that_was_not_timed_is_timed_for_one_epoch(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, stops, train = bench_of(out), [], Trainer.run
    (out / "subnets" / "macs-300K" / "finetuned-training" / TIMES).unlink()

    def watched(trainer: Trainer, *, until: int | None = None) -> Any:
        stops.append((until, len(trainer.loader)))
        return train(trainer, until=until)

    monkeypatch.setattr(Trainer, "run", watched)
    for subject in subjects(bench):
        job = Job(subject, "finetuned", subject.training, "all")
        assert equal_time._seconds_per_epoch(bench, job) == EPOCH
    assert stops == [(len(bench.images.whole) // 64,) * 2]  # of the first subject alone


def test_what_kills_lost_of_a_training_is_no_part_of_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    lines = [{"step": step, "loss": 1.0, "seconds": 5.0 * step} for step in (1, 2)] + [{"step": 2, "epoch": 1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(tmp_path / TIMES, {"finetuned": Spent(wall=40, processor=20, work=20).to_json()})
    assert equal_time._measured(tmp_path, "finetuned") == 10 * 20 / 40


@pytest.mark.parametrize(("way", "epochs"), [(0.0, 5), (1.9, 5), (2.1, 6), (20.0, 15)])
def test_epochs_that_fit_are_those_of_fine_tuning_and_the_whole_ones_of_the_way(way: float, epochs: int) -> None:
    assert epochs_that_fit(way, 2.0, 5) == epochs


@pytest.mark.parametrize("better", [True, False])
def test_the_table_says_where_the_way_without_a_supernet_is_better(
    out: Path, capsys: pytest.CaptureFixture[str], better: bool
) -> None:
    bench = bench_of(out)
    row: dict[str, Any] = {"name": "macs-300K", "budget": "macs<=300K", "macs": 1, "params": 1, "memory": 1}
    row |= {"scores": {"finetuned": 0.5, "scratch_time": 0.6 if better else 0.4}, "epochs": {"scratch_time": 9}}
    results.show(bench, [row])
    printed = capsys.readouterr().out.replace("\n", "")
    said = "macs<=300K: from scratch was better in equal time, 60.00 against 50.00; that network is in"
    assert (said in printed) == better
    assert "(9 epochs)" in printed


def test_a_way_to_compare_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, compare="compare: {scratch: true, equal: steps}")
    with pytest.raises(ValueError, match=r"compare\.equal: .*steps.*time.*epochs.*both"):
        open_workbench(path, tmp_path / "out")
