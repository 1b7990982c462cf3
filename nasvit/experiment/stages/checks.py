"""What is wrong with the trainings and the database of an experiment, found before the first of them begins."""

from __future__ import annotations

from nasvit.experiment.workbench import STUDY, Workbench
from nasvit.search.storage import FileStorage


def check_trainings(bench: Workbench) -> None:
    """Refuse recipes that the images cannot be trained by, and a storage that cannot be opened.

    Raises:
        ValueError: naming the section, the value and what is legal.
    """
    experiment, images = bench.experiment, bench.images
    asked = [("finetune", experiment.finetune.recipe, bench.compute.alone())]  # processes train one network each
    if experiment.search.trains_supernet:
        asked.append(("train", experiment.train.recipe, bench.compute))
    for section, recipe, compute in asked:
        loader = images.training(recipe, compute=compute)
        try:
            loader.check_training()
        except ValueError as error:
            raise ValueError(f"{section}: {error}") from error
    _check_train_images(bench)
    if experiment.search.evaluates:
        bench.compute.once(lambda: check_storage(bench))


def _check_train_images(bench: Workbench) -> None:
    search, recipe = bench.experiment.search, bench.experiment.finetune.recipe
    trains = search.evaluate in ("finetune", "scratch") and search.recipes is None
    if trains and 0 < search.train_images < recipe.batch_size:
        raise ValueError(
            f"search.train_images: {search.train_images} do not fill a batch of {recipe.batch_size}; legal: 0 (all) "
            f"and numbers from {recipe.batch_size}"
        )


def check_storage(bench: Workbench) -> None:
    """Refuse a database that cannot be opened, and a damaged file of evaluations.

    Raises:
        ValueError: naming it.
    """
    storage, own = bench.experiment.search.storage, bench.folder / STUDY
    if storage is not None:
        storage.require()
    elif own.exists():
        FileStorage(own).require("search")
