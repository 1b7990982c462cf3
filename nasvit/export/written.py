"""What this user wrote on this machine: files that may start code are known again by their SHA-256.

The list is a file in the user's cache folder. Without it, as on another machine, such files need ``--trust``.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nasvit.files.whole import cache_folder, sha256_of
from nasvit.trust import trusts_everything

_LIST = "written.txt"


def remember(path: Path) -> None:
    """Remember a file that was written here."""
    with suppress(OSError, RuntimeError):  # what cannot be remembered has to be trusted by hand
        cache_folder().mkdir(parents=True, exist_ok=True)
        with (cache_folder() / _LIST).open("a", encoding="ascii") as known:
            known.write(f"{sha256_of(path)}\n")


def is_trusted(path: Path) -> bool:
    """Return whether a file was written here as it is, or the user trusts everything."""
    if trusts_everything():
        return True
    try:
        return sha256_of(path) in (cache_folder() / _LIST).read_text(encoding="ascii").split()
    except (OSError, RuntimeError, ValueError):
        return False
