"""Made folders are read rightly or refused in words, and the benchmark notices where they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.benchmarks.chaos import folders
from experiments.benchmarks.chaos.folders import RIGHT, Recipe, attempt, make_recipe, plan_of
from experiments.benchmarks.chaos.made.kinds import KINDS
from experiments.benchmarks.chaos.made.layouts import LAYOUTS
from experiments.benchmarks.chaos.outcomes import REFUSED
from nasvit.data import decoding, files

SOME = (
    Recipe(3, 1, "parts", ("on_bad_image: skip", "picture: turned", "bad: cut off", "another case", "links"), False),
    Recipe(3, 2, "classes", ("names", "bad: text", "hidden files", "deep"), False),
    Recipe(3, 3, "tar", ("older members",), False),
    Recipe(3, 4, "coco", ("picture: opacity", "boxes partly outside", "crowds", "marked text"), False),
    Recipe(3, 5, "yolo", ("damaged lines",), False),
    Recipe(3, 6, "masks of colors", ("masks of other kinds", "unused masks"), False),
)
ENDS = (RIGHT, REFUSED, RIGHT, RIGHT, REFUSED, RIGHT)


def test_some_made_folders_are_read_rightly_or_refused_in_words(tmp_path: Path) -> None:
    outcomes = [attempt(recipe, tmp_path / "w") for recipe in SOME]
    assert [each.how for each in outcomes] == [*ENDS], [each for each in outcomes if each.how not in ENDS]
    assert "it is no image of a known format" in outcomes[1].told


def test_a_folder_follows_from_its_recipe_and_every_layout_has_its_kinds() -> None:
    recipe = make_recipe(0, 7)
    assert recipe == make_recipe(0, 7)
    first, again = (plan_of(recipe) for _ in range(2))
    assert [each.path for each in first.samples] == [each.path for each in again.samples]
    assert {layout for kind in KINDS.values() for layout in kind.layouts} == {*LAYOUTS}


WRONG: dict[str, tuple[str, tuple[str, ...], object, str, Callable[..., object], str]] = {
    "pixels": ("classes", ("picture: turned",), decoding, "orientation", lambda image: 1, "pixels that no image has"),
    "silence": ("parts", ("loose images",), files, "_remark_loose", lambda *_: None, "left out without a word"),
}


@pytest.mark.parametrize(("layout", "kinds", "module", "name", "wrong", "place"), WRONG.values(), ids=WRONG)
def test_a_library_that_does_wrong_is_noticed(
    layout: str,
    kinds: tuple[str, ...],
    module: object,
    name: str,
    wrong: Callable[..., object],
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, wrong)
    outcome = attempt(Recipe(3, 8, layout, kinds, False), tmp_path / "w")
    assert outcome.how == folders.WRONG and place in outcome.place
