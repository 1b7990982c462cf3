"""The frame: which files are cases, how deviations are measured, what the command prints and returns."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from tests.parity.__main__ import main
from tests.parity.files import case_files, read
from tests.parity.kinds import nasvit_train_step
from tests.parity.rows import Comparison

PROJECTION = {
    "cases": [
        {
            "name": "opposed",
            "grad_supernet": [[1.0, -2.0]],
            "grad_subnets": [[0.0, 1.0]],
            "zero_grad": "zeros",
            "out": {"proj_student=True": [[1.0, -1.0]]},
        }
    ]
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_layouts_and_texts_are_no_cases(tmp_path: Path) -> None:
    for name in ("rule.md", "state_dict_layout.json", "x_layouts.json.gz", "b.json", "a.json", "other.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in case_files([tmp_path])] == ["a.json", "b.json", "other.txt"]
    assert list(case_files([tmp_path / "a.json"])) == [tmp_path / "a.json"]


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.json.gz", "wt") as file:
        json.dump({"cases": []}, file)
    assert read(tmp_path / "a.json.gz") == {"cases": []}


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_is_no_json_object_fails(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(text)
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.endswith("0 passed, 1 failed\n")


def test_a_file_of_unknown_kind_fails_and_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "projection.json", PROJECTION)
    write(tmp_path / "mystery.json", {"numbers": [1, 2]})
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "mystery.json is of no known kind (its keys: numbers)" in out
    assert out.endswith("0 differ by design\n1 passed, 1 failed\n")


def test_the_exit_status_is_zero_only_if_something_passed_and_nothing_failed(tmp_path: Path) -> None:
    assert main([str(write(tmp_path / "p.json", PROJECTION))]) == 0
    wrong = json.loads(json.dumps(PROJECTION).replace("[1.0, -1.0]", "[1.0, -1.1]"))
    assert main([str(write(tmp_path / "p.json", wrong))]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1


def test_a_difference_by_design_counts_as_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = {**PROJECTION["cases"][0], "zero_grad": "none", "grad_subnets": [None]}
    write(tmp_path / "p.json", {"cases": [*PROJECTION["cases"], case]})
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "differs  (the release doubles gradients" in out
    assert out.endswith("1 differ by design\n1 passed, 0 failed\n")


def test_a_path_that_does_not_exist_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "absent")])
    assert "there is no file or folder" in capsys.readouterr().err


def test_lists_deviate_relative_to_their_largest_magnitude() -> None:
    comparison = Comparison("case", 1e-3)
    comparison.values("list", [100.0, 0.05], torch.tensor([100.0, 0.0]))
    assert comparison.row().deviation == pytest.approx(5e-4)
    assert comparison.row().status == "pass"


def test_sums_deviate_relative_to_the_norm() -> None:
    comparison = Comparison("case", 1e-3)
    comparison.total("sum", 0.02, 0.0, norm=10.0)
    assert (comparison.row().deviation, comparison.row().status) == (pytest.approx(2e-3), "fail")
    assert comparison.row().note == "sum"


def test_counts_must_be_equal() -> None:
    comparison = Comparison("case", 1e-3)
    comparison.exact("argmax", torch.tensor([1, 2]), [1, 3])
    assert comparison.row().status == "fail"
    assert comparison.row().note == "argmax: [1, 2] instead of [1, 3]"


@pytest.mark.parametrize("ours", [[1.0, math.nan], [1.0, 2.0, 3.0]])
def test_a_nan_or_another_shape_never_passes(ours: list[float]) -> None:
    comparison = Comparison("case", 1e9)
    comparison.values("list", ours, [1.0, 2.0])
    assert comparison.row().status == "fail"


def test_a_case_without_anything_to_compare_fails() -> None:
    assert Comparison("case", 1e-9).row().status == "fail"


def test_noise_that_cancels_to_nothing_is_noise_where_a_subnet_computed_it() -> None:
    gradients = [torch.zeros(3), torch.full((3,), 1e-19), torch.zeros(3), torch.ones(3), torch.zeros(3)]
    names = ["cancelled.bias", "rest.bias", "nobodys.weight", "alive.weight", "attn.k.linear.bias"]
    assert nasvit_train_step._noise(gradients, [True, True, False, True, True], names) == names[:2]
