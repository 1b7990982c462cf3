"""What released networks computed is computed again, to the tolerance of each number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity import kinds
from tests.parity.__main__ import compare
from tests.parity.files import read
from tests.parity.golden import GOLDEN, WHOLE, golden_files
from tests.shared import needs_shared

LARGE = ("sandwich_step.json", "train_step.json")  # ten seconds and four gigabytes each
in_the_collection = pytest.mark.skipif(WHOLE.is_dir(), reason="the whole collection holds these numbers")


def assert_reproduced(path: Path) -> None:
    rows = list(compare(path))
    assert any(row.status == "pass" for row in rows)
    assert not [row for row in rows if row.status == "fail"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow, in_the_collection] if path.name in LARGE else [])
        for path in golden_files(GOLDEN)
    ],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_golden_file_is_reproduced(path: Path) -> None:
    assert_reproduced(path)


def test_every_kind_has_a_golden_file() -> None:
    found = [kinds.find(path, read(path)).__name__.rpartition(".")[2] for path in golden_files(GOLDEN)]
    assert sorted(found) == sorted(kinds.NAMES)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("path", golden_files(WHOLE), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_whole_collection_is_reproduced(path: Path) -> None:
    assert_reproduced(path)
