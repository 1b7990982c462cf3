"""Pages of the documentation that are made when it is built: start page, notebooks, commands, fields, changelog.

MkDocs calls ``on_files`` and ``on_page_markdown``. Everything is read from this checkout; nothing is fetched.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
COPIED = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files of the repository: page -> file."""

NOTEBOOKS = ROOT / "docs" / "notebooks"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_WIDTH = 100  # characters of a line of help


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for page, text in made_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Keep the text alone of links to files of the repository that are no pages, such as experiments."""
    return within_docs(markdown, page.file.src_uri)


def made_pages() -> dict[str, str]:
    """Return the pages that are made: path below ``docs`` -> Markdown."""
    pages = {page: _moved((ROOT / file).read_text(encoding="utf-8")) for page, file in COPIED.items()}
    pages |= {f"notebooks/{path.stem}.md": notebook_page(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    return pages | {page: made() for page, made in REFERENCE.items()}


def _moved(text: str) -> str:
    """Return the Markdown of a file at the root of the repository as that of a page in ``docs``."""
    return text.replace("](docs/", "](")


def within_docs(markdown: str, page: str) -> str:
    """Return the Markdown of a page whose links to files outside ``docs`` are text, and those to notebooks to pages."""
    folder = posixpath.dirname(page)

    def linked(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[3]))
        shown = match[2] if target.startswith("..") or not _is_page(target) else match[0]
        return shown.replace(".ipynb)", ".md)")

    return _LINK.sub(linked, markdown)


def _is_page(target: str) -> bool:
    return target in COPIED or target in REFERENCE or (ROOT / "docs" / target).exists()


def notebook_page(path: Path) -> str:
    """Return the page of a notebook: its text, its code, and what its cells printed when it was written."""
    title, *cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    taken = f'<a href="{path.name}" download>Take this page along as a notebook: {path.name}</a>'
    parts = ["".join(title["source"]), taken]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += [f"```text\n{''.join(each['text']).rstrip()}\n```" for each in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """Return the page of all commands, each with its own help."""
    from nasvit.cli import COMMANDS

    parts = [
        "# Commands",
        "What `nasvit COMMAND --help` prints. Commands that read a YAML file take every field of that file as an "
        "option too: those of [an experiment](experiment.md) or of [one training](fit.md). `nasvit --version` prints "
        "the version; `nasvit --trust COMMAND ...` is explained in [security](../security.md).",
    ]
    for name in COMMANDS:
        parts += [f"## nasvit {name.replace('-', ' ')}", f"```text\n{help_of(name).strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def help_of(name: str) -> str:
    """Return what a command prints when it is asked for help, without colors."""
    from nasvit import cli

    words = ["nasvit", name, "--help"]
    screen = io.StringIO()
    plain = {"COLUMNS": str(_WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    with (
        patch.dict(os.environ, plain),
        patch("sys.argv", words),
        contextlib.redirect_stdout(screen),
        contextlib.suppress(SystemExit),
    ):
        cli.main()
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())


def fields_page(of: Literal["experiment", "fit"]) -> str:
    """Return the page of all fields that a YAML file of one kind may have."""
    from nasvit.experiment.config import Experiment
    from nasvit.experiment.training import FitConfig
    from nasvit.report.fields import list_fields

    title, command, cls = {
        "experiment": ("Fields of an experiment", "nasvit run", Experiment),
        "fit": ("Fields of one training", "nasvit fit", FitConfig),
    }[of]
    parts = [
        f"# {title}",
        f"The fields of a file for `{command}`, as `nasvit fields {of}` lists them. `recipe.epochs` in this list is "
        "`recipe: {epochs: 20}` in the file and `--recipe.epochs 20` on the command line. A file may begin with "
        "`base: other.yaml` and say only what differs; `key: null` takes an inherited key out again.",
    ]
    section = ""
    for option, described in list_fields(cls).items():
        name = option.removeprefix("--")
        kind, _, text = described.partition("\n")
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            parts.append(f"## `{section}`")
        parts.append(f"**`{name}`** · {_shown(kind)}" + (f"\n<br>{_shown(text)}" if text else ""))
    return "\n\n".join(parts) + "\n"


REFERENCE: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/experiment.md": partial(fields_page, "experiment"),
    "reference/fit.md": partial(fields_page, "fit"),
}
"""Pages that are made from the code: page -> what makes it."""


def _shown(text: str) -> str:
    """Return words as Markdown that shows them as they are."""
    parts = re.split(r"(`[^`]*`)", text.replace("\n", "\n<br>"))
    return "".join(
        part if part.startswith("`") else re.sub(r"(?<!\n)<(?!br>)", "&lt;", part).replace("*", r"\*") for part in parts
    )
