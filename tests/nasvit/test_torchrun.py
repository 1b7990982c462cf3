"""``torchrun`` starts the command in several processes, which do the experiment of one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
import pytest
import torch

from nasvit.training.metrics import read_metrics
from tests.nasvit.experiment.tiny import write_experiment
from tests.nasvit.started import begin, ended, killed, run, torchrun
from tests.packages import ROOT

CHANGES = {
    "recipe": "  recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64, clip_norm: 1.0}",
    "budgets": "  budgets: [macs<=300K]",
    "evaluations": "  evaluations: 12",
    "finetune": "finetune: {optimizer: sgd, learning_rate: 0.01, epochs: 1, batch_size: 64}",
    "compare": "compare: {random: 2}",
}
Runs = tuple[Path, str]


def nasvit(*words: str, processes: int = 1) -> str:
    """Run the command, and return what it printed."""
    done = run("nasvit", *words, processes=processes)
    assert done.status == 0, done.said
    return done.said


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["rows"]
    return found


def evaluations(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "search" / "evaluations.jsonl").read_text().splitlines()]


def workers(folder: Path) -> Counter[int]:
    """How many candidates each process evaluated."""
    url = f"sqlite:///{folder / 'search' / 'study.db'}"
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=url).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return Counter(trial.user_attrs["owner"]["process"] for trial in trials)


def assert_close(found: Path, wanted: Path, **tolerance: float) -> None:
    """Two supernets have the same weights."""
    one, other = (torch.load(folder / "supernet.pt", weights_only=True) for folder in (found, wanted))
    for name, tensor in other.items():
        torch.testing.assert_close(one[name], tensor, **tolerance, msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The folder where one process and two machines of one did the same experiment, and what the two printed."""
    folder = tmp_path_factory.mktemp("torchrun")
    path = str(write_experiment(folder, **CHANGES))
    nasvit("run", path, "--output", str(folder / "1"))
    nodes = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    nodes += ["--rdzv-endpoint", f"localhost:{random.randint(20_000, 30_000)}", "--rdzv-id", "a-test"]
    said = ended(begin([[*nodes, "-m", "nasvit", "run", path, "--output", str(folder / "2")]] * 2))
    assert [status for status, _ in said] == [0, 0], said
    return folder, "".join(text for _, text in said)


