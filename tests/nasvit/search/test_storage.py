"""The database of a search: opened whatever its path is, and its password told to nobody."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from nasvit.experiment.config import Experiment
from nasvit.experiment.yaml_file import decisive
from nasvit.search.optuna_sampler import open_storage
from nasvit.search.storage import FileStorage, Storage
from tests.nasvit.experiment.tiny import write_experiment

URLS = {
    "postgresql://me:s3c/r:et@there:5432/name": "postgresql://me:***@there:5432/name",
    "mysql+mysqldb://:s3cr@et@there/name": "mysql+mysqldb://:***@there/name",
    "postgresql:///name?host=there&password=s3cret&port=1": "postgresql:///name?host=there&password=***&port=1",
    "postgresql://me@there/name": "postgresql://me@there/name",
    "sqlite:////a/b.db": "sqlite:////a/b.db",
}


@pytest.mark.parametrize(("url", "shown"), URLS.items())
def test_a_password_is_in_no_text_of_a_storage(url: str, shown: str) -> None:
    storage = Storage.parse(url)
    assert (storage.url, str(storage), storage.to_json()) == (url, shown, f'"{shown}"')
    assert repr(storage) == f"{storage}" == shown
    assert storage.unopened(f"cannot reach {url}").count("s3c") == 0


def test_a_password_is_in_no_record_of_an_experiment_and_does_not_make_another_one_of_it(tmp_path: Path) -> None:
    def asked(password: str) -> Experiment:
        search = f"  evaluations: 4\n  storage: postgresql://me:{password}@there/name"
        return Experiment.load(write_experiment(tmp_path, evaluations=search))

    first, later = asked("s3cret").to_json(), asked("changed").to_json()
    assert "s3cret" not in str(first) and "postgresql://me:***@there/name" in str(first)
    assert decisive(first) == decisive(later)
    old = first | {"search": first["search"] | {"storage": "postgresql://me:s3cret@there/name"}}
    assert decisive(old) == decisive(first)  # as earlier versions wrote it


@pytest.mark.parametrize("name", ["a?b", "a%20b#c", "{study}", "a:b@c", "ü [x] 'x'"])
def test_the_file_of_a_search_lies_where_it_was_asked_for(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    storage = FileStorage(folder / "study.db")
    open_storage(storage).create_new_study([optuna.study.StudyDirection.MAXIMIZE], "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "study.db").stat().st_size > 1000
    storage.require()


def test_a_damaged_database_and_one_that_is_none_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    open_storage(FileStorage(path))
    whole = path.read_bytes()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ValueError, match=r"search: the storage .*study\.db cannot be opened \(.*\); see that it is"):
        FileStorage(path).require("search")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"search: the storage .*study\.db cannot be opened"):
        FileStorage(path).require("search")
    with pytest.raises(ValueError, match=r"search\.storage: the storage sqlite:.*nowhere.* cannot be opened"):
        Storage(f"sqlite:///{tmp_path}/nowhere/x.db").require()
