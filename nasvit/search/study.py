"""The evaluations of one search in a storage that any number of workers share."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nasvit.search.candidates import Candidate, Candidates
from nasvit.search.early_stop import accuracy_at, stopping_share
from nasvit.search.engine import SearchEngine
from nasvit.search.optuna_sampler import EngineSampler, choices, open_storage, params_of, to_codes, to_params
from nasvit.training.progress import Progress
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.limits import Limit
from predictors.pool import Constraint

WAIT_SECONDS = 1.0  # between two looks at what other workers do

Record = dict[str, Any]
Evaluate = Callable[[Candidate, float], Record]
"""Candidate and the share of its training to do -> ``score`` and more; if it was trained, ``share`` and ``curve``, one
score an epoch."""


@dataclass(frozen=True)
class Plan:
    """What a search does.

    Args:
        candidates: what may be evaluated.
        budgets: the limits of each budget; evaluations are shared out among them in turn. Without any there is none.
        evaluations: candidates evaluated in all, by all workers.
        make_predictor: makes an unfitted predictor.
        seed: of all proposals.
        early_stop: least rank correlation of accuracies at an earlier epoch with the final ones, over the first
            candidates, at which all others stop there; 0: every training runs to its end.
    """

    candidates: Candidates
    budgets: Sequence[Sequence[Limit]]
    evaluations: int
    make_predictor: Callable[[], Predictor]
    seed: int = 0
    early_stop: float = 0.0

    def constraints(self) -> list[Constraint]:
        """Return the constraint of every budget; one without limits where there are no budgets."""
        return [self.candidates.constraint(limits) for limits in self.budgets or [()]]


class Study:
    """A search that can be joined, killed and resumed: what is evaluated stays, whoever evaluated it.

    Args:
        plan: what to do.
        evaluate: measures a candidate.
        url: the storage: ``sqlite:///file.db``, ``postgresql://...`` or ``mysql://...``.
        name: of the study in the storage; searches whose scores mean different things need different names.
    """

    def __init__(self, plan: Plan, evaluate: Evaluate, url: str, name: str) -> None:
        self.plan, self.evaluate = plan, evaluate
        self.constraints = plan.constraints()
        self.sampler = _PlanSampler(plan, self.constraints)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            storage=open_storage(url),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=self.sampler,
        )

    @property
    def records(self) -> list[Record]:
        """What is known of every evaluated candidate, in the order of the trials."""
        return [trial.user_attrs["record"] for trial in self._trials(TrialState.COMPLETE)]

    def run(self) -> None:
        """Evaluate until the plan's number of evaluations is complete; those of other workers count.

        Raises:
            Exception: whatever an evaluation raises; run again, the search goes on with that candidate.
        """
        done = len(self._trials(TrialState.COMPLETE))
        with Progress("search", self.plan.evaluations, done=min(done, self.plan.evaluations)) as progress:
            while (now := len(self._trials(TrialState.COMPLETE))) < self.plan.evaluations:
                progress.advance(now - done)
                done = now
                self._step()
            progress.advance(max(0, self.plan.evaluations - done))

    def told(self) -> tuple[Codes, NDArray[np.float64]]:
        """Return every evaluated candidate and the score that predictors learn, ``(n, genes)`` and ``(n,)``."""
        trials = self._trials(TrialState.COMPLETE)
        return to_codes(self.plan.candidates.genome, trials), np.array(_scores(self.study, trials))

    def _step(self) -> None:
        """Start one evaluation, or wait where the last ones are under way elsewhere."""
        self._release_lost()
        if not self._trials(TrialState.WAITING):
            if len(self._trials(TrialState.COMPLETE, TrialState.RUNNING)) >= self.plan.evaluations:
                time.sleep(WAIT_SECONDS)
                return
            self._propose()
        self.study.optimize(self._objective, n_trials=1)

    def _propose(self) -> None:
        """Add a trial that waits; written at once with its owner, it is never lost between proposal and start."""
        engine = self.sampler.engine(self.study)
        rows = engine.ask(1)
        row = rows[0] if len(rows) else engine.recommend(1).codes[0]  # a repeat, where all are evaluated
        told = {"owner": _owner(), "repeat": not len(rows)}
        self.study.enqueue_trial(to_params(self.plan.candidates.genome, row), user_attrs=told)

    def _objective(self, trial: optuna.Trial) -> float:
        if "owner" not in trial.user_attrs:
            raise optuna.TrialPruned  # another worker took the trial that this one had proposed
        trial.set_user_attr("owner", _owner())
        genes = self.plan.candidates.genome.genes
        row = [choices(gene).index(trial.suggest_categorical(gene.name, choices(gene))) for gene in genes]
        candidate = self.plan.candidates.decode(np.array([row], dtype=np.uint8))[0]
        under_way = self._is_under_way(trial, candidate)  # before the next line: it may be finished meanwhile
        record = self._known(candidate)
        if under_way or (record is not None and not trial.user_attrs.get("repeat")):
            trial.set_user_attr("lost", True)
            raise optuna.TrialPruned  # two workers proposed it at the same moment, and the other was first
        if record is None:
            try:
                record = {"key": candidate.key, **candidate.to_json(), **self.evaluate(candidate, self._share())}
            except KeyboardInterrupt:
                trial.set_user_attr("lost", True)
                raise
        trial.set_user_attr("record", record)
        return float(record["score"])

    def _known(self, candidate: Candidate) -> Record | None:
        return next((record for record in self.records if record["key"] == candidate.key), None)

    def _is_under_way(self, trial: optuna.Trial, candidate: Candidate) -> bool:
        """Whether an earlier trial that runs now is the same candidate."""
        genome = self.plan.candidates.genome
        earlier = [other for other in self._trials(TrialState.RUNNING) if other.number < trial.number]
        whole = [other for other in earlier if set(genome.names) <= params_of(other).keys()]
        return candidate.key in {other.key for other in self.plan.candidates.decode(to_codes(genome, whole))}

    def _share(self) -> float:
        """Return the share of a training to do: all until the first candidates tell, then as they told."""
        if not self.plan.early_stop:
            return 1.0
        decided = self.study.user_attrs.get("stopping_share")
        if decided is None:
            start = self.sampler.settings.start
            first = self._trials(TrialState.COMPLETE)[:start]
            if len(first) < start:
                return 1.0
            curves = [trial.user_attrs["record"]["curve"] for trial in first]
            decided = stopping_share(curves, self.plan.early_stop)
            self.study.set_user_attr("stopping_share", decided)
        return float(decided)

    def _release_lost(self) -> None:
        """Give up the trials of workers of this machine that are no more; other machines' are told by heartbeats."""
        for trial in self._trials(TrialState.RUNNING):
            owner = trial.user_attrs.get("owner")
            if owner is not None and _is_dead(owner):
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker was first
                    self.study._storage.set_trial_user_attr(trial._trial_id, "lost", True)
                    self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)


