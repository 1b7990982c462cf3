"""Times a file on an Android phone by ``adb``, with the benchmark program of its runtime.

    nasvit latency build micro128 --runtime executorch --out phone.json --name "Pixel 9" \\
        --command "python -m nasvit.costs.latency.android {model}"

The program must lie on the phone and be executable there (docs/guides/latency.md says how it gets there). The last
line that this module prints is the milliseconds of one call, as
:class:`nasvit.costs.latency.command.CommandRuntime` reads them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

FOLDER = "/data/local/tmp"
"""Folder of a phone in which everybody may run programs."""


@dataclass(frozen=True)
class Program:
    """A runtime's own benchmark program: how it is called, and how it says what one call took.

    Args:
        name: name of its file.
        arguments: its arguments, with ``{model}``, ``{runs}`` and ``{threads}``.
        said: pattern of what it prints; the group ``time``, and ``runs`` if that time is of so many calls.
        milliseconds: milliseconds of the unit of that time.
    """

    name: str
    arguments: str
    said: re.Pattern[str]
    milliseconds: float = 1.0

    def read(self, printed: str) -> float:
        """Return the milliseconds of one call.

        Raises:
            ValueError: if the program did not say it.
        """
        found = self.said.search(printed)
        if found is None:
            raise ValueError(f"{self.name} did not say how long one call takes; it printed {printed.strip()!r}")
        return float(found["time"]) * self.milliseconds / float(found.groupdict().get("runs") or 1)


PROGRAMS = {
    ".pte": Program(
        "executor_runner",
        "--model_path {model} --num_executions {runs} --cpu_threads {threads}",
        re.compile(r"Model executed successfully (?P<runs>\d+) time\(s\) in (?P<time>[\d.]+) ms"),
    ),
    ".onnx": Program(
        "onnxruntime_perf_test",
        "-I -m times -r {runs} -x {threads} {model}",
        re.compile(r"Average inference time cost(?: total)?: (?P<time>[\d.]+) ms"),
    ),
    ".tflite": Program(
        "benchmark_model",
        "--graph={model} --num_runs={runs} --num_threads={threads}",
        re.compile(r"Inference \(avg\): (?P<time>[\d.e+]+)"),
        1e-3,
    ),
}
"""The program that runs files of each ending: ExecuTorch's, ONNX Runtime's, LiteRT's."""


def time_on_phone(
    model: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")],
    program: str | None = None,
    runs: int = 50,
    threads: int = 1,
    serial: str | None = None,
) -> float:
    """Return the milliseconds of one call of a file on a phone.

    Args:
        model: a .pte, .onnx or .tflite file.
        program: path of the benchmark program on the phone; /data/local/tmp/ and its usual name if left out.
        runs: calls.
        threads: threads of one operation.
        serial: serial number of the phone, of several that adb sees.

    Raises:
        ValueError: if the file's ending is another, adb fails, or the program does not say a time.
    """
    kind = PROGRAMS.get(model.suffix)
    if kind is None:
        raise ValueError(f"{model} is for no benchmark program; legal endings: {', '.join(PROGRAMS)}")
    adb = ["adb", *(["-s", serial] if serial else [])]
    there = f"{FOLDER}/nasvit-{model.name}"
    quoted = shlex.quote(there)  # a phone's shell reads what follows, and anybody may have named the file
    _said(*adb, "push", str(model.absolute()), there)
    try:
        _said(*adb, "logcat", "-c")  # which is where ExecuTorch's programs say things
        words = kind.arguments.format(model=quoted, runs=runs, threads=threads)
        printed = _said(*adb, "shell", f"{shlex.quote(program or f'{FOLDER}/{kind.name}')} {words}")
        return kind.read(printed + _said(*adb, "logcat", "-d"))
    finally:
        with suppress(ValueError):  # what happened before is what matters
            _said(*adb, "shell", f"rm {quoted}")


def _said(*words: str) -> str:
    """Run a program and return all that it printed.

    Raises:
        ValueError: if it cannot be run, or fails.
    """
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ValueError(f"{words[0]} cannot be run: {error}; it belongs to Android's platform tools") from error
    if done.returncode:
        raise ValueError(f"{' '.join(words)} failed and printed {(done.stdout + done.stderr).strip()!r}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    try:
        print(tyro.cli(time_on_phone, prog="python -m nasvit.costs.latency.android"))
    except ValueError as error:
        raise SystemExit(str(error)) from error
