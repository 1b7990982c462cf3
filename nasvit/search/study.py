"""The evaluations of one search in a storage that any number of workers share."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nasvit.files.owners import is_gone, this_process
from nasvit.search.candidates import Candidate, Candidates
from nasvit.search.driver import Standing, drive
from nasvit.search.early_stop import score_at, stopping_share
from nasvit.search.engine import EngineSettings, SearchEngine
from nasvit.search.judge import Judge
from nasvit.search.optuna_sampler import (
    completed,
    distributions,
    open_storage,
    standing,
    tells_all,
    to_codes,
    to_params,
)
from nasvit.search.storage import Storage
from nasvit.tasks.task import Metric
from nasvit.training.progress import Progress
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.limits import Limit
from predictors.pool import Constraint

WAIT_SECONDS = 1.0  # between two looks at what other workers do

Record = dict[str, Any]
Evaluate = Callable[[Candidate, float], Record]
"""Candidate and the share of its training to do -> ``score`` and more; if it was trained, ``share``, and ``curve`` and
``losses``, the score and the loss after every epoch."""


@dataclass(frozen=True)
class Plan:
    """What a search does.

    Args:
        candidates: what may be evaluated.
        budgets: the limits of each budget; evaluations are shared out among them in turn. Without any there is none.
        evaluations: candidates evaluated in all, by all workers.
        make_predictor: makes an unfitted predictor.
        seed: of all proposals.
        early_stop: least rank correlation of scores at an earlier epoch with the final ones, over the first
            candidates, at which all others stop there; 0: every training runs to its end.
        settings: how candidates are proposed.
        judge: decides which of two evaluated candidates is better.
        first: constraint -> what is evaluated before anything else, ``(k, genes)``, the best expected first; None:
            nothing is expected.
    """

    candidates: Candidates
    budgets: Sequence[Sequence[Limit]]
    evaluations: int
    make_predictor: Callable[[], Predictor]
    seed: int = 0
    early_stop: float = 0.0
    settings: EngineSettings = field(default_factory=EngineSettings)
    judge: Judge = Judge(Metric("score"))
    first: Callable[[Constraint], Codes] | None = None

    def constraints(self) -> list[Constraint]:
        """Return the constraint of every budget; one without limits where there are no budgets."""
        return [self.candidates.constraint(limits) for limits in self.budgets or [()]]


class Study:
    """A search that can be joined, killed and resumed: what is evaluated stays, whoever evaluated it.

    Args:
        plan: what to do.
        evaluate: measures a candidate.
        storage: a file, or a URL such as ``postgresql://...`` or ``mysql://...``.
        name: of the study in the storage; searches whose scores mean different things need different names.
    """

    def __init__(self, plan: Plan, evaluate: Evaluate, storage: Storage | str, name: str) -> None:
        self.plan, self.evaluate = plan, evaluate
        self.constraints = plan.constraints()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            storage=open_storage(storage),
            study_name=name,
            direction="maximize" if plan.judge.metric.higher_is_better else "minimize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=plan.seed),  # never asked: trials bring their candidates
        )

    @property
    def records(self) -> list[Record]:
        """What is known of every evaluated candidate, in the order in which they finished."""
        return [trial.user_attrs["record"] for trial in completed(self.study.get_trials(deepcopy=False))]

    def run(self, *, visible: bool = True) -> None:
        """Evaluate until the plan's number of evaluations is complete; those of other workers count.

        Args:
            visible: show how far the search is.

        Raises:
            Exception: whatever an evaluation raises; run again, the search goes on with that candidate.
        """
        plan = self.plan
        first = [None if plan.first is None else plan.first(each) for each in self.constraints]
        engines = [
            SearchEngine(constraint, plan.make_predictor, plan.seed, plan.settings, expected)
            for constraint, expected in zip(self.constraints, first, strict=True)
        ]
        done = min(len(self.records), plan.evaluations)
        with Progress("search", plan.evaluations, done=done, visible=visible) as progress:
            drive(_Shared(self, progress), engines, plan.evaluations)

    def told(self) -> tuple[Codes, NDArray[np.float64]]:
        """Return every evaluated candidate and what predictors learn of it, ``(n, genes)`` and ``(n,)``.

        What they learn is the merit that the judge sees in its record: they look for the highest.
        """
        trials = completed(self.study.get_trials(deepcopy=False))
        return to_codes(self.plan.candidates.genome, trials), np.array(self.scores(trials))

    def scores(self, trials: Sequence[FrozenTrial]) -> list[float]:
        """Return the scores of equally long training: where later candidates stop, the first are read there too.

        Args:
            trials: finished ones.

        Returns:
            Merits by the judge: higher is better.
        """
        share = float(self.study.user_attrs.get("stopping_share", 1.0)) if self.plan.early_stop else 1.0
        judge, records = self.plan.judge, [trial.user_attrs["record"] for trial in trials]
        return [
            score_at(judge.curve(record), share) if share < 1 == record["share"] else judge.merit(record)
            for record in records
        ]

    def share(self, trials: Sequence[FrozenTrial]) -> float:
        """Return the share of the next training: all until the first candidates tell, then as they told.

        Args:
            trials: all of the study.
        """
        if not self.plan.early_stop:
            return 1.0
        decided = self.study.user_attrs.get("stopping_share")
        if decided is None:
            first = completed(trials)[: self.plan.settings.start]
            if len(first) < self.plan.settings.start:
                return 1.0
            curves = [self.plan.judge.curve(trial.user_attrs["record"]) for trial in first]
            decided = stopping_share(curves, self.plan.early_stop)
            self.study.set_user_attr("stopping_share", decided)
        return float(decided)


class _Shared:
    """The trials of a study, which any number of workers add to.

    Args:
        study: the study.
        progress: told of every evaluation that is complete, whoever did it.
    """

    def __init__(self, study: Study, progress: Progress) -> None:
        self._study, self._progress = study, progress
        self._genome = study.plan.candidates.genome
        self._shown: int | None = None

    def look(self) -> Standing:
        """Give up the trials of lost workers, and return where the search stands."""
        trials = self._trials()
        if self._release_lost(trials):
            trials = self._trials()
        now = standing(self._genome, trials, self._study.scores)
        self._progress.advance(now.done - (now.done if self._shown is None else self._shown))
        self._shown = now.done
        return now

    def evaluate(self, row: Codes | None) -> None:
        """Evaluate what waits; a new candidate is written at once with its owner, so it is never lost in between."""
        if row is not None:
            self._study.study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.WAITING,
                    params=to_params(self._genome, row[0]),
                    distributions=distributions(self._genome),
                    user_attrs={"owner": this_process()},
                )
            )
        self._study.study.optimize(self._objective, n_trials=1)

    def wait(self) -> None:
        """Wait a moment: the last evaluations are under way elsewhere, unless their workers fell silent."""
        time.sleep(WAIT_SECONDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, since 2.9
            optuna.storages.fail_stale_trials(self._study.study)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.study.get_trials(deepcopy=False)

    def _objective(self, trial: optuna.Trial) -> float:
        owner = trial.user_attrs.get("owner")
        if owner is None:
            raise optuna.TrialPruned  # another worker took the trial that this one had proposed
        if owner != this_process():
            trial.set_user_attr("owner", this_process())
        trials = self._trials()
        mine = next(each for each in trials if each.number == trial.number)
        candidate = self._study.plan.candidates.decode(to_codes(self._genome, [mine]))[0]
        if self._is_tried(candidate, trial.number, trials) or self._is_too_many(trial.number, trials):
            trial.set_user_attr("lost", True)
            raise optuna.TrialPruned  # two workers proposed at the same moment, and the other was first
        try:
            record = self._study.evaluate(candidate, self._study.share(trials))
        except KeyboardInterrupt:
            trial.set_user_attr("lost", True)
            raise
        trial.set_user_attr("record", {"key": candidate.key, **candidate.to_json(), **record})
        return float(record["score"])

    def _is_tried(self, candidate: Candidate, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the same candidate is evaluated, or is being evaluated by an earlier trial."""
        if candidate.key in {trial.user_attrs["record"]["key"] for trial in completed(trials)}:
            return True
        whole = [
            trial
            for trial in trials
            if trial.state == TrialState.RUNNING and trial.number < number and tells_all(self._genome, trial)
        ]
        under_way = self._study.plan.candidates.decode(to_codes(self._genome, whole))
        return candidate.key in {other.key for other in under_way}

    def _is_too_many(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Whether as many trials as were asked for are finished or under way without this one."""
        lives = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        earlier = [trial for trial in trials if trial.number < number and trial.state in lives]
        return sum(tells_all(self._genome, trial) for trial in earlier) >= self._study.plan.evaluations

    def _release_lost(self, trials: Sequence[FrozenTrial]) -> bool:
        """Give up the trials of workers of this machine that are no more; other machines' are told by heartbeats.

        Returns:
            Whether there were any.
        """
        dead = [
            trial
            for trial in trials
            if trial.state == TrialState.RUNNING and "owner" in trial.user_attrs and is_gone(trial.user_attrs["owner"])
        ]
        for trial in dead:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker was first
                storage = self._study.study._storage
                storage.set_trial_user_attr(trial._trial_id, "lost", True)
                storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return bool(dead)
