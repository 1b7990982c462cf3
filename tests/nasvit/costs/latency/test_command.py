"""The user's own command: what it gets, what it must print, and what happens where it does not."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import Timing

LINEAR = TimedModule("conv 3-4 side 5", (2, 3, 5, 5), lambda: nn.Conv2d(3, 4, 1).eval())


def command(tmp_path: Path, script: str, arguments: str = "{model} {shape}") -> CommandRuntime:
    path = tmp_path / "my measure.py"
    path.write_text(script, encoding="utf-8")
    words = f"{shlex.quote(sys.executable)} {shlex.quote(str(path))} {arguments}"
    return CommandRuntime(words, tmp_path / "exported", "torch", timeout=60)


def test_the_command_gets_the_exported_file_and_its_last_line_counts(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\nprint(sys.argv[1])\npathlib.Path(sys.argv[1]).stat()\nprint('warm')\nprint('12.5 ')\n\n"
    )
    measure = command(tmp_path, script)
    assert measure(LINEAR) == Timing(12.5, None)
    program = torch.export.load(tmp_path / "exported" / "conv-3-4-side-5.pt2").module()
    assert program(torch.zeros(2, 3, 5, 5)).shape == (2, 4, 5, 5)


def test_the_command_gets_the_shape_of_the_input(tmp_path: Path) -> None:
    script = "import sys\nshape = sys.argv[2].partition('=')[2]\nprint(sum(map(int, shape.split('x'))))\n"
    assert command(tmp_path, script, "{model} --shape={shape}")(LINEAR) == Timing(15.0)


def test_a_file_is_exported_once(tmp_path: Path) -> None:
    measure = command(tmp_path, "import os, sys\nprint(os.stat(sys.argv[1]).st_mtime_ns)\n")
    assert measure(LINEAR) == measure(LINEAR)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys\nprint('no route to pi')\nsys.exit(3)", r"failed with exit code 3 and printed 'no route to pi'"),
        ("raise OSError('unplugged')", r"failed with exit code 1 and printed .*unplugged"),
        ("print(3.5)\nprint('done')", r"must print milliseconds on its last line, .* it printed '3.5\\ndone'"),
        ("pass", r"must print milliseconds on its last line, .* it printed ''"),
        ("print('nan')", "a number above 0"),
        ("import os\nos.write(1, b'\\xb5s: 3.5')", r"must print milliseconds .* it printed '\\\\xb5s: 3.5'"),
        ("print(-1)", "a number above 0"),
    ],
)
def test_a_command_that_fails_or_prints_no_number_is_named_with_its_output(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"(?s)the command .*my measure\.py.*{message}.*run nasvit latency build again"
    ):
        command(tmp_path, script)(LINEAR)


def test_a_command_that_does_not_exist_or_does_not_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no_such_program .*did not run to its end"):
        CommandRuntime("no_such_program {model}", tmp_path, "torch")(LINEAR)
    slow = command(tmp_path, "import time\ntime.sleep(60)")
    slow.timeout = 0.2
    with pytest.raises(ValueError, match="did not run to its end: .*timed out"):
        slow(LINEAR)


def test_a_command_that_does_not_take_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'ssh pi measure' does not say where \{model\} goes"):
        CommandRuntime("ssh pi measure", tmp_path, "torch")
