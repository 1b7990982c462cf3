"""The search as a sampler of Optuna: its storage, its dashboard, its many workers; our proposals.

This module imports Optuna; nothing else of the search does.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from nasvit.search.engine import EngineSettings, Recommendation, SearchEngine
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.pool import Constraint
from search_spaces.genome import Gene, Genome

CREATE_ATTEMPTS = 20


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
    rows = np.zeros((len(trials), len(genome)), dtype=np.uint8)
    for column, gene in enumerate(genome.genes):
        index = {repr(choice): position for position, choice in enumerate(choices(gene))}
        rows[:, column] = [index[repr(params_of(trial)[gene.name])] for trial in trials]
    return rows


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial tries, also while it waits to be started."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


class EngineSampler(optuna.samplers.BaseSampler):
    """Proposes what :class:`nasvit.search.engine.SearchEngine` would, from nothing but the study's trials.

    It keeps no state: a proposal follows from the finished trials, those under way elsewhere and the seed alone, not
    from trial numbers. So a study can be killed and resumed at any moment, and one worker then proposes what it would
    have proposed. A candidate that failed ``most_failures`` times is given up; a trial with the user attribute
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
        most_failures: int = 2,
    ) -> None:
        self.constraint = constraint
        self.make_predictor = make_predictor
        self.seed = seed
        self.settings = settings or EngineSettings()
        self.most_failures = most_failures

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
        genome = self.constraint.genome
        whole = [other for other in study.get_trials(deepcopy=False) if set(genome.names) <= params_of(other).keys()]
        done = [other for other in whole if other.state == TrialState.COMPLETE and other.value is not None]
        waiting = (TrialState.RUNNING, TrialState.WAITING)
        busy = [other for other in whole if other.state in waiting and (trial is None or other.number != trial.number)]
        hopeless = self._hopeless(whole)
        rng = np.random.default_rng([self.seed, len(done), len(hopeless), len(busy)])
        engine = SearchEngine(self.constraint, self.make_predictor(), rng, self.settings, design_seed=self.seed)
        if done:
            engine.tell(to_codes(genome, done), self.scores(study, done))
        if len(hopeless):
            engine.tell(hopeless, np.full(len(hopeless), np.nan))
        if busy:
            engine.reserve(to_codes(genome, busy))
        return engine

    def scores(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[float]:
        """Return what the predictor learns of finished trials; higher is better."""
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        return [sign * float(trial.value or 0.0) for trial in trials]

    def _unseen(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Return how many trials that began before have not said yet what they try: they would choose the same."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(other.number < trial.number and not params_of(other) for other in running)

    def _hopeless(self, trials: Sequence[FrozenTrial]) -> Codes:
        """Return the candidates that failed too often."""
        genome, ended = self.constraint.genome, (TrialState.FAIL, TrialState.PRUNED)
        failed = [trial for trial in trials if trial.state in ended and not trial.user_attrs.get("lost")]
        counts = Counter(row.tobytes() for row in to_codes(genome, failed))
        rows = [np.frombuffer(row, np.uint8) for row, count in counts.items() if count >= self.most_failures]
        return np.stack(rows) if rows else np.zeros((0, len(genome)), dtype=np.uint8)

    def recommend(self, study: optuna.Study, count: int = 1) -> Recommendation:
        """Return the candidates of highest posterior mean (higher is better, also where the study minimizes)."""
        return self.engine(study).recommend(count)


def open_storage(url: str, *, heartbeat: int = 60, retries: int = 1) -> optuna.storages.RDBStorage:
    """Return a storage in which the trial of a killed worker is noticed and evaluated again.

    Args:
        url: ``sqlite:///file.db``, ``postgresql://...`` or ``mysql://...``.
        heartbeat: seconds between two signs of life of a worker; three missed ones count as death.
        retries: times a lost trial is evaluated again.

    Raises:
        ImportError: if the driver of the database is not installed.
    """
    for _ in range(CREATE_ATTEMPTS - 1):
        try:
            return _connect(url, heartbeat, retries)
        except sqlalchemy.exc.SQLAlchemyError:  # another worker is making the tables at this moment
            time.sleep(0.5)
    return _connect(url, heartbeat, retries)


def _connect(url: str, heartbeat: int, retries: int) -> optuna.storages.RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, experimental since 2.9
        try:
            storage = optuna.storages.RDBStorage(
                url,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries),
            )
        except ImportError as error:
            raise ImportError(
                f"the storage {sqlalchemy.make_url(url).render_as_string()} needs the driver of its database, for "
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
