"""What importing the package loads, and what its public names say to what they do not take."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

HEAVY = ("torch", "torchvision", "timm", "optuna", "pandas", "matplotlib", "sklearn", "scipy", "tyro", "datasets")


@pytest.mark.parametrize("package", ["nasvit", "predictors"])
def test_importing_the_package_loads_no_heavy_and_no_optional_package(package: str) -> None:
    program = f"import sys, {package}; sys.exit(', '.join(n for n in {HEAVY} if n in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_start_without_what_only_some_of_them_need() -> None:
    modules = "nasvit.experiment.pipeline, nasvit.report.predicting, nasvit.report.shipping, nasvit.report.suggest"
    slow = ("torchvision", "timm", "torch._dynamo", "pandas", "sklearn", "scipy.stats", "datasets")  # seconds together
    program = f"import sys, {modules}; sys.exit(', '.join(n for n in {slow} if n in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_times_files_on_a_phone_starts_without_torch_because_it_starts_for_every_file() -> None:
    program = "import sys, nasvit.costs.latency.android; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_public_name_can_be_imported() -> None:
    import nasvit

    assert all(callable(getattr(nasvit, name)) for name in nasvit.__all__)
    assert sorted(nasvit._PLACES) == sorted(nasvit.__all__)


def test_a_name_that_is_not_public_is_refused_in_words() -> None:
    import nasvit

    with pytest.raises(AttributeError, match=r"module 'nasvit' has no attribute 'Supernett'; public: Card, "):
        nasvit.Supernett  # noqa: B018


def test_the_package_tells_its_version() -> None:
    import nasvit

    assert nasvit.__version__ == metadata.version("nasvit")


def test_what_is_given_in_another_form_is_refused_with_the_way_out() -> None:
    import torch

    import nasvit
    from nasvit.supernets import SlimmableNetwork, augment

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images = torch.rand(4, 3, 2, 2)
    for given, way_out in [
        (lambda: nasvit.count(network, (3, 2, 2)), r"count\(network, 3, 224, 224\)"),
        (lambda: nasvit.Supernet(network, classes=3), r"nasvit\.elasticize\(network, image\)"),
        (lambda: SlimmableNetwork(network, [1.0], 3), r"nasvit\.slimmable\(network, image, widths\)"),
        (lambda: augment(network), "netaug: in a file of nasvit fit"),
        (lambda: nasvit.calibrate(network, images), r"give it a list of such: \[images\]"),
        (lambda: nasvit.evaluate(network, [(images, torch.rand(4, 3))]), "give the likeliest class"),
    ]:
        with pytest.raises(ValueError, match=way_out):
            given()