class _PlanSampler(EngineSampler):
    """Proposes under the budget whose turn it is, and learns from accuracies of equally long training."""

    def __init__(self, plan: Plan, constraints: Sequence[Constraint]) -> None:
        super().__init__(constraints[0], plan.make_predictor, seed=plan.seed)
        self._plan, self._constraints = plan, constraints

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return nothing: trials bring their candidates."""
        return {}

    def engine(self, study: optuna.Study, trial: FrozenTrial | None = None) -> SearchEngine:
        states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        begun = len(study.get_trials(deepcopy=False, states=states))
        turn = begun * len(self._constraints) // max(self._plan.evaluations, 1)
        self.constraint = self._constraints[min(turn, len(self._constraints) - 1)]
        return super().engine(study, trial)

    def scores(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[float]:
        return _scores(study, trials)


def _scores(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[float]:
    """Return accuracies of equally long training: where later candidates stop, the first are read there too."""
    share = float(study.user_attrs.get("stopping_share", 1.0))
    records = [trial.user_attrs["record"] for trial in trials]
    return [
        accuracy_at(record["curve"], share) if share < 1 == record["share"] else float(record["score"])
        for record in records
    ]


_THIS_PROCESS = uuid.uuid4().hex  # tells it from an earlier one of the same number


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": os.getpid(), "token": _THIS_PROCESS}


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether a worker ran on this machine and does not any more."""
    if owner["host"] != socket.gethostname():
        return False
    if owner["process"] == os.getpid():
        return bool(owner["token"] != _THIS_PROCESS)
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's process
    return False
