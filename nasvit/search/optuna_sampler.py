"""The search as a sampler of Optuna: its storage, its dashboard, its many workers; our proposals.

This module and the study import Optuna; nothing else of the search does.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nasvit.search.driver import Standing
from nasvit.search.engine import EngineSettings, Recommendation, SearchEngine
from nasvit.search.storage import Storage
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.pool import Constraint
from search_spaces.genome import Gene, Genome

CREATE_ATTEMPTS = 20
MOST_FAILURES = 2


def distributions(genome: Genome) -> dict[str, BaseDistribution]:
    """Return the genes as Optuna's distributions: ``trial.suggest_categorical(name, choices)`` with these choices."""
    return {gene.name: CategoricalDistribution(choices(gene)) for gene in genome.genes}


def choices(gene: Gene) -> list[Any]:
    """Return a gene's values as Optuna can store them; what it cannot store becomes text."""
    return [value if isinstance(value, (bool, int, float, str, type(None))) else repr(value) for value in gene.values]


def to_params(genome: Genome, row: Codes) -> dict[str, Any]:
    """Return one candidate, ``(d,)``, as the parameters of a trial."""
    return {gene.name: choices(gene)[index] for gene, index in zip(genome.genes, row.tolist(), strict=True)}


def to_codes(genome: Genome, trials: Sequence[FrozenTrial]) -> Codes:
    """Return the candidates of trials, ``(n, d)``; every trial must have every gene, chosen or enqueued."""
    index = {
        gene.name: {repr(choice): position for position, choice in enumerate(choices(gene))} for gene in genome.genes
    }
    params = [params_of(trial) for trial in trials]
    rows = [[positions[repr(each[name])] for name, positions in index.items()] for each in params]
    return np.array(rows, dtype=np.uint8).reshape(len(trials), len(genome))


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial tries, also while it waits to be started."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def tells_all(genome: Genome, trial: FrozenTrial) -> bool:
    """Return whether a trial says the value of every gene."""
    return set(genome.names) <= params_of(trial).keys()


