"""Phones are timed by adb and the benchmark programs of runtimes; a program of the same name stands in for adb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nasvit.costs.latency.android import PROGRAMS, time_on_phone
from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.timed_modules import timed_blocks
from search_spaces import load

ADB = """#!{python}
import shlex, shutil, sys
from pathlib import Path
phone, words = Path({phone!r}), sys.argv[1:]
with (phone / "calls").open("a") as calls:
    print(*words, file=calls)
if words[0] == "push":
    shutil.copyfile(words[1], phone / Path(words[2]).name)
elif words[:2] == ["logcat", "-d"]:
    print((phone / "log").read_text())
elif words[0] == "shell" and words[1].startswith("rm "):
    (phone / Path(shlex.split(words[1])[1]).name).unlink()
elif words[0] == "shell":
    program, *arguments = shlex.split(words[1])
    model = next(each for each in arguments if "nasvit-" in each).rpartition("=")[2]
    assert (phone / Path(model).name).stat().st_size
    print((phone / Path(program).name).read_text())
"""
SAID = {
    ".pte": (
        "",
        "I 00:00:00.002 executorch:executor_runner.cpp:459] Model executed successfully 50 time(s) in 612.5 ms.",
    ),
    ".onnx": ("First inference time cost: 85 ms\nAverage inference time cost: 12.25 ms\nP50 Latency: 0.0529 s", ""),
    ".tflite": (
        "INFO: Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, Inference (avg): 12250",
        "",
    ),
}


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for a phone, whose programs say what the real ones do."""
    folder, tools = tmp_path / "phone", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    (tools / "adb").write_text(ADB.format(python=sys.executable, phone=str(folder)))
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return folder


@pytest.mark.parametrize("ending", PROGRAMS)
def test_a_file_is_pushed_run_read_and_removed(ending: str, phone: Path, tmp_path: Path) -> None:
    model = tmp_path / f"network; reboot $(id){ending}"  # whose words the phone's shell must not run
    model.write_bytes(b"weights")
    printed, logged = SAID[ending]
    (phone / PROGRAMS[ending].name).write_text(printed)
    (phone / "log").write_text(logged)
    assert time_on_phone(model, threads=2) == 12.25
    assert not list(phone.glob("nasvit-*"))
    shell = next(line for line in (phone / "calls").read_text().splitlines() if line.startswith("shell"))
    assert shell.startswith(f"shell /data/local/tmp/{PROGRAMS[ending].name} ") and "50" in shell and "2" in shell


def test_what_a_program_says_instead_of_a_time_is_passed_on(phone: Path, tmp_path: Path) -> None:
    model = tmp_path / "network.pte"
    model.write_bytes(b"weights")
    (phone / "executor_runner").write_text("Program::load() failed")
    (phone / "log").write_text("")
    with pytest.raises(ValueError, match=r"executor_runner did not say .*Program::load\(\) failed"):
        time_on_phone(model)
    assert not list(phone.glob("nasvit-*"))
    with pytest.raises(ValueError, match=r"network.bin is for no benchmark program; legal endings: .pte, .onnx"):
        time_on_phone(tmp_path / "network.bin")


def test_without_adb_it_is_said_what_it_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="adb cannot be run: .*; it belongs to Android's platform tools"):
        time_on_phone(tmp_path / "network.pte")


def test_a_latency_table_is_measured_on_a_phone(phone: Path, tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnx", "onnxscript"):
        pytest.importorskip(package)
    (phone / "onnxruntime_perf_test").write_text("Average inference time cost total: 0.5 ms")
    (phone / "log").write_text("")
    command = f"{sys.executable} -m nasvit.costs.latency.android {{model}}"
    block = timed_blocks(load("micro8"), 10, 1)[0]
    assert CommandRuntime(command, tmp_path / "files", "onnxruntime")(block).milliseconds == 0.5
    broken = subprocess.run(
        [sys.executable, "-m", "nasvit.costs.latency.android", "x.bin"], capture_output=True, text=True
    )
    assert broken.returncode == 1 and broken.stderr.startswith("x.bin is for no benchmark program")
