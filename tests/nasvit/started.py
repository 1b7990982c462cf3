"""Programs in several processes, some of which a test may kill; ``torchrun`` starts them only where it matters.

A process of its own takes seconds to import everything. So a server imports it once, and processes are forked from that.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.packages import ROOT

PATIENCE = 240.0  # seconds after which a program hangs

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["nasvit.cli", "nasvit.experiment.fit", "nasvit.experiment.pipeline", "nasvit.heads"])


class Ended(NamedTuple):
    """The exit status of a process, and what it printed."""

    status: int
    said: str


class Started:
    """A program in a process of its own.

    Args:
        words: a module and its words.
        environment: variables besides those of this process.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str]) -> None:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self._said = Path(name)
        everything = {**os.environ, **environment}
        self._process = _SERVER.Process(target=_be, args=(list(words), everything, name))
        self._process.start()

    def runs(self) -> bool:
        """Say whether it has not ended yet."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()

    def end(self) -> Ended:
        """Wait for its end."""
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join()
        said = self._said.read_text()
        self._said.unlink()
        return Ended(int(self._process.exitcode or 0), said)


def _be(words: list[str], environment: dict[str, str], said: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    descriptor = os.open(said, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def torchrun(*words: str, processes: int) -> Ended:
    """Run a module, ``words``, in processes that torchrun starts."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*program, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    return Ended(done.returncode, done.stdout + done.stderr)


def run(*words: str, processes: int = 1) -> Ended:
    """Run a module, ``words``, in processes that share their work; the status is that of the first that failed."""
    done = ended(begin([words] * processes))
    return Ended(next((each.status for each in done if each.status), 0), "".join(each.said for each in done))


def begin(commands: Sequence[Sequence[str]]) -> list[Started]:
    """Start a process for each command (a module and its words); they share their work, and nobody watches them."""
    if len(commands) == 1:
        return [Started(commands[0], {})]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        Started(words, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank, words in enumerate(commands)
    ]


def ended(processes: Sequence[Started]) -> list[Ended]:
    """Wait for all processes; return the exit status of each and what it printed."""
    return [process.end() for process in processes]


def killed(commands: Sequence[Sequence[str]], victim: int, moment: Callable[[], bool]) -> list[Ended]:
    """Start processes, kill one without a word when ``moment`` is true, and wait for the end of all."""
    processes = begin(commands)
    while not moment() and all(process.runs() for process in processes):
        time.sleep(0.02)
    processes[victim].kill()
    return ended(processes)
