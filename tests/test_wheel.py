"""The wheel, installed where nothing but what it requires can be imported, does what the clone does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.nasvit.experiment.tiny import write_experiment
from tests.packages import NAMES, ROOT, modules, required

CHANGES = {
    "budgets": "  budgets: [macs<=300K]",
    "recipe": "  recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64}",
    "evaluations": "  evaluations: 4",
    "finalists": "  finalists: 1",
    "random_subnets": "  random_subnets: 0",
    "compare": "",
}
IMPORT_ALL = """
import importlib, pathlib, sys
for name in sys.argv[1:]:
    file = importlib.import_module(name).__file__
    assert pathlib.Path(file).is_relative_to(sys.prefix), f"{name} comes from {file}"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    venv.create(folder / "venv", symlinks=True)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(copied(folder / "source"))]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True)
    link_requirements(next((folder / "venv" / "lib").glob("python*/site-packages")))
    return folder / "venv"


def copied(folder: Path) -> Path:
    """Copy what a wheel is made of; built in the clone, it would also hold what an earlier build left there."""
    for name in NAMES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def link_requirements(site: Path) -> None:
    """Lay links to all that the wheel requires, directly or not, into an environment: torch again takes minutes."""
    for name in requirements_of_all(required()):
        for file in metadata.distribution(name).files or []:
            place, top = Path(str(file.locate())), file.parts[0]
            link = site / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(*place.parts[: len(place.parts) - len(file.parts) + 1]))


def requirements_of_all(wanted: list[Requirement]) -> set[str]:
    """The names of distributions that are installed to meet requirements, and those that these require in turn."""
    found: set[str] = set()
    while wanted:
        each = wanted.pop()
        name = canonicalize_name(each.name)
        if name not in found and (each.marker is None or each.marker.evaluate({"extra": ""})):
            found.add(name)
            wanted.extend(map(Requirement, metadata.requires(name) or []))
    return found


def run(installed: Path, folder: Path, *words: str) -> str:
    """Run a program of the environment in an empty folder, so that it cannot find the clone."""
    folder.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environment = kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    program = [str(installed / "bin" / words[0]), *words[1:]]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_is_in_the_wheel_and_can_be_imported(installed: Path, tmp_path: Path) -> None:
    names = [name for name in modules() if not name.endswith("__main__")]  # that one runs the command
    run(installed, tmp_path / "empty", "python", "-c", IMPORT_ALL, *names)


def test_every_file_that_the_code_reads_is_in_the_wheel(installed: Path) -> None:
    site = next((installed / "lib").glob("python*/site-packages"))
    kept = [path.relative_to(ROOT) for name in NAMES for path in (ROOT / name).rglob("*") if path.is_file()]
    assert not [str(path) for path in kept if "__pycache__" not in path.parts and not (site / path).exists()]


def test_the_command_says_what_it_can_do(installed: Path, tmp_path: Path) -> None:
    for words in (("nasvit", "--help"), ("python", "-m", "nasvit", "--help")):
        assert "search-worker" in run(installed, tmp_path / "empty", *words)


def test_an_experiment_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, **CHANGES)
    printed = run(installed, tmp_path / "empty", "nasvit", "run", str(path), "--output", "out")
    assert "macs<=300K" in printed or "macs-300K" in printed
    assert (tmp_path / "empty" / "out" / "results.json").exists()
    assert list((tmp_path / "empty").rglob("program.pt2"))
