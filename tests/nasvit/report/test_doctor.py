"""``nasvit doctor``: all that a report of a bug needs, also where something is broken."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from nasvit import cli
from nasvit.compute import ALONE
from nasvit.experiment import trial
from nasvit.export import timing
from nasvit.report import doctor, machine


def test_text_and_json_say_all_parts_and_no_name_of_a_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    (tmp_path / "kept" / "nasvit").mkdir(parents=True)
    (tmp_path / "kept" / "nasvit" / "table").write_bytes(bytes(2**20))
    monkeypatch.setattr(sys, "argv", ["nasvit", "doctor", "--json", "--no-benchmark"])
    cli.main()
    facts = json.loads(capsys.readouterr().out)
    text = "\n".join(doctor.lines(facts))
    assert f"torch {metadata.version('torch')}" in text and f"optuna {metadata.version('optuna')}" in text
    assert "nasvit ~/kept/nasvit (1.0 MiB)" in text and str(tmp_path) not in text
    assert "precision auto is float32" in text and "threads in use" in text
    assert "test" not in facts["extras"] and {"export", "tasks", "data"} <= set(facts["extras"])
    assert "benchmark" not in facts and "PROBLEM" not in text


def test_a_step_and_a_product_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_BATCH", 4)
    monkeypatch.setattr(doctor, "_SPACE", "micro32:smallest")
    monkeypatch.setattr(doctor, "_PRODUCT", {"cpu": 8})
    monkeypatch.setattr(doctor, "_SECONDS", 1e-9)
    monkeypatch.setattr(trial, "_ENOUGH", 0.0)
    found = doctor._benchmark(ALONE)
    assert found["training"]["images_per_second"] > 0 and found["training"]["precision"] == "float32"
    assert [each["format"] for each in found["product"]] == ["float32"] and found["product"][0]["gigaflops"] > 0
    assert len(doctor._timed(found)) == 3


def test_what_is_broken_or_missing_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no driver\nat all")

    installed = machine._version
    monkeypatch.setattr(machine, "device_name", broken)
    monkeypatch.setattr(machine, "_version", lambda name: "not installed" if name == "onnx" else installed(name))
    text = doctor.lines(doctor.look(None))
    assert "PROBLEM: cpu: RuntimeError: no driver" in text
    assert any("export, which lacks onnx: pip install 'nasvit[export]'" in line for line in text)


def test_limits_of_containers_and_instruction_sets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told, limit in (("max", None), ("1048576", 2**20), (str(2**62), None)):  # the last one means none, too
        (tmp_path / "memory.max").write_text(told + "\n", encoding="ascii")
        assert machine.memory(tmp_path)["limit"] == limit
    monkeypatch.setattr(timing, "_told", lambda: ("a processor", {"avx2", "avx512_vnni", "amx_bf16", "sse"}))
    assert timing.instructions() == ("avx2", "amx_bf16", "avx512_vnni")
    assert timing.processor() == ("a processor", ("avx512_vnni",))


def test_the_version_is_told_without_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nasvit", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"nasvit {metadata.version('nasvit')}\n"
