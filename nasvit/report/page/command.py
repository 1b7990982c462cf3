"""``nasvit report``: write the page of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from nasvit.experiment.workbench import REPORT
from nasvit.report.page.holding import read_folder
from nasvit.report.page.render import page


def show_report(folder: Path, out: Path | None = None, images: int = 512) -> None:
    """Write the page of a folder, and say where it is.

    Args:
        folder: of ``nasvit run``, of ``nasvit fit``, or of a saved network; finished or not.
        out: the file; ``report.html`` in the folder if left out.
        images: test images that the best network is tried on, at most; 0: none.

    Raises:
        ValueError: if there is nothing of nasvit's in the folder, the file is no page, or a number is illegal.
    """
    if out is not None and out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {out}: legal are names that end in .html")
    if images < 0:
        raise ValueError(f"--test-images {images}; legal are 0 (none) and numbers above")
    holding, target = read_folder(folder), out or folder / REPORT
    text = page(holding, images)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be of any bytes
    unfinished.replace(target)
    print(f"{target}: {target.stat().st_size / 1e3:,.0f} kB in one file; open it in a browser")
