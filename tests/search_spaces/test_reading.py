from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from search_spaces.reading import from_node, load_yaml, read_text
from search_spaces.recipe import Recipe


@dataclass(frozen=True)
class Inner:
    size: int
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.0
    exact: int | float | None = None
    sizes: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")
    flag: bool = False
    where: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=lambda: Inner(1))
    many: tuple[Inner, ...] = ()
    mixed: str | tuple[int, ...] | Inner = ""


@dataclass(frozen=True)
class Trained:
    recipe: Recipe = Recipe("sgd", learning_rate=0.1, epochs=1, batch_size=8)


def test_all_keys_that_are_missing_are_named_at_once() -> None:
    said = (
        r"f\.yaml:1: recipe: the key 'optimizer' is missing; it is sgd, .*; 'learning_rate', 'batch_size' too; "
        "give all of it, which takes the place of the whole default"
    )
    with pytest.raises(ValueError, match=said):
        from_node(Trained, read_text("recipe: {epochs: 3}\n", "f.yaml"))


def test_homes_and_variables_are_in_their_place_in_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    read = outer("where: ~/runs\npair: [1, $DATA/x]\nmixed: coco:~/photos\n")
    assert (read.where, read.pair, read.mixed) == (Path("/home/me/runs"), (1, "/data/x"), "coco:/home/me/photos")
    for text in ("--output=~/runs", "$NOWHERE/x", "a~b", "costs $5", "postgresql://me:$DATA@there/~/name", "x ~/y"):
        expected = {"--output=~/runs": "--output=/home/me/runs"}.get(text, text)
        assert outer(f"mixed: {text!r}").mixed == expected


