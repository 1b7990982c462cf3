"""What a comparison shows of released cases, and faults that must make them fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nasvit.elastic.transformer import SwitchableScale
from nasvit.layers import Attention, PoolShortcut
from nasvit.layers.activation import HardSigmoid
from search_spaces.published import load, names
from tests.parity.__main__ import compare
from tests.parity.golden import GOLDEN
from tests.parity.published import count
from tests.parity.rows import Row


def subset(folder: Path, file: str, field: str, keep: Callable[[dict[str, Any]], bool]) -> Path:
    """Write those cases of a golden file under a name that no golden file has, without a layout beside it."""
    content = json.loads((GOLDEN / file).read_text())
    content[field] = [case for case in content[field] if keep(case)]
    path = folder / ("held_out_" + Path(file).name)
    path.write_text(json.dumps(content))
    return path


def assert_passed(rows: list[Row]) -> None:
    assert rows and all(row.status == "pass" for row in rows), [row for row in rows if row.status != "pass"]


def test_the_smallest_nasvit_is_reproduced_in_three_modes_with_every_block_and_its_cost(tmp_path: Path) -> None:
    rows = list(compare(subset(tmp_path, "nasvit/cases.json", "cases", lambda c: c["name"] == "p00_min")))
    assert [row.case for row in rows] == [
        "p00_min train_bn and trace",
        "p00_min eval_bn and trace",
        "p00_min calibrated_eval",
        "p00_min cost",
    ]
    assert_passed(rows)


def test_a_case_that_cannot_be_built_fails_and_does_not_hide_the_next_one(tmp_path: Path) -> None:
    path = subset(tmp_path, "nasvit/cases.json", "cases", lambda c: c["name"] in ("p00_min", "p08_min_from224"))
    content = json.loads(path.read_text())
    content["cases"][0]["config"]["width"][1] = 17
    path.write_text(json.dumps(content))
    first, *rest = compare(path)
    assert (first.case, first.status) == ("p00_min", "fail") and "17" in first.note
    assert [row.case.split()[0] for row in rest] == ["p08_min_from224"] * 3


@pytest.mark.parametrize("name", names())
def test_the_counts_in_the_files_of_published_networks_are_those_of_the_code(name: str) -> None:
    published = load(name)
    assert published.counted == count(published)


def wrong_scale(patch: pytest.MonkeyPatch) -> None:
    """Take the scales of the next depth."""
    right = SwitchableScale.at
    patch.setattr(SwitchableScale, "at", lambda self, row, column, channels: right(self, row + 1, column, channels))


def wrong_head_mixing(patch: pytest.MonkeyPatch) -> None:
    """Mix heads after the softmax as before it, and the other way round."""
    right = Attention.forward

    def forward(self: Attention, tokens: Tensor) -> Tensor:
        self.mix_logits, self.mix_weights = self.mix_weights, self.mix_logits
        return right(self, tokens)

    patch.setattr(Attention, "forward", forward)


def wrong_gate(patch: pytest.MonkeyPatch) -> None:
    """Gate with a sigmoid that is not hard."""
    patch.setattr(HardSigmoid, "forward", lambda self, x: torch.sigmoid(x))


def wrong_pooling(patch: pytest.MonkeyPatch) -> None:
    """Leave the padding out of the mean."""
    right = F.avg_pool2d
    patch.setattr(F, "avg_pool2d", lambda *args, **kwargs: right(*args, **kwargs, count_include_pad=False))
    assert PoolShortcut(2, None)(torch.ones(1, 1, 3, 3)).min() == 1


@pytest.mark.parametrize("fault", [wrong_scale, wrong_head_mixing, wrong_gate, wrong_pooling])
def test_one_changed_detail_makes_cases_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Every fault fails in some unit, by far more than any rounding."""
    kept = ("mb7_se_down_9to5", "tr37_c208_3x3_d3", "first_conv_c16")
    path = subset(tmp_path, "nasvit/units.json", "units", lambda unit: unit["name"] in kept)
    fault(monkeypatch)
    rows = {row.case: row for row in compare(path)}
    assert rows["first_conv_c16"].status == "pass"
    failed = [row for row in rows.values() if row.status == "fail"]
    assert len(failed) == 1 and failed[0].deviation > 1e-3
