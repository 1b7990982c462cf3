"""The documentation is true where a machine can tell: files load, snippets run, commands parse, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

import pytest
import tyro
import yaml

import nasvit
import search_spaces
from nasvit import cli
from nasvit.experiment.config import Experiment
from nasvit.experiment.training import FitConfig
from nasvit.options import take_overrides
from nasvit.report.fields import list_fields
from search_spaces import Space

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MOST_LINES = 25  # of a snippet that is run whole


class Block(NamedTuple):
    """A block of a page: its language, its text, and where it stands."""

    language: str
    text: str
    where: str


def hooks() -> ModuleType:
    """The module that makes pages when the documentation is built."""
    spec = importlib.util.spec_from_file_location("documentation_hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def blocks(language: str) -> list[Block]:
    found = []
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(language, match[1], f"{path.relative_to(ROOT)}:{line}"))
    return found


def each(language: str) -> Any:
    return pytest.mark.parametrize("block", blocks(language), ids=lambda block: block.where)


def kind_of(text: str) -> Any:
    """The kind of file that a block of YAML shows; None: a part of one."""
    keys = set(yaml.safe_load(text))
    if "stages" in keys:
        return Space
    return Experiment if "search" in keys and "data" in keys else FitConfig if "recipe" in keys else None


def whole(text: str) -> str:
    """A file around a part of one, which says nothing else that is needed."""
    rest = {
        "space": "micro32",
        "data": {"source": "x"},
        "finetune": {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1, "batch_size": 8},
    }
    given = yaml.safe_load(text)
    return yaml.safe_dump({**rest, "search": {"budgets": ["macs<=3M"]}, **given})


@each("yaml")
@pytest.mark.parametrize("comments", ["as comments", "as text"])
def test_every_yaml_file_loads_with_and_without_what_is_commented_out(
    block: Block, comments: str, tmp_path: Path
) -> None:
    text = block.text
    if comments == "as text":
        text = re.sub(r"^# (?=\w+: )", "", text, flags=re.MULTILINE)
        if re.search(r"^# branches: ", block.text, re.MULTILINE):
            text = re.sub(r"^netaug: .*\n", "", text, flags=re.MULTILINE)  # stands there instead of branches
        if text == block.text:
            return
    kind = kind_of(text)
    file = tmp_path / "shown.yaml"
    file.write_text(text if kind is not None else whole(text), encoding="utf-8")
    if kind is Space:
        space = search_spaces.load(file)
        assert space.smallest != space.largest
    else:
        assert (kind or Experiment).load(file)


@each("python")
def test_every_import_is_there_and_short_snippets_run(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    optional = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    missing = [name for name in optional if importlib.util.find_spec(name) is None]
    assert set(missing) <= {"coremltools"}  # which runs on other machines
    if missing:
        return
    assert imports
    runs = stands_alone(tree) and block.text.count("\n") <= MOST_LINES
    body = tree.body if runs else imports
    if "export_program" in block.text:  # the whole loop, in a space and on images that take a tenth of the time
        body = ast.parse(block.text.replace("micro32", "micro8").replace("3, 32, 32", "1, 8, 8")).body
    exec(compile(ast.Module(body, type_ignores=[]), block.where, "exec"), {})


def stands_alone(tree: ast.Module) -> bool:
    """Whether a snippet uses nothing that a reader has to bring along, such as images or a folder of weights."""
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound = {
        (a.asname or a.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for a in node.names
    }
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    files = any(
        isinstance(node, ast.Constant) and str(node.value).startswith(("runs/", "program.pt2"))
        for node in ast.walk(tree)
    )
    return not files and loaded <= stored | bound | set(
        dir(__builtins__) if inspect.ismodule(__builtins__) else __builtins__
    )


def command_lines() -> Iterator[tuple[str, str]]:
    """Every line of an indented block or of a block of bash that calls nasvit, from its name on."""
    for path in WRITTEN:
        lines = path.read_text(encoding="utf-8").splitlines()
        fenced, number = False, 0
        while number < len(lines):
            line, start = lines[number], number + 1
            fenced = fenced != line.startswith("```")
            while line.endswith("\\") and number + 1 < len(lines):
                number += 1
                line = line[:-1] + lines[number]
            number += 1
            if not (line.startswith("    ") or fenced):
                continue
            for part in line.split(" && "):
                match = re.match(r"\s*(?:srun .*?)?(?:torchrun .*?-m )?nasvit (.*)$", part)
                if match:
                    yield f"{path.relative_to(ROOT)}:{start}", match[1]


def words_of(line: str) -> list[str]:
    """The words of a command line without its comment; of alternatives in it the first ones."""
    words = shlex.split(line, comments=True)
    while "|" in words:
        place = words.index("|")
        del words[place : place + 2]
    return [word for word in words if not word.startswith("[")]


def stub(name: str, called: list[Any]) -> Callable[..., None]:
    """A function that takes what a command takes and does nothing."""
    real = cli._latency_commands()[name] if name.startswith("latency") else cli.COMMANDS[name]

    def made(*given: Any, **named: Any) -> None:
        called.append((given, named))

    made.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
    made.__annotations__, made.__doc__ = get_type_hints(real, include_extras=True), real.__doc__
    return made


@cache
def fields(of: str) -> set[str]:
    listed = list_fields(Experiment if of == "experiment" else FitConfig)
    return {option.removeprefix("--") for option in listed}


def test_every_command_line_parses() -> None:
    lines = list(command_lines())
    assert len(lines) > 70
    wrong = []
    for where, line in lines:
        words = cli._joined(words_of(line))
        if words in (["--version"],) or words[0] == "--trust":
            continue
        name = words[0]
        if name not in cli.COMMANDS:
            wrong.append(f"{where}: {name} is no command")
            continue
        left, overrides = take_overrides(words[1:]) if name in cli.FILE_COMMANDS else (words[1:], ())
        known = fields(cli.FILE_COMMANDS[name][0]) if overrides else set()
        wrong += [f"{where}: no field {field}" for field, _ in overrides if re.sub(r"\.\d+$", "", field) not in known]
        called: list[Any] = []
        try:
            tyro.cli(stub(name, called), args=left, console_outputs=False)
        except SystemExit as end:
            if end.code:
                wrong.append(f"{where}: nasvit {line}")
            continue
        assert called
    assert not wrong, "\n".join(wrong)


LINK = re.compile(r"!?\[[^\]]*\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)")


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}


def test_every_link_leads_to_a_page_and_to_a_heading_of_it() -> None:
    made = hooks().REFERENCE
    wrong = []
    for path in [
        *WRITTEN,
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "imagenet" / "README.md",
        *sorted(DOCS.rglob("*.ipynb")),
    ]:
        text = hooks().notebook_page(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        for target, anchor in LINK.findall(text):
            file = (path.parent / target).resolve() if target else path
            if file.is_relative_to(DOCS) and str(file.relative_to(DOCS)) in made:
                continue
            if not file.exists():
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
            elif anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
                wrong.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert not wrong, "\n".join(wrong)


def test_every_file_that_code_and_pages_name_is_there() -> None:
    sources = [
        path
        for folder in ("nasvit", "predictors", "search_spaces", "experiments")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    ]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in [*sources, *WRITTEN]
        for name in re.findall(
            r"(?<![\w/.])(?:docs|experiments|examples|tests)/[\w/]+\.(?:md|py|yaml|txt)\b",
            path.read_text(encoding="utf-8"),
        )
        if not (ROOT / name).exists()
    }
    assert not wrong


def documented(page: str) -> list[str]:
    return re.findall(r"^::: (\S+)$", (DOCS / "reference" / page).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("package", [nasvit, search_spaces], ids=lambda package: package.__name__)
def test_the_reference_has_all_public_names_and_no_others(package: ModuleType) -> None:
    name = package.__name__
    listed = documented(f"{name}.md")
    assert sorted(listed) == sorted(f"{name}.{each}" for each in package.__all__)


def test_what_snippets_import_is_in_the_reference() -> None:
    known = {*documented("nasvit.md"), *documented("search_spaces.md"), *documented("pieces.md")}
    for name in known:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    used = {
        f"{node.module}.{alias.name}"
        for block in blocks("python")
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.ImportFrom)
        and str(node.module).partition(".")[0] in ("nasvit", "predictors", "search_spaces")
        for alias in node.names
    }
    assert used <= known, used - known


def test_pages_that_are_made_have_every_command_and_every_field() -> None:
    made = hooks()
    for of in ("experiment", "fit"):
        page = made.fields_page(of)
        assert all(f"**`{field}`**" in page for field in fields(of))
    assert "usage: nasvit doctor" in made.help_of("doctor")
    start = made.within_docs("[a](guides/dense.md) [b](experiments/dense.yaml) [c](../LICENSE)", "index.md")
    assert start == "[a](guides/dense.md) b c"


def test_the_menu_has_every_page() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | set(hooks().made_pages())
    assert not [page for page in sorted(pages) if page not in menu]


def test_every_statement_about_security_names_tests_that_there_are() -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / "security.md").read_text(encoding="utf-8"))
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 20 and set(named) <= there, set(named) - there