def outer(text: str) -> Outer:
    return from_node(Outer, read_text("name: x\n" + text, "f.yaml"))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("rate: 3", "rate", 3.0),
        ("rate: 1e-4", "rate", 1e-4),
        ("exact: 3", "exact", 3),
        ("exact: 3.5", "exact", 3.5),
        ("exact: null", "exact", None),
        ("sizes: [1, 2]", "sizes", (1, 2)),
        ("sizes: 7", "sizes", (7,)),
        ("pair: [1, one]", "pair", (1, "one")),
        ("flag: true", "flag", True),
        ("where: data/x", "where", Path("data/x")),
        ("where: ~", "where", None),
        ("weights: {a: 1, b: 0.5}", "weights", {"a": 1.0, "b": 0.5}),
        ("inner: {size: 3, kind: b}", "inner", Inner(3, "b")),
        ("many: [{size: 1}, {size: 2}]", "many", (Inner(1), Inner(2))),
        ("mixed: no", "mixed", "no"),
        ("mixed: '3'", "mixed", "3"),
        ("mixed: 3", "mixed", (3,)),
        ("mixed: [3, 4]", "mixed", (3, 4)),
        ("mixed: {size: 1}", "mixed", Inner(1)),
        ("sizes: [012]", "sizes", (12,)),
    ],
)
def test_yaml_becomes_typed_values(text: str, name: str, value: Any) -> None:
    found = getattr(outer(text), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rat: 3", r"f\.yaml:2: rat: unknown key; did you mean 'rate'\? legal: name, rate, exact"),
        ("inner:\n  size: 1\n  kindd: a", r"f\.yaml:4: inner\.kindd: unknown key; did you mean 'kind'\?"),
        ("inner:\n  kind: a", r"f\.yaml:3: inner: the key 'size' is missing; it is a whole number"),
        ("inner: {size: 1, kind: c}", r"f\.yaml:2: inner\.kind: is 'c'; .*legal: a, b"),
        ("many:\n  - {size: 1}\n  - {size: 1.5}", r"f\.yaml:4: many\[1\]\.size: is 1\.5; legal: a whole number"),
        ("flag: yes", r"f\.yaml:2: flag: is 'yes'; legal: true or false"),
        ("flag: 1", r"f\.yaml:2: flag: is 1; legal: true or false"),
        ("rate: true", r"f\.yaml:2: rate: is True; legal: a number"),
        ("rate: fast", r"f\.yaml:2: rate: is 'fast'; legal: a number"),
        ("exact: [1]", r"f\.yaml:2: exact: is a list; legal: a whole number or a number or null"),
        ("sizes: []", r"f\.yaml:2: sizes: is empty; fill it or leave its key out"),
        ("sizes:\n  - 1\n  - two", r"f\.yaml:4: sizes\[1\]: is 'two'; legal: a whole number"),
        ("sizes: {a: 1}", r"f\.yaml:2: sizes: is a mapping; legal: a list of \[a whole number, \.\.\.\]"),
        ("pair: [1]", r"f\.yaml:2: pair: has 1 entries; legal: 2"),
        ("pair: 1", r"f\.yaml:2: pair: is 1; legal: a list of \[a whole number, text\]"),
        ("weights: 3", r"f\.yaml:2: weights: is 3; legal: a mapping from names to a number"),
        ("inner: 3", r"f\.yaml:2: inner: is 3; legal: a mapping of size, kind"),
        ("rate: 1\nrate: 2", r"f\.yaml:3: the key 'rate' stands here again; first on line 2"),
        ("1: 2", r"f\.yaml:2: the key '1' is not text; quote it"),
        ("rate: !mine x", r"f\.yaml:2: rate: the tag !mine is not supported; remove it"),
        ("sizes: &a [*a]", r"f\.yaml:2: sizes\[0\]: the alias holds itself"),
        ("sizes: [1", r"f\.yaml:\d+: not YAML"),
        ("rate: *nothing", r"f\.yaml:2: not YAML: found undefined alias"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_path(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        outer(text)


def test_a_little_text_makes_no_large_tree(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(ValueError, match=r"f\.yaml:\d+: .*: is one value of more than 10000; an alias"):
        read_text("\n".join(laughs), "f.yaml")
    with pytest.raises(ValueError, match=r"f\.yaml: has more than 32 levels"):
        read_text("[" * 5000 + "]" * 5000, "f.yaml")


def test_a_message_does_not_repeat_all_of_a_long_value() -> None:
    with pytest.raises(ValueError, match=r"^f\.yaml:1: a: .*x \.\.\. x.* is wrong$") as found:
        raise read_text("a: 1", "f.yaml").find(("a",)).error(f"{'x' * 9999} is wrong")
    assert len(str(found.value)) < 1100


def test_an_empty_file_and_a_list_at_the_top_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"empty\.yaml: the file is empty"):
        load_yaml(Outer, tmp_path / "empty.yaml")
    with pytest.raises(ValueError, match=r"f\.yaml:1: is a list; legal: a mapping of name, rate"):
        from_node(Outer, read_text("[1]", "f.yaml"))


@dataclass(frozen=True)
class Circle:
    radius: float
    kind: Literal["circle"] = "circle"


@dataclass(frozen=True)
class Square:
    side: float = 1.0
    kind: Literal["square", "box"] = "square"


@dataclass(frozen=True)
class Meters:
    value: float

    @classmethod
    def parse(cls, text: str) -> Meters:
        if not text.endswith("m"):
            raise ValueError(f"{text!r} has no unit; write 5m")
        return cls(float(text[:-1]))


@dataclass(frozen=True)
class Drawing:
    shape: Circle | Square | None = None
    shapes: tuple[Circle | Square, ...] = ()
    either: str | Meters | Circle | Square = ""
    size: Meters | int | None = None
    sizes: tuple[Meters, ...] = ()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("shape: {kind: circle, radius: 2}", "shape", Circle(2.0)),
        ("shape: {kind: square}", "shape", Square()),
        ("shape: {side: 2, kind: box}", "shape", Square(2.0, "box")),
        ("shape: box", "shape", Square(kind="box")),
        ("shape: null", "shape", None),
        ("shapes: [square, {kind: circle, radius: 1}]", "shapes", (Square(), Circle(1.0))),
        ("shapes: square", "shapes", (Square(),)),
        ("either: square", "either", "square"),
        ("either: {kind: square}", "either", Square()),
        ("either: {value: 3}", "either", Meters(3.0)),
        ("size: 3m", "size", Meters(3.0)),
        ("size: 3", "size", 3),
        ("size: {value: 3}", "size", Meters(3.0)),
        ("sizes: [1m, 2m]", "sizes", (Meters(1.0), Meters(2.0))),
        ("sizes: 1m", "sizes", (Meters(1.0),)),
    ],
)
def test_a_choice_is_made_by_its_kind_and_a_text_is_parsed(text: str, name: str, value: Any) -> None:
    assert getattr(from_node(Drawing, read_text(text, "f.yaml")), name) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shape:\n  radius: 2", r"f\.yaml:2: shape: the key 'kind' is missing; legal: circle, square, box"),
        ("shape: {kind: cirle}", r"f\.yaml:1: shape\.kind: is 'cirle'; did you mean 'circle'\? legal: circle, square"),
        ("shape: {kind: [circle]}", r"shape\.kind: is a list; legal: circle, square, box"),
        ("shape: {kind: square, radius: 1}", r"shape\.radius: unknown key; legal: side, kind"),
        ("shape: cirle", r"f\.yaml:1: shape: is 'cirle'; did you mean 'circle'\? legal: circle, square, box"),
        ("shape: circle", r"f\.yaml:1: shape: the key 'radius' is missing; it is a number"),
        ("shape: 3", r"shape: is 3; legal: one of circle, square, box or null"),
        ("sizes: [1m, 2]", r"f\.yaml:1: sizes\[1\]: is 2; legal: a mapping of value"),
        ("sizes: [1m, 2k]", r"f\.yaml:1: sizes\[1\]: '2k' has no unit; write 5m"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_node(Drawing, read_text(text, "f.yaml"))


def test_an_error_of_the_dataclass_itself_is_given_file_and_line() -> None:
    @dataclass(frozen=True)
    class Positive:
        size: int

        def __post_init__(self) -> None:
            if self.size < 1:
                raise ValueError("size must be positive")

    with pytest.raises(ValueError, match=r"f\.yaml:2: size must be positive"):
        from_node(Positive, read_text("\nsize: 0", "f.yaml"))


def test_a_field_type_the_reader_cannot_build_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Unreadable:
        value: complex

    with pytest.raises(TypeError, match="cannot read fields of type"):
        from_node(Unreadable, read_text("value: 1", "f.yaml"))
