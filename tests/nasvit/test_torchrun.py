"""``torchrun`` starts the command in several processes, which do the experiment of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
import torch

from nasvit.training.metrics import read_metrics
from tests.nasvit.experiment.tiny import write_experiment
from tests.packages import ROOT

pytestmark = pytest.mark.slow
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CHANGES = {
    "recipe": "  recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64, clip_norm: 1.0}",
    "budgets": "  budgets: [macs<=300K]",
    "evaluations": "  evaluations: 12",
    "finetune": "finetune: {optimizer: sgd, learning_rate: 0.01, epochs: 1, batch_size: 64}",
    "compare": "",
}


def nasvit(*words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, *prefix, "-m", "nasvit", *words]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder where one process and two did the same experiment, and what the two printed."""
    folder = tmp_path_factory.mktemp("torchrun")
    path, printed = str(write_experiment(folder, **CHANGES)), ""
    for name, prefix in (("one", ()), ("two", TORCHRUN)):
        done = nasvit("run", path, "--output", str(folder / name), prefix=prefix)
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout
    return folder, printed


def test_two_processes_train_the_supernet_that_one_trains(runs: tuple[Path, str]) -> None:
    alone, shared = (torch.load(runs[0] / name / "supernet.pt", weights_only=True) for name in ("one", "two"))
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_each_process_learns_from_its_part_of_the_batch(runs: tuple[Path, str]) -> None:
    names = ("one/train/metrics.jsonl", "two/train/metrics.jsonl", "two/train/metrics-1.jsonl")
    logs = [[r["loss"] for r in read_metrics(runs[0] / name) if "loss" in r] for name in names]
    assert len(logs[0]) > 3
    assert [mean(parts) for parts in zip(*logs[1:], strict=True)] == pytest.approx(logs[0], rel=1e-3)
    assert max(abs(first - second) for first, second in zip(*logs[1:], strict=True)) > 0.01


def test_one_of_the_processes_searches_writes_and_prints(runs: tuple[Path, str]) -> None:
    folder, printed = runs
    one, two = (json.loads((folder / name / "results.json").read_text())["rows"] for name in ("one", "two"))
    assert [row["name"] for row in one] == [row["name"] for row in two] == ["macs-300K"]
    assert two[0]["macs"] <= 300_000
    assert set(two[0]["scores"]) == {"supernet", "extracted", "finetuned"}
    assert len((folder / "two" / "search" / "evaluations.jsonl").read_text().splitlines()) == 12
    assert printed.count("of random subnets meet it") == 1
    assert printed.count("Use it with PyTorch alone") == 1


def test_a_batch_that_the_processes_cannot_share_is_refused_in_words(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, **CHANGES | {"recipe": CHANGES["recipe"].replace("64", "62")})
    done = nasvit("train", str(path), "--output", str(tmp_path / "out"), prefix=TORCHRUN)
    assert done.returncode != 0
    assert "batch_size 62: mixing images or 2 processes need a multiple of 4" in done.stderr
