"""Where the evaluations of a search are kept: the database that workers share, whose password nobody is told."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.saved import Saved

_SECRET = "***"
_PASSWORD = re.compile(
    r"(?<=://)(?P<user>[^/@]*?:)(?P<secret>.*)(?=@)|(?P<name>(?:password|passwd|pwd)=)(?P<value>[^&]*)"
)
_LEGAL = "legal: a URL such as postgresql://user@machine/name, or none for a file in the folder of the results"


@dataclass(frozen=True, repr=False)
class Storage(Saved):
    """The URL of a database; as text, JSON or in messages it has no password.

    Args:
        url: such as ``postgresql://user:password@machine/name``.
    """

    url: str

    @classmethod
    def parse(cls, text: str) -> Storage:
        """Read a URL."""
        return cls(text)

    def to_json(self) -> str:
        """The URL without its password, as a JSON string."""
        return json.dumps(str(self))

    @classmethod
    def from_json(cls, text: str) -> Storage:
        return cls(json.loads(text))

    def __str__(self) -> str:
        return _PASSWORD.sub(lambda found: f"{found['user'] or found['name']}{_SECRET}", self.url)

    __repr__ = __str__

    @property
    def options(self) -> dict[str, Any]:
        """Options of SQLAlchemy's ``create_engine``."""
        return {}

    def _told(self, error: object) -> str:
        """Return what an error says in one line, without the password."""
        told = str(error).partition("\n")[0]
        for found in _PASSWORD.finditer(self.url):
            told = told.replace(found["secret"] or found["value"], _SECRET)
        return told

    def require(self, name: str = "search.storage") -> None:
        """Open the database and look into it.

        Args:
            name: what the message calls it.

        Raises:
            ValueError: if there is none of that name, it cannot be opened, or it is damaged.
        """
        import sqlalchemy

        try:
            engine = sqlalchemy.create_engine(self.url, **self.options)
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
            kind = self.url.partition(":")[0]
            told = f"{kind!r} is no database that can be opened here ({self._told(error)})"
            raise ValueError(f"{name}: {told}; {_LEGAL}") from None
        try:
            with engine.connect() as connection:
                sqlalchemy.inspect(connection).get_table_names()
                if engine.dialect.name == "sqlite":
                    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
                    if found != "ok":
                        raise ValueError(found)
        except Exception as error:  # of any driver
            raise ValueError(f"{name}: {self.unopened(error)}") from None
        finally:
            engine.dispose()

    def unopened(self, error: object) -> str:
        """Return in words that an error keeps the database from being opened."""
        way_out = "see that it is there and whole; without it the search begins anew"
        return f"the storage {self} cannot be opened ({self._told(error)}); {way_out}"


@dataclass(frozen=True, repr=False)
class FileStorage(Storage):
    """An SQLite file, whatever characters are in its path: no URL holds all of them.

    Args:
        path: the file.
    """

    path: Path
    url: str = field(default="sqlite:///study.db", init=False)

    @property
    def options(self) -> dict[str, Any]:
        """Options of SQLAlchemy's ``create_engine``."""
        return {"creator": lambda: sqlite3.connect(self.path, check_same_thread=False)}

    def __str__(self) -> str:
        return str(self.path)

    __repr__ = __str__


def hide_password(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the search section of a record without the password that records of earlier versions have."""
    storage = content.get("storage")
    return {**content, "storage": str(Storage(storage))} if isinstance(storage, str) else dict(content)
