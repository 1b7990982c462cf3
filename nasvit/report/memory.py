"""Memory of networks and exported files, looked at in an interpreter of its own that has run nothing else.

``python -m nasvit.report.memory`` reads paths, threads and width as JSON and answers with bytes by path.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nasvit.export.memory import added_memory
from nasvit.trust import trust_everything, trusts_everything


def memory_of(paths: Sequence[Path], threads: int, width: float | None) -> dict[str, int | None]:
    """Return the bytes that loading each network and running one image adds to a process that has its runtime already.

    Args:
        paths: saved networks and exported files.
        threads: threads of one operation.
        width: width of saved networks with several.

    Returns:
        Bytes by path; None where this system does not tell, or the network cannot be run.
    """
    told = {"threads": threads, "width": width, "trust": trusts_everything()}
    asked = json.dumps({"paths": list(map(str, paths)), **told})
    words = [sys.executable, "-m", "nasvit.report.memory"]
    done = subprocess.run(words, input=asked, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        return dict.fromkeys(map(str, paths))
    answer: dict[str, int | None] = json.loads(done.stdout.strip().rpartition("\n")[2])  # runtimes may print, too
    return answer


def main() -> None:
    """Answer one question."""
    import torch

    from nasvit.report.shipping import one_image

    asked = json.load(sys.stdin)
    if asked["trust"]:
        trust_everything()
    torch.set_num_threads(asked["threads"])
    found = {
        path: added_memory(partial(one_image, Path(path), asked["threads"], asked["width"])) for path in asked["paths"]
    }
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
