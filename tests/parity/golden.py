"""Where golden numbers lie: a small file of every kind beside this one, all of them in ``../shared``."""

from __future__ import annotations

from pathlib import Path

from tests.parity.files import case_files
from tests.shared import SHARED

GOLDEN = Path(__file__).with_name("golden")
WHOLE = SHARED / "golden"


def golden_files(folder: Path) -> list[Path]:
    """Return the case files in the folders of a collection, one folder a family; none if there is no collection."""
    families = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return list(case_files(families))
