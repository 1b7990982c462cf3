"""``nasvit report``: write the page of a folder."""

from __future__ import annotations

from pathlib import Path

from nasvit.experiment.workbench import REPORT
from nasvit.files.whole import write_text
from nasvit.report.page.holding import read_folder
from nasvit.report.page.render import page
from search_spaces.ranges import ImageCount, checks


@checks
def show_report(folder: Path, out: Path | None = None, images: ImageCount = 512) -> None:
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
    holding, target = read_folder(folder), out or folder / REPORT
    text = page(holding, images)
    write_text(target, text, errors="backslashreplace")  # names of files may be of any bytes
    print(f"{target}: {target.stat().st_size / 1e3:,.0f} kB in one file; open it in a browser")
