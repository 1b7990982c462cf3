"""The command line: what it prints, and that a mistake is one line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import search_spaces
from nasvit import cli
from nasvit.costs.counting import count
from nasvit.costs.tables import cost_table
from nasvit.experiment import fit as fitting
from nasvit.experiment import pipeline
from nasvit.export.saved import save_network
from nasvit.registry import create
from nasvit.report import spaces as spaces_report
from nasvit.report.profile import blocks
from nasvit.training.progress import Progress
from search_spaces.schedule import Step
from tests.nasvit.experiment.tiny import write_experiment
from tests.nasvit.filled import filled


def nasvit(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nasvit", *words])
    monkeypatch.setenv("COLUMNS", "200")
    cli.main()


def test_profile_prints_the_published_multiply_adds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nasvit(monkeypatch, "profile", "alphanet_a0")
    assert "203,389,568" in capsys.readouterr().out


def test_a_command_knows_homes_and_variables_that_the_shell_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", str(tmp_path / "out"))
    given: list[object] = []
    monkeypatch.setattr(fitting, "main", lambda *words: given.extend(words))
    nasvit(monkeypatch, "fit", "~/fit.yaml", "--output=$WHERE", "--data.source", "~/photos")
    assert given[:3] == [tmp_path / "fit.yaml", tmp_path / "out", (("data.source", str(tmp_path / "photos")),)]


def test_the_blocks_of_a_profile_add_up_to_the_whole_network() -> None:
    network = create("micro8:largest", 10).network
    costs = [cost for _, _, cost in blocks(network, 1, 8, 8)]
    space = search_spaces.load("micro8")
    whole = cost_table(space, 10).costs(space.encode([space.largest]))
    assert sum(cost.macs for cost in costs) == whole["macs"][0]
    assert sum(cost.params for cost in costs) == whole["params"][0]
    assert not next(network.parameters()).is_meta


@pytest.mark.parametrize("name", ["timm:test_resnet", "mobilenet_v2-0.25", "fbnetv3_a0"])
def test_the_parts_of_any_network_add_up_to_the_whole(name: str) -> None:
    network, card = create(name, 10)
    whole, costs = count(network, *card.shape), [cost for _, _, cost in blocks(network, *card.shape)]
    assert len(costs) > 3
    assert sum(cost.macs for cost in costs) == whole.macs
    assert sum(cost.params for cost in costs) == whole.params


def test_profile_reads_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, card = create("micro8:smallest", 7)
    save_network(network, tmp_path, card)
    nasvit(monkeypatch, "profile", str(tmp_path))
    assert f"{count(network, 1, 8, 8).macs:,}" in capsys.readouterr().out


def test_spaces_lists_every_space(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["micro32", "micro8"]
    monkeypatch.setattr(spaces_report.search_spaces, "names", lambda: names)  # the tables of large spaces take a while
    monkeypatch.setenv("COLUMNS", "200")
    cli.spaces()
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert "36,864" in printed


def test_commands_of_two_words_are_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        nasvit(monkeypatch, "latency", "build", "--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("--runtime", "--command", "--out"))
    with pytest.raises(SystemExit):
        nasvit(monkeypatch, "search", "worker", "nowhere.yaml")
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["profile", "alphanet_a9"], "alphanet_a9"),
        (["profile", "micro9:largest"], "micro9"),
        (["profile", "micro8:missing.json"], "missing.json"),
        (["run", "missing.yaml"], "there is no file missing.yaml"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, *words)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("nasvit: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_mistake_in_an_experiment_is_one_line_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, evaluations="  evaluation: 14")
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, "run", str(path), "--output", str(tmp_path / "out"))
    assert stop.value.code == 2
    assert "tiny.yaml:11: search.evaluation" in capsys.readouterr().err


def test_any_field_of_the_file_is_an_option_and_the_folder_records_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, out = write_experiment(tmp_path), tmp_path / "out"
    ran = []
    monkeypatch.setitem(pipeline.STAGES, "extract", ran.append)
    fields = ["--finetune.epochs", "20", "--search.budgets.0=macs<=200K", "--train.distill", "kl", "--seed=7"]
    nasvit(monkeypatch, "extract", *fields[:2], str(path), *fields[2:], "--output", str(out), "--note", "a: b")
    experiment = ran[0].experiment
    assert (experiment.finetune.recipe.epochs, experiment.search.budgets[0].text) == (20, "macs<=200K")
    assert (experiment.train.distill, experiment.seed, experiment.note) == ("kl", 7, "a: b")
    ran[0].images  # noqa: B018 - from here on the folder is the experiment's
    recorded = json.loads((out / "experiment.json").read_text())
    assert (recorded["finetune"]["recipe"]["epochs"], recorded["seed"], recorded["note"]) == (20, 7, "a: b")
    assert recorded["search"]["budgets"] == ["macs<=200K", "300K<=macs<=600K and params<=60K"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--finetune.epochz", "3"], "--finetune.epochz: unknown key; did you mean 'epochs'? legal: optimizer"),
        (
            ["--outputt", "x"],
            "--outputt: unknown key; did you mean 'output'? legal: task, head, class_weights, space, network",
        ),
        (["--finetune.epochs"], "--finetune.epochs needs a value, as in --finetune.epochs 20"),
        (["--compare.scratch", "--seed", "3"], "a switch needs true or false"),
        (["--search.budgets", "macs<3"], "--search.budgets: cannot read the limit 'macs<3'"),
    ],
)
@pytest.mark.parametrize("command", [["run"], ["train"], ["search", "worker"]])
def test_a_mistake_in_an_option_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: list[str],
    words: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, *command, str(write_experiment(tmp_path)), *words)
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and message in printed and printed.count("\n") == 1


def test_a_command_that_is_none_is_one_line_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, "trian", "x.yaml")
    printed = capsys.readouterr().err
    assert stop.value.code == 2 and printed.startswith("nasvit: there is no command 'trian'; did you mean 'train'?")
    assert printed.count("\n") == 1


def test_fit_takes_the_fields_of_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(fitting, "fit", lambda config, folder, compute: asked.append(config) or 1 / 0)
    path = tmp_path / "fit.yaml"
    path.write_text(
        "network: micro8:smallest\ndata: {source: digits}\n"
        "recipe: {optimizer: sgd, learning_rate: 0.1, epochs: 5, batch_size: 8}\n",
        encoding="utf-8",
    )
    with pytest.raises(ZeroDivisionError):
        nasvit(monkeypatch, "fit", str(path), "--recipe.schedule", "{kind: step, factor: 0.5}", "--netaug.weight=2")
    assert asked[0].recipe.schedule == Step(factor=0.5)
    assert asked[0].netaug.weight == 2


@pytest.mark.parametrize("command", [*(name.split("-") for name in cli.FILE_COMMANDS)])
def test_the_help_of_a_command_shows_two_fields_as_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit):
        nasvit(monkeypatch, *command, "--help")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Any field of the file is an option too" in printed
    assert all(" ".join(example.split()) in printed for example in cli.FILE_COMMANDS["-".join(command)][1:])


@pytest.mark.parametrize(
    ("of", "options"),
    [
        (
            "experiment",
            ["--finetune.schedule: one of cosine, linear", "--train.recipe.epochs: a whole number from 1 to 100000"],
        ),
        (
            "experiment",
            [
                "--train.project_from: a whole number from 0 to 100000; 0 if left out",
                "--train.teacher: text or a mapping\n",
                "--train.teacher.network: text or a list of [text, ...]",
                "--train.teacher.temperature: a number from 0.001 to 1000; 1.0 if left out",
                "--finetune.teacher.temperature: a number from 0.001 to 1000; 1.0 if left out",
                "--train.recipe.schedule.minimum: of cosine, linear: a number from 0 to 1000; 0.0 if left out",
                "--train.recipe.schedule.warmup_start: a number from 0 to 1000; 0.0 if left out",
                "--search.budgets: a list of [a text of Budget, ...]",
                "--train.recipe.clip_value: a number from 0 to 1000000; 0.0 if left out",
            ],
        ),
        (
            "fit",
            [
                "--netaug.phases.widths: a number from 0 to 1; 0.5 if left out",
                "--recipe.schedule.factor: of step: a number above 0 to 1; 0.1",
            ],
        ),
        (
            "fit",
            [
                "--head.anchor: of retinanet: a number from 0.001 to 1000; 4.0 if left out",
                "    of lraspp: a whole number from 1 to 4096; 128 if left out",
            ],
        ),
        (
            "fit",
            [
                "--teacher.network: text or a list of [text, ...]",
                "--recipe.clip_value: a number from 0 to 1000000; 0.0 if left out",
            ],
        ),
    ],
)
def test_all_fields_are_listed_with_what_they_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of: str, options: list[str]
) -> None:
    nasvit(monkeypatch, "fields", of)
    printed = capsys.readouterr().out
    assert all(printed.count(option) == 1 for option in options)
    assert "    passes over the training images, warm-up included." in printed
    assert ".kind" not in printed


def test_the_help_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; from nasvit import cli; sys.argv = ['nasvit', 'run', '--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "sys.exit(', '.join({'torch', 'numpy', 'yaml'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_an_infeasible_budget_is_one_line_and_nothing_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, budgets="  budgets: [macs<=1K]")
    for command in ("run", "train"):
        with pytest.raises(SystemExit) as stop:
            nasvit(monkeypatch, command, str(path), "--output", str(tmp_path / "out"))
        assert stop.value.code == 2
        assert "the closest feasible value is macs" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train").exists()
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["space"] == "micro8"


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, "fly")
    assert stop.value.code == 2
    assert "train" in capsys.readouterr().err


def test_a_warning_of_the_library_is_one_line_without_the_code_that_gave_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the command replaces it
    nasvit(monkeypatch, "spaces")
    said = warnings.formatwarning("2 bad images", UserWarning, cli.__file__, 1)
    others = warnings.formatwarning("old", UserWarning, "/elsewhere/code.py", 7, "code()")
    assert said == "nasvit: 2 bad images\n"
    assert others == "/elsewhere/code.py:7: UserWarning: old\n  code()\n"


@pytest.mark.parametrize("name", ["runs[v1]", "[/]", "[red]x", ":smile:"])
def test_markup_in_the_name_of_a_folder_is_printed_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, card = create("mobilenet_v2-0.1@32", 3)
    save_network(filled(network).eval(), tmp_path / f"a{name}", card)
    nasvit(monkeypatch, "profile", str(tmp_path / f"a{name}"))
    assert f"a{name}" in capsys.readouterr().out.replace("\n", "")  # the path may fill several lines
    console = Console(record=True, file=StringIO(), force_terminal=True, width=200)
    with Progress(f"{name} trained", total=1, console=console) as progress:
        progress.advance()
    assert f"{name} trained" in console.export_text()


ERRORS = {
    "a folder": (IsADirectoryError(21, "Is a directory", "a.yaml"), "a.yaml: Is a directory; once that is mended, run"),
    "a long name": (OSError(36, "File name too long", "x" * 999), f"{'x' * 300}: File name too long; once that is"),
    "no memory": (MemoryError(), "there is not enough memory (); give a smaller batch_size, image_size or network"),
    "no memory of PyTorch's": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nC++ frames"),
        "there is not enough memory ([enforce fail] DefaultCPUAllocator: can't allocate memory: you tried); give",
    ),
}


@pytest.mark.parametrize(("error", "words"), ERRORS.values(), ids=ERRORS)
def test_what_the_machine_refuses_is_one_line(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(fitting, "main", fails)
    with pytest.raises(SystemExit) as end:
        nasvit(monkeypatch, "fit", "fit.yaml")
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.startswith(f"nasvit: {words}") and told.count("\n") == 1


@pytest.mark.parametrize("word", ["a\nb", "x" * 5000, "a\x1b[31mb"])
def test_strange_words_are_shown_in_one_line(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (("predict", "nowhere", word), ("profile", word), ("run", word)):
        with pytest.raises(SystemExit):
            nasvit(monkeypatch, *command)
        told = capsys.readouterr().err
        assert told.startswith("nasvit: ") and told.count("\n") == 1 and len(told) < 1500 and "\x1b" not in told


def test_more_words_than_are_read_are_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        nasvit(monkeypatch, *["--classes", "10", "profile"] * 1000)
    assert capsys.readouterr().err == "nasvit: 3000 words are more than a command takes; see nasvit --help\n"


def test_a_mistake_of_the_library_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a tensor of the wrong shape")

    monkeypatch.setattr(fitting, "main", fails)
    with pytest.raises(RuntimeError, match="of the wrong shape"):
        nasvit(monkeypatch, "fit", "fit.yaml")
