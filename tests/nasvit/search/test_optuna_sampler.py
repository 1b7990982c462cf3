from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from sqlalchemy import text

from nasvit.search.optuna_sampler import EngineSampler, choices, open_storage, to_codes
from predictors.gaussian_process import GaussianProcess
from predictors.pool import Constraint
from search_spaces.genome import Gene, Genome

GENOME = Genome(
    (Gene("depth", (1, 2, 3, 4)), Gene("mlp_ratio", (None, 1.0, 2.0)), Gene("kind", ((1, 2), (3, 4)), ordinal=False))
    + tuple(Gene(f"width{index}", (8, 16, 24)) for index in range(3))
)
optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial: optuna.Trial) -> float:
    picked = [choices(gene).index(trial.suggest_categorical(gene.name, choices(gene))) for gene in GENOME.genes]
    return float(sum(picked))


def make_study(storage: str | optuna.storages.BaseStorage | None = None, seed: int = 0) -> optuna.Study:
    sampler = EngineSampler(Constraint(GENOME), lambda: GaussianProcess(GENOME, steps=5), seed=seed)
    return optuna.create_study(
        storage=storage, sampler=sampler, direction="maximize", study_name="search", load_if_exists=True
    )


def told(study: optuna.Study) -> np.ndarray:
    return to_codes(GENOME, study.trials)


def test_a_study_finds_the_best_and_never_repeats_a_candidate() -> None:
    study = make_study()
    study.optimize(objective, n_trials=25)
    assert len(np.unique(told(study), axis=0)) == 25
    assert study.best_value >= 11  # of 12


def test_a_study_killed_and_resumed_proposes_what_it_would_have_proposed(tmp_path: Path) -> None:
    whole = make_study(f"sqlite:///{tmp_path}/whole.db")
    whole.optimize(objective, n_trials=16)
    for _ in range(2):
        make_study(f"sqlite:///{tmp_path}/parts.db").optimize(objective, n_trials=8)
    np.testing.assert_array_equal(told(whole), told(make_study(f"sqlite:///{tmp_path}/parts.db")))


def test_what_another_worker_evaluates_is_not_proposed() -> None:
    study = make_study()
    running = [study.ask() for _ in range(4)]
    for trial in running:
        objective(trial)
    assert len(np.unique(told(study), axis=0)) == 4


def test_a_candidate_that_fails_twice_is_given_up() -> None:
    genome = Genome((Gene("width", (8, 16, 24)),))
    sampler = EngineSampler(Constraint(genome), lambda: GaussianProcess(genome, steps=2))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(8):
        trial = study.ask()
        value = trial.suggest_categorical("width", [8, 16, 24])
        if value == 16:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
    assert sum(trial.params["width"] == 16 for trial in study.trials) <= 2


def test_the_trial_of_a_dead_worker_is_evaluated_again(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db", heartbeat=1)
    study = make_study(storage)
    lost = study.ask()
    objective(lost)
    storage.record_heartbeat(lost._trial_id)
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'"))
    study.optimize(objective, n_trials=1)
    rows = told(study)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL
    np.testing.assert_array_equal(rows[0], rows[1])
    assert study.trials[1].state == optuna.trial.TrialState.COMPLETE


def test_the_study_recommends_by_posterior_mean() -> None:
    study = make_study()
    study.optimize(objective, n_trials=15)
    assert isinstance(study.sampler, EngineSampler)
    assert len(study.sampler.recommend(study, 3).codes) == 3


def test_a_parameter_that_is_no_gene_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'lr'.*legal: the genes depth"):
        make_study().optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=1)
