"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "optuna", "pandas", "matplotlib", "sklearn", "scipy", "tyro", "datasets")


@pytest.mark.parametrize("package", ["nasvit", "predictors"])
def test_importing_the_package_loads_no_heavy_and_no_optional_package(package: str) -> None:
    program = f"import sys, {package}; sys.exit(', '.join(n for n in {HEAVY} if n in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_imported() -> None:
    import nasvit

    assert all(callable(getattr(nasvit, name)) for name in nasvit.__all__)
    assert sorted(nasvit._PLACES) == sorted(nasvit.__all__)


def test_a_name_that_is_not_public_is_refused_in_words() -> None:
    import nasvit

    with pytest.raises(AttributeError, match=r"module 'nasvit' has no attribute 'Supernett'; public: Card, "):
        nasvit.Supernett  # noqa: B018