@pytest.mark.slow
def test_two_machines_with_one_folder_train_the_supernet_that_one_process_trains(runs: Runs) -> None:
    assert_close(runs[0] / "2", runs[0] / "1", rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_each_process_learns_from_its_part_of_the_batch(runs: Runs) -> None:
    names = ("1/train/metrics.jsonl", "2/train/metrics.jsonl", "2/train/metrics-1.jsonl")
    logs = [[r["loss"] for r in read_metrics(runs[0] / name) if "loss" in r] for name in names]
    assert len(logs[0]) > 3
    assert [mean(parts) for parts in zip(*logs[1:], strict=True)] == pytest.approx(logs[0], rel=1e-3)
    assert max(abs(first - second) for first, second in zip(*logs[1:], strict=True)) > 0.01


@pytest.mark.slow
def test_every_process_searches_and_exactly_as_many_candidates_are_evaluated_as_asked_for(runs: Runs) -> None:
    found, shared = evaluations(runs[0] / "2"), workers(runs[0] / "2")
    assert len(found) == len({record["key"] for record in found}) == 12
    assert len(shared) == 2
    assert sum(shared.values()) == 12
    assert len(workers(runs[0] / "1")) == 1


@pytest.mark.slow
def test_a_candidate_scores_what_it_scores_with_one_process(runs: Runs) -> None:
    one, two = ({row["key"]: row["score"] for row in evaluations(runs[0] / count)} for count in "12")
    both = one.keys() & two.keys()
    assert both  # the smallest and the largest, which every search begins with
    assert [two[key] for key in both] == pytest.approx([one[key] for key in both], abs=0.011)  # one image of 100


@pytest.mark.slow
def test_processes_share_out_the_stages_after_the_search_and_come_to_the_results_of_one(runs: Runs) -> None:
    one, two = (rows(runs[0] / count) for count in "12")
    names = ["macs-300K", "macs-300K-random-0", "macs-300K-random-1"]
    assert [row["name"] for row in one] == [row["name"] for row in two] == names
    assert two[0]["macs"] <= 300_000
    for mine, theirs in zip(two[1:], one[1:], strict=True):
        assert set(mine["scores"]) == {"supernet", "extracted", "finetuned"}
        for how, score in theirs["scores"].items():
            assert mine["scores"][how] == pytest.approx(score, abs=2.5 / 359), how  # of 359 test images
    logs = [runs[0] / "2" / "subnets" / name / "finetuned-training" / "metrics-1.jsonl" for name in names]
    assert [log.exists() for log in logs] == [True, False, False]  # the chosen one together, then one each


@pytest.mark.slow
def test_the_first_process_prints_for_all(runs: Runs) -> None:
    for once in ("device: cpu, 2 processes", "of random subnets meet it", "on held-out", "Use it with PyTorch alone"):
        assert runs[1].count(once) == 1, once


def test_processes_that_train_candidates_each_train_their_own(tmp_path: Path) -> None:
    changes = CHANGES | {"evaluations": "  evaluations: 4\n  evaluate: scratch", "compare": ""}
    changes |= {"data": "data: {source: digits, validation: 0.9}", "finalists": "  finalists: 1"}
    nasvit("run", str(write_experiment(tmp_path, **changes)), "--output", str(tmp_path / "out"), processes=2)
    assert len(evaluations(tmp_path / "out")) == 4
    assert len(workers(tmp_path / "out")) == 2
    (row,) = rows(tmp_path / "out")
    assert set(row["scores"]) == {"scratch"}


STAGES = {
    "train": "train/metrics.jsonl",
    "search": "search/study.db",
    "finetune": "subnets/macs-300K-random-1/finetuned-training/asked.json",
}


@pytest.mark.slow
def test_an_experiment_whose_process_was_killed_at_random_ends_with_a_clear_error_and_is_resumed(
    runs: Runs, tmp_path: Path
) -> None:
    stage = random.choice(list(STAGES))
    words = ["run", str(write_experiment(tmp_path, **CHANGES)), "--output", str(tmp_path / "out")]
    victim, left = random.randrange(2), random.randint(0, 40)  # looks, of a fiftieth of a second

    def reached() -> bool:
        nonlocal left
        left -= (tmp_path / "out" / STAGES[stage]).exists()
        return left < 0

    status, said = killed([["nasvit", *words]] * 2, victim, reached)[1 - victim]
    if status == 0:
        pytest.skip("the experiment was over before the kill")
    assert status == 2, (stage, victim)
    assert "nasvit: another process failed: a process ended or did not answer" in said
    processes = random.randint(1, 2)
    nasvit(*words, processes=processes)
    close = {"rtol": 0.0, "atol": 0.0} if processes == 2 else {"rtol": 1e-3, "atol": 1e-4}
    assert_close(tmp_path / "out", runs[0] / "2", **close)
    assert len(evaluations(tmp_path / "out")) == 12
    assert [row["name"] for row in rows(tmp_path / "out")] == ["macs-300K", "macs-300K-random-0", "macs-300K-random-1"]


def test_machines_that_do_not_share_the_folder_are_told_to(tmp_path: Path) -> None:
    path = str(write_experiment(tmp_path, **CHANGES))
    said = ended(begin([["nasvit", "train", path, "--output", str(tmp_path / name)] for name in ("one", "other")]))
    assert [status for status, _ in said] == [2, 2]
    assert f"nasvit: {tmp_path / 'one'}: process 1 on" in said[0][1]
    assert "give --output a folder that all machines share" in said[0][1]
    assert not any("Traceback" in text for _, text in said)


def test_a_batch_that_the_processes_cannot_share_is_refused_in_words(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, **CHANGES | {"recipe": CHANGES["recipe"].replace("64", "62")})
    done = torchrun("nasvit", "train", str(path), "--output", str(tmp_path / "out"), processes=2)
    assert done.status != 0
    assert done.said.count("nasvit: ") == 1
    assert "batch_size 62: mixing images or 2 processes need a multiple of 4" in done.said


def test_one_of_several_processes_ends_with_its_own_status_whatever_would_abort_its_end() -> None:
    program = (
        "import atexit, os, sys\n"
        "from nasvit import cli\n"
        "atexit.register(os.abort)  # as PyTorch's threads do where another process leaves first\n"
        "sys.argv = ['nasvit', 'profile', 'nowhere']\n"
        "cli.main()\n"
    )
    environment = {**os.environ, "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nasvit: network 'nowhere' is unknown")
