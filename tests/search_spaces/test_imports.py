from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import search_spaces
search_spaces.load("nasvit").smallest.to_json()
search_spaces.load_recipes("fbnetv3")
loaded = [name for name in ("torch", "scipy", "sklearn", "nasvit", "predictors") if name in sys.modules]
sys.exit(", ".join(loaded) or 0)
"""


def test_search_spaces_loads_neither_torch_nor_the_packages_that_build_on_it() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
