"""Contract of bundles: folders beside a saved network that are made of it and of the files that it was exported to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, get_args

from nasvit.data.annotated import TaskName
from nasvit.export.card import Card, remove_files
from nasvit.files.whole import unfinished_folder


@dataclass(frozen=True)
class Told:
    """What a bundle tells besides the card.

    Args:
        width: width of a network with several, whose files go along.
        license: identifier of the license, as the user gave it; None: nobody stated one.
        costs: costs by name, such as ``{"macs": 1200000}``.
    """

    width: float | None = None
    license: str | None = None
    costs: Mapping[str, int] = field(default_factory=dict)


class Bundle(ABC):
    """One kind of folder. A new one is a class, named once in :data:`nasvit.export.bundles.BUNDLES`."""

    name: ClassVar[str]
    """Name, as users give it, and of the folder."""

    formats: ClassVar[tuple[str, ...]]
    """Names of the formats whose files it needs."""

    hint: ClassVar[str]
    """What one does with it, in a line."""

    tasks: ClassVar[tuple[TaskName, ...]] = get_args(TaskName)
    """Tasks of the networks that it can be made of."""

    def check_task(self, task: TaskName) -> None:
        """Refuse a network of a task that it cannot be made of.

        Raises:
            ValueError: naming both.
        """
        if task not in self.tasks:
            raise ValueError(f"--to {self.name} is for {', '.join(self.tasks)}; this network is for {task}")

    def require(self, told: Told) -> None:
        """Check what is told, and get what writing needs besides the network, before anything is exported.

        Args:
            told: what the card does not say.

        Raises:
            ValueError: if something is illegal or not to be had; the message says the way out.
        """
        return

    @abstractmethod
    def write(self, saved: Path, card: Card, folder: Path, told: Told) -> None:
        """Write the folder.

        Args:
            saved: folder of the saved network, with its exported files.
            card: its card, which tells of these.
            folder: the folder to write into, which is empty.
            told: what the card does not say.
        """


def bundle(kind: Bundle, saved: Path, told: Told) -> Path:
    """Write a bundle into the folder of a saved network, whole or not at all; files of an earlier one go.

    Args:
        kind: which.
        saved: folder of the saved network, whose card gets the names of the files.
        told: what the card does not say.

    Returns:
        The folder of the bundle.
    """
    card = Card.read(saved)
    if (saved / kind.name).is_symlink():
        raise ValueError(f"{saved / kind.name} is a link, through which this would write elsewhere; remove it")
    with unfinished_folder(saved) as unfinished:
        made = unfinished / kind.name
        made.mkdir()
        kind.write(saved, card, made, told)
        names = [str(path.relative_to(unfinished).as_posix()) for path in sorted(made.rglob("*")) if path.is_file()]
        remove_files(saved, [name for name in card.bundles.get(kind.name, ()) if name not in names])
        for name in names:
            (saved / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).replace(saved / name)
    replace(card, bundles={**card.bundles, kind.name: tuple(names)}).write(saved)
    return saved / kind.name
