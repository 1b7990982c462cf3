"""Kill trainings and searches at any moment, again and again, and compare their ends with those never killed.

A round begins a job in a new folder, kills it (SIGKILL) at a few moments, and then lets it end. A moment is one of
three: some milliseconds after the start; the n-th time that the job opens, renames or removes a file in its folder or
opens its database; or the n-th time that a file was written there and is about to be put on the disk, of which half is
cut off then, as a machine without power does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from experiments.benchmarks.chaos.outcomes import COMMAND
from nasvit.experiment import pipeline
from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig
from nasvit.export import saved
from nasvit.files.records import read_json, versions, write_json
from nasvit.files.whole import sha256_of
from nasvit.training.metrics import read_metrics

EXPERIMENT = """\
space: micro8
threads: 1
data: {source: digits, validation: 0.7, padding: 1}
train:
  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 2, batch_size: 64, clip_norm: 1.0}
  random_subnets: 1
search: {budgets: [macs<=300K], evaluations: 4, images: 50, calibration_batches: 1, calibration_batch_size: 64}
finetune: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 64, ema_decay: 0.9}
"""
FIT = """\
network: micro8:smallest
threads: 1
data: {source: digits, validation: 0.7, padding: 1}
recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 3, batch_size: 64, ema_decay: 0.9}
program: false
"""
_TIMES = ("seconds", "training_seconds", "times", "images_per_second", "wall", "processor", "work", "versions")
_EVENTS = ("open", "os.rename", "os.remove", "os.link", "sqlite3.connect")


@dataclass(frozen=True)
class Moment:
    """When a job is killed.

    Args:
        kind: ``time``, ``event`` or ``torn``.
        number: seconds, or the number of the event or of the write.
    """

    kind: str
    number: float


def run(file: Path, folder: Path) -> None:
    """Run an experiment to its end."""
    pipeline.run(pipeline.open_workbench(file, folder))


def train(file: Path, folder: Path) -> None:
    """Run one training to its end."""
    fit(FitConfig.load(file), folder)


JOBS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {"run": (EXPERIMENT, run), "fit": (FIT, train)}


def torture(rounds: int, seed: int = 0, kills: int = 8, patience: float = 120.0) -> dict[str, Any]:
    """Make rounds of every job in turn, and return what came of them.

    Args:
        rounds: rounds in all.
        seed: of all moments.
        kills: kills in a round, at most.
        patience: seconds after which a job that nobody kills counts as hanging.
    """
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [_Job(name, Path(folder), patience) for name in JOBS]
        for number in range(rounds):
            rng, job = np.random.default_rng([seed, number]), jobs[number % len(jobs)]
            moments = [job.moment(rng) for _ in range(int(rng.integers(1, kills + 1)))]
            outcome = job.round(moments, counts)
            counts[outcome] += 1
            if outcome != "identical":
                said = [f"{each.kind} {each.number:g}" for each in moments]
                failures.append({"job": job.name, "round": number, "outcome": outcome, "moments": said})
            print(f"round {number + 1} of {rounds}: {dict(counts)}", flush=True)
    return {"rounds": rounds, "seed": seed, **counts, "failures": failures}


class _Job:
    """A job, what it leaves when nobody kills it, and how much there is to be killed in it."""

    def __init__(self, name: str, folder: Path, patience: float) -> None:
        self.name, self._folder, self._patience = name, folder / name, patience
        text, self._do = JOBS[name]
        self._folder.mkdir()
        self._file = self._folder / f"{name}.yaml"
        self._file.write_text(text, encoding="utf-8")
        saved.export_program = lambda network, path, **_: path.write_bytes(b"a program")  # takes longer than all else
        self._do(self._file, self._folder / "first")  # imports what is imported late, once for all children
        started = time.monotonic()
        status = self._attempt(self._folder / "whole", None)
        self._seconds = time.monotonic() - started
        if status:
            raise RuntimeError(f"{name} fails though nobody kills it: {(self._folder / 'whole.log').read_text()}")
        self._left = left_by(self._folder / "whole")
        self._events = {kind: int((self._folder / f"whole.{kind}").read_text()) for kind in ("event", "torn")}

    def moment(self, rng: np.random.Generator) -> Moment:
        """Draw when to kill it: early more often than late, since the job goes on where it was killed before."""
        kind, share = str(rng.choice(["time", "event", "torn"])), float(rng.uniform()) ** 2
        if kind == "time":
            return Moment(kind, share * self._seconds)
        return Moment(kind, 1 + int(share * self._events[kind]))

    def round(self, moments: list[Moment], counts: Counter[str]) -> str:
        """Kill it at some moments, let it end, and return what came of it."""
        folder = self._folder / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        for moment in moments:
            status = self._attempt(folder, moment)
            counts["kills"] += status == -signal.SIGKILL
            if status not in (0, -signal.SIGKILL):
                return self._failed(folder, f"ended with {status} when run again")
        status = self._attempt(folder, None)
        if status:
            return self._failed(folder, f"ended with {status} at last")
        left, names = left_by(folder), self._left["names"]
        other = [name for name in sorted({*left, *self._left} - {"names"}) if left.get(name) != self._left.get(name)]
        other += sorted({*left["names"]} ^ {*names})
        return f"ended otherwise: {', '.join(other)}" if other else "identical"

    def _failed(self, folder: Path, what: str) -> str:
        lines = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{what}: {lines[-1] if lines else ''}"

    def _attempt(self, folder: Path, moment: Moment | None) -> int:
        """Do the job in a child process, until a moment; return its exit status, negative for a signal."""
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _be_the_child(folder, lambda: self._do(self._file, folder), moment)
        if moment is not None and moment.kind == "time":
            time.sleep(moment.number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        until = time.monotonic() + self._patience
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return 124
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(done[1])


def _be_the_child(folder: Path, do: Callable[[], None], moment: Moment | None) -> NoReturn:
    """Do a job with its output in a file beside its folder, and end with its status."""
    with folder.with_suffix(".log").open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        counted = _arm(folder, moment)
        status = 1
        try:
            do()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        if moment is None:
            for kind, number in counted.items():
                folder.with_suffix(f".{kind}").write_text(str(number))
        os._exit(status)


def _arm(folder: Path, moment: Moment | None) -> Counter[str]:
    """Count what happens to files below a folder from now on, and die at the moment."""
    counted: Counter[str] = Counter()
    inside, synced = str(folder), os.fsync

    def dies(kind: str) -> bool:
        counted[kind] += 1
        return moment is not None and (moment.kind, moment.number) == (kind, counted[kind])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and arguments and inside in str(arguments[0]) and dies("event"):
            os.kill(os.getpid(), signal.SIGKILL)

    def sync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if inside in path and os.path.isfile(path) and dies("torn"):
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        synced(handle)

    sys.addaudithook(hook)
    os.fsync = sync  # type: ignore[assignment]
    return counted


def left_by(folder: Path) -> dict[str, Any]:
    """Return what a job left that must not depend on kills: numbers without times, weights, logs, names of files."""
    paths = list(folder.rglob("*"))
    left: dict[str, Any] = {"names": sorted(str(path.relative_to(folder)) for path in paths if _lasts(path))}
    for path in paths:
        name = str(path.relative_to(folder))
        if path.name in ("results.json", "choices.json", "split.json", "card.json"):
            left[name] = _timeless(read_json(path))
        elif path.suffix == ".safetensors" or path.name == "supernet.pt":
            left[name] = sha256_of(path)
        elif path.name == "metrics.jsonl":
            left[name] = read_metrics(path, wall_clock=False)
    return left


def _lasts(path: Path) -> bool:
    """Whether a file is there at the end whatever happened: which checkpoints there are is a matter of the clock."""
    return path.is_file() and not path.name.startswith("step-") and path.suffix not in (".db-wal", ".db-shm")


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _timeless(value) for name, value in content.items() if name not in _TIMES}
    return [_timeless(each) for each in content] if isinstance(content, list) else content


def main(rounds: int = 40, seed: int = 0, kills: int = 8, json: Path | None = None) -> None:
    """Kill runs and trainings at any moment, and compare their ends with those never killed.

    Args:
        rounds: rounds in all.
        seed: of all moments.
        kills: kills in a round, at most.
        json: file that gets the figures.
    """
    found = {"command": f"{COMMAND} kills --rounds {rounds} --seed {seed} --kills {kills}"}
    result = {**found, **torture(rounds, seed, kills), "versions": versions()}
    print(f"{result.get('kills', 0)} kills in {rounds} rounds: {result.get('identical', 0)} ended identical")
    if json is not None:
        write_json(json, result)
