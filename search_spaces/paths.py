"""Paths as people write them: with ``~`` for a home and with environment variables."""

from __future__ import annotations

import os
import re

_HOME = re.compile(r"(^|[=:])(~[^/:=\s]*)(?=/|$)")  # also behind an option, --output=~/runs, and a kind, coco:~/photos
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def expanded(text: str) -> str:
    """Return a text with homes and environment variables in their place; what is not known stays, and so do URLs."""
    if "://" in text or not ("~" in text or "$" in text):
        return text
    return _HOME.sub(lambda found: found[1] + os.path.expanduser(found[2]), os.path.expandvars(text))


def unset(text: str) -> str:
    """Return what a message about a missing path adds where environment variables in it are not set; mostly nothing."""
    names = dict.fromkeys(one or other for one, other in _VARIABLE.findall(text) if (one or other) not in os.environ)
    return f"; the environment variable {', '.join(names)} is not set" if names else ""
