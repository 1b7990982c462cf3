"""What is wrong with the trainings and the database of an experiment, found before the first of them begins."""

from __future__ import annotations

import sqlalchemy

from nasvit.experiment.workbench import Workbench


def check_trainings(bench: Workbench) -> None:
    """Refuse recipes that the images cannot be trained by, and a storage that is none.

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
    _check_storage(experiment.search.storage)


def _check_train_images(bench: Workbench) -> None:
    search, recipe = bench.experiment.search, bench.experiment.finetune.recipe
    trains = search.evaluate in ("finetune", "scratch") and search.recipes is None
    if trains and 0 < search.train_images < recipe.batch_size:
        raise ValueError(
            f"search.train_images: {search.train_images} do not fill a batch of {recipe.batch_size}; legal: 0 (all) "
            f"and numbers from {recipe.batch_size}"
        )


def _check_storage(url: str | None) -> None:
    if url is None:
        return
    try:
        sqlalchemy.make_url(url).get_dialect().import_dbapi()
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise ValueError(
            f"search.storage: {url.partition(':')[0]!r} is no database that can be opened here ({error}); legal: a URL "
            "such as postgresql://user@machine/name, or none for a file in the folder of the results"
        ) from error
