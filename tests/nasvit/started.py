"""Programs started in several processes: by ``torchrun``, or one by one so that a test can kill some."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.packages import ROOT

PATIENCE = 240.0  # seconds after which a program hangs


def launch(processes: int) -> tuple[str, ...]:
    """Words that start a program of Python in several processes."""
    return ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)) if processes > 1 else ()


def run(*words: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run a module, ``words``, in processes that torchrun starts."""
    program = [sys.executable, *launch(processes), "-m", *words]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


def begin(commands: Sequence[Sequence[str]]) -> list[subprocess.Popen[str]]:
    """Start a process for each command (a module and its words); they share their work, and nobody watches them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, words in enumerate(commands)
    ]


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait for all processes; return the exit status of each and what it printed."""
    try:
        printed = ["".join(process.communicate(timeout=PATIENCE)) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


def killed(commands: Sequence[Sequence[str]], victim: int, moment: Callable[[], bool]) -> list[tuple[int, str]]:
    """Start processes, kill one without a word when ``moment`` is true, and wait for the end of all."""
    processes = begin(commands)
    while not moment() and all(process.poll() is None for process in processes):
        time.sleep(0.02)
    processes[victim].kill()
    return ended(processes)
