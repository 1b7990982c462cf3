"""Several processes train to the weights that one trains to with the joined batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("project", "sum", "network", "switches")


def test_two_processes_train_to_the_weights_of_one_with_the_joined_batch(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, prefix in (("one", []), ("two", launch)):
        program = [sys.executable, *prefix, "-m", "tests.nasvit.training.short", "joined", str(tmp_path / name), *KINDS]
        for kind in KINDS:
            (tmp_path / name / kind).mkdir(parents=True)
        done = subprocess.run(program, check=False, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for kind in KINDS:
        alone = torch.load(tmp_path / "one" / kind / "weights-0.pt")
        first, second = (torch.load(tmp_path / "two" / kind / f"weights-{rank}.pt") for rank in (0, 1))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items() if "running" not in name)
        for name, tensor in alone.items():
            torch.testing.assert_close(first[name], tensor, rtol=1e-9, atol=1e-11, msg=f"{kind}: {name}")