def standing(
    genome: Genome,
    trials: Sequence[FrozenTrial],
    scores: Callable[[Sequence[FrozenTrial]], Sequence[float]],
    most_failures: int = MOST_FAILURES,
) -> Standing:
    """Return where the search of these trials stands.

    Args:
        genome: the decisions; trials that do not say all of them are passed over.
        trials: of one study.
        scores: of finished trials; higher is better.
        most_failures: failed trials of a candidate after which it is given up.
    """
    whole = [trial for trial in trials if tells_all(genome, trial)]
    done = completed(whole)
    busy = [trial for trial in whole if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    hopeless = _hopeless(genome, whole, most_failures)
    return Standing(
        len(done),
        np.concatenate([to_codes(genome, done), hopeless]),
        np.append(np.asarray(scores(done), dtype=np.float64), np.full(len(hopeless), np.nan)),
        to_codes(genome, busy),
        any(trial.state == TrialState.WAITING for trial in busy),
    )


def completed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials in the order in which they finished, so that what finishes later comes last."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(done, key=lambda trial: (trial.datetime_complete or datetime.min, trial.number))


def _hopeless(genome: Genome, trials: Sequence[FrozenTrial], most_failures: int) -> Codes:
    """Return the candidates that failed too often."""
    ended = (TrialState.FAIL, TrialState.PRUNED)
    failed = [trial for trial in trials if trial.state in ended and not trial.user_attrs.get("lost")]
    rows, counts = np.unique(to_codes(genome, failed), axis=0, return_counts=True)
    return rows[counts >= most_failures]


class EngineSampler(optuna.samplers.BaseSampler):
    """Proposes what :class:`nasvit.search.engine.SearchEngine` would, from nothing but the study's trials.

    It keeps no state that matters: a proposal follows from the finished trials, those under way elsewhere and the seed
    alone, not from trial numbers. So a study can be killed and resumed at any moment, and one worker then proposes what
    it would have proposed. A candidate that failed ``most_failures`` times is given up; a trial with the user attribute
    ``lost``, whose worker was killed, is no failure.

    Args:
        constraint: genome, limits and canonical form; the objective suggests one categorical for each gene.
        make_predictor: makes an unfitted predictor.
        seed: of everything random.
        settings: how candidates are proposed.
        most_failures: failed trials of a candidate after which it is given up.
    """

    def __init__(
        self,
        constraint: Constraint,
        make_predictor: Callable[[], Predictor],
        *,
        seed: int = 0,
        settings: EngineSettings | None = None,
        most_failures: int = MOST_FAILURES,
    ) -> None:
        self.constraint = constraint
        self.most_failures = most_failures
        self._engine = SearchEngine(constraint, make_predictor, seed, settings)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all genes, whatever earlier trials had."""
        return distributions(self.constraint.genome)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values of the next candidate; a trial that brings its own values (a retried one) keeps them."""
        if trial.params or "fixed_params" in trial.system_attrs:
            return {}
        engine = self.engine(study, trial)
        rows = engine.ask(1 + self._unseen(study, trial))
        if not len(rows):
            # Every feasible candidate is evaluated: this one repeats the best, and a running loop ends after it.
            with contextlib.suppress(RuntimeError):
                study.stop()
            rows = engine.recommend(1).codes
        return to_params(self.constraint.genome, rows[-1])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Refuse a parameter that is no gene.

        Raises:
            ValueError: always; it names the parameter and the genes.
        """
        raise ValueError(
            f"the objective asks for {param_name!r} with other choices than the search has; legal: the genes "
            f"{', '.join(self.constraint.genome.names)} with the choices of nasvit.search.optuna_sampler.choices"
        )

    def engine(self, study: optuna.Study, trial: FrozenTrial | None = None) -> SearchEngine:
        """Return an engine that was told every finished trial, with those under way elsewhere reserved."""
        trials = study.get_trials(deepcopy=False)
        others = [other for other in trials if trial is None or other.number != trial.number]
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        now = standing(
            self.constraint.genome,
            others,
            lambda done: [sign * float(other.value or 0.0) for other in done],
            self.most_failures,
        )
        self._engine.catch_up(now.codes, now.scores, now.busy)
        return self._engine

    def _unseen(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Return how many trials that began before have not said yet what they try: they would choose the same."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(other.number < trial.number and not params_of(other) for other in running)

    def recommend(self, study: optuna.Study, count: int = 1) -> Recommendation:
        """Return the candidates of highest posterior mean (higher is better, also where the study minimizes)."""
        return self.engine(study).recommend(count)


def open_storage(storage: Storage | str, *, heartbeat: int = 60, retries: int = 1) -> optuna.storages.RDBStorage:
    """Return a storage in which the trial of a killed worker is noticed and evaluated again.

    Args:
        storage: a file, or a URL such as ``postgresql://...`` or ``mysql://...``.
        heartbeat: seconds between two signs of life of a worker; three missed ones count as death.
        retries: times a lost trial is evaluated again.

    Raises:
        ImportError: if the driver of the database is not installed.
        ValueError: if the database cannot be opened.
    """
    storage = Storage(storage) if isinstance(storage, str) else storage
    for _ in range(CREATE_ATTEMPTS - 1):
        try:
            return _connect(storage, heartbeat, retries)
        except sqlalchemy.exc.SQLAlchemyError:  # another worker is making the tables at this moment
            time.sleep(0.5)
    try:
        return _connect(storage, heartbeat, retries)
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:  # the latter of another version of its tables
        raise ValueError(storage.unopened(error)) from None


def _connect(where: Storage, heartbeat: int, retries: int) -> optuna.storages.RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, experimental since 2.9
        try:
            storage = optuna.storages.RDBStorage(
                where.url.replace("{", "{{").replace("}", "}}"),  # Optuna would fill in what is between braces
                engine_kwargs=where.options,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries),
            )
        except ImportError as error:
            raise ImportError(
                f"the storage {where} needs the driver of its database, for "
                "example: pip install 'psycopg[binary]' (postgresql://), pip install mysqlclient (mysql://)"
            ) from error
    if storage.engine.dialect.name == "sqlite":
        sqlalchemy.event.listen(storage.engine, "connect", _set_up_sqlite)
        sqlalchemy.event.listen(storage.engine, "begin", _begin_to_write)
        storage.engine.dispose()  # connections made before were not set up
    return storage


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """Let SQLite write to a log first: workers wait less for each other, and a killed one still loses nothing."""
    for setting in ("busy_timeout=60000", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {setting}")
    connection.isolation_level = None  # transactions begin as the next function says, not when Python thinks


def _begin_to_write(connection: sqlalchemy.Connection) -> None:
    """Lock before the first read: SQLite has no row locks, and two workers would both take a waiting trial."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def records_in(path: Path) -> list[dict[str, Any]]:
    """Return the records of the last search in an SQLite file, which may be under way: a copy of it is read.

    Raises:
        ValueError: if the file is damaged.
    """
    with TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        try:
            read = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            with contextlib.closing(read), contextlib.closing(sqlite3.connect(copied)) as copy:
                read.backup(copy)  # as it is at one moment, whoever writes to it
            storage = optuna.storages.RDBStorage(f"sqlite:///{copied}")
            try:
                searches = [completed(storage.get_all_trials(each._study_id)) for each in storage.get_all_studies()]
            finally:
                storage.engine.dispose()
        except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
            raise ValueError(f"{path} is no database of a search: {error}") from error
    last = max(filter(None, searches), key=lambda trials: trials[-1].datetime_complete or datetime.min, default=[])
    return [trial.user_attrs["record"] for trial in last if "record" in trial.user_attrs]
