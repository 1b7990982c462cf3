"""Measurement of exported files by a command of the user, usually on another device."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from pathlib import Path

from nasvit.costs.latency.exporting import PrecisionName, RuntimeName, exported, require
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import Timing

_GO_ON = "what was measured before is kept: put it right and run nasvit latency build again"


class CommandRuntime:
    """Measures exported files by a command, for example on another device.

    Args:
        command: run without a shell; ``{model}`` becomes the path of the exported file and ``{shape}`` the shape of its
            input, such as ``1x3x32x32``. The last line that it prints must be the milliseconds of one call.
        folder: folder of the exported files.
        runtime: "torch" exports ``.pt2`` programs, "onnxruntime" ONNX files, "executorch" ``.pte`` files.
        precision: "float32" or "int8".
        timeout: seconds after which a measurement is aborted.

    Raises:
        ValueError: if the command does not name ``{model}``.
        ImportError: if a package that writes the files is not installed.
    """

    def __init__(
        self,
        command: str,
        folder: Path,
        runtime: RuntimeName,
        precision: PrecisionName = "float32",
        timeout: float = 600.0,
    ) -> None:
        if "{model}" not in command:
            raise ValueError(f"the command {command!r} does not say where {{model}} goes, the file to measure")
        require(runtime, precision)
        self.command, self.folder, self.timeout = command, folder, timeout
        self.runtime, self.precision = runtime, precision

    def __call__(self, module: TimedModule) -> Timing:
        """Return the milliseconds that the command prints.

        Raises:
            ValueError: if the command fails or prints no number; the message holds its output.
        """
        path = exported(module, self.folder, self.runtime, self.precision)
        filled = {"{model}": str(path), "{shape}": "x".join(map(str, module.shape))}
        words = [re.sub(r"\{model\}|\{shape\}", lambda found: filled[found[0]], w) for w in shlex.split(self.command)]
        return Timing(_milliseconds(words, self.timeout))


def _milliseconds(words: list[str], timeout: float) -> float:
    """Run a command and read its last line."""
    said = f"the command {shlex.join(words)!r}"
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="backslashreplace", timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{said} did not run to its end: {error}; {_GO_ON}") from error
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        raise ValueError(f"{said} failed with exit code {done.returncode} and printed {output!r}; {_GO_ON}")
    last = done.stdout.strip().rpartition("\n")[2].strip()
    with contextlib.suppress(ValueError):
        if 0 < (milliseconds := float(last)) < float("inf"):
            return milliseconds
    output = (done.stdout + done.stderr).strip()
    raise ValueError(
        f"{said} must print milliseconds on its last line, a number above 0; it printed {output!r}; {_GO_ON}"
    )
