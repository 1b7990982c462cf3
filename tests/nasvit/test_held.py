"""One process at a time writes to a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasvit.files import held as held_module
from nasvit.files.held import HOLDER, held
from nasvit.files.owners import is_gone, machine, this_process

HOLDING = """
import sys, time
from pathlib import Path
from nasvit.files.held import held
with held(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Any:
    """A process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.wait()


def write(folder: Path, **changes: Any) -> None:
    said = {"owner": {**this_process(), **changes}, "command": "nasvit run x.yaml", "since": "2026-01-01 12:00:00"}
    (folder / HOLDER).write_text(json.dumps(said))


def test_a_folder_is_held_by_one_process_until_it_ends_or_is_killed(tmp_path: Path, other: Any) -> None:
    refused = rf"is in use: `-c .*` writes there since 20.*, process {other.pid} on .*another --output"
    with pytest.raises(ValueError, match=refused), held(tmp_path):
        pass
    other.send_signal(signal.SIGSTOP)
    with pytest.raises(ValueError, match="is in use"), held(tmp_path):
        pass
    other.kill()
    while not is_gone(json.loads((tmp_path / HOLDER).read_text())["owner"]):  # a zombie is dead
        time.sleep(0.01)
    for left in ("", ".left"):  # by a kill while it took or gave back
        (tmp_path / f"{HOLDER}{left}.{other.pid}-1-{machine()}.tmp").touch()
    with held(tmp_path), held(tmp_path):
        assert (tmp_path / HOLDER).exists()
    assert list(tmp_path.iterdir()) == []


GONE: dict[str, Callable[[], dict[str, Any]]] = {
    "no such process": lambda: {"process": 2**22 + 1},
    "another process of the same number": lambda: {"process": os.getppid(), "started": 1},
    "an earlier process of this number": lambda: {"token": "0"},
}


@pytest.mark.parametrize("how", GONE)
def test_who_is_gone_holds_nothing(how: str, tmp_path: Path) -> None:
    write(tmp_path, **GONE[how]())
    with held(tmp_path):
        pass


def test_who_is_not_seen_here_counts_as_dead_when_it_has_been_silent(tmp_path: Path) -> None:
    write(tmp_path, host="elsewhere")
    with pytest.raises(ValueError, match=r"`nasvit run x.yaml` .* on elsewhere"), held(tmp_path):
        pass
    long_ago = time.time() - held_module._SILENCE - 10
    os.utime(tmp_path / HOLDER, (long_ago, long_ago))
    with held(tmp_path):
        pass
    (tmp_path / HOLDER).write_text("{")  # half written
    with pytest.raises(ValueError, match="in use by another process"), held(tmp_path):
        pass


def test_of_many_that_find_a_dead_holder_one_takes_its_place(tmp_path: Path) -> None:
    forking = multiprocessing.get_context("fork")
    for _ in range(5):
        write(tmp_path, process=2**22 + 1)
        all_tried, holders = forking.Barrier(6), forking.Value("i", 0)

        def try_to_hold(all_tried: Any = all_tried, holders: Any = holders) -> None:
            try:
                with held(tmp_path):
                    with holders.get_lock():
                        holders.value += 1
                    all_tried.wait()
            except ValueError:
                all_tried.wait()

        tried = [forking.Process(target=try_to_hold) for _ in range(6)]
        for process in tried:
            process.start()
        for process in tried:
            process.join()
        assert holders.value == 1


def test_the_process_of_another_user_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not is_gone({**this_process(), "process": 2**22 + 1, "started": None})
