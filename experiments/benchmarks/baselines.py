"""Searches to compare with: random, regularized evolution, Optuna's TPE, pymoo's genetic algorithm.

Each trains through :class:`experiments.benchmarks.tables.Training`, so that a network proposed twice is free, limits
are free to check, and the budget counts distinct networks. Each ends when the budget does.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np

from experiments.benchmarks.tables import BudgetSpentError, Table, Training
from predictors.arrays import Codes

Baseline = Callable[[Table, Training, np.random.Generator], None]
TRIES = 2000
"""Proposals without a new network after which a baseline goes on with a random one."""


def random_search(table: Table, training: Training, rng: np.random.Generator) -> None:
    """Train distinct networks in random order."""
    for network in rng.permutation(np.flatnonzero(table.allowed)):
        training.train(int(network))


def regularized_evolution(
    table: Table, training: Training, rng: np.random.Generator, population: int = 20, tournament: int = 5
) -> None:
    """Mutate one gene of the best of a random few, and let the oldest die.

    Source: Real et al., Regularized evolution for image classifier architecture search (2019)
    """
    alive: deque[tuple[Codes, float]] = deque(maxlen=population)
    for network in rng.permutation(np.flatnonzero(table.allowed))[:population]:
        alive.append((table.codes[network][None], training.train(int(network))))
    idle = 0
    while True:
        contest = rng.choice(len(alive), min(tournament, len(alive)), replace=False)
        parent = max((alive[int(index)] for index in contest), key=lambda member: member[1])[0]
        child = _feasible_neighbor(table, parent, rng)
        before = len(training.order)
        alive.append((child, training.train(int(table.find(child)[0]))))
        idle = idle + 1 if len(training.order) == before else 0
        if idle > TRIES:
            idle = 0
            _train_any_new(table, training, rng)


def _feasible_neighbor(table: Table, parent: Codes, rng: np.random.Generator) -> Codes:
    near = table.genome.neighbors(parent[0])
    near = near[table.feasible(near)]
    return near[rng.integers(len(near))][None] if len(near) else parent


def _train_any_new(table: Table, training: Training, rng: np.random.Generator) -> None:
    """Train a random network not trained yet, or end the search where there is none."""
    left = np.setdiff1d(np.flatnonzero(table.allowed), training.order)
    if not len(left):
        raise BudgetSpentError
    training.train(int(rng.choice(left)))


def tpe(table: Table, training: Training, rng: np.random.Generator) -> None:
    """Optuna's multivariate tree-structured Parzen estimator; infeasible proposals are told as failed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=int(rng.integers(2**31)))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    for gene in table.genome.genes:
        last = len(gene.values) - 1
        ordered = optuna.distributions.IntDistribution(0, last)
        space[gene.name] = ordered if gene.ordinal else optuna.distributions.CategoricalDistribution(range(last + 1))
    idle = 0
    while True:
        trial = study.ask(space)
        row = np.array([[trial.params[gene.name] for gene in table.genome.genes]], dtype=np.uint8)
        before = len(training.order)
        if table.feasible(row)[0]:
            study.tell(trial, training.train(int(table.find(row)[0])))
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        idle = idle + 1 if len(training.order) == before else 0
        if idle > 50:
            idle = 0
            _train_any_new(table, training, rng)


def genetic_algorithm(table: Table, training: Training, rng: np.random.Generator, population: int = 20) -> None:
    """pymoo's genetic algorithm on integers; infeasible children are not trained and lose every tournament."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    start = table.codes[rng.permutation(np.flatnonzero(table.allowed))[:population]].astype(int)
    algorithm = GA(
        pop_size=population,
        sampling=start,
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    last = table.genome.cards - 1
    problem = Problem(n_var=len(last), n_obj=1, n_ieq_constr=1, xl=np.zeros(len(last)), xu=last, vtype=int)
    algorithm.setup(problem, seed=int(rng.integers(2**31)), termination=("n_gen", 10**6), verbose=False)
    idle = 0
    while True:
        children = algorithm.ask()
        before = len(training.order)
        if children is None or not len(children):
            _train_any_new(table, training, rng)
            continue
        rows = np.asarray(children.get("X")).astype(np.uint8)
        allowed = table.feasible(rows)
        losses = np.zeros((len(rows), 1))
        for index in np.flatnonzero(allowed):
            losses[index] = -training.train(int(table.find(rows[index : index + 1])[0]))
        for individual, loss, fits in zip(children, losses, allowed, strict=True):
            individual.F, individual.G = loss, np.array([-1.0 if fits else 1.0])
            individual.evaluated.update(("F", "G"))
        algorithm.tell(infills=children)
        idle = idle + 1 if len(training.order) == before else 0
        if idle > 50:
            idle = 0
            _train_any_new(table, training, rng)


BASELINES: dict[str, Baseline] = {
    "random": random_search,
    "evolution": regularized_evolution,
    "tpe": tpe,
    "ga": genetic_algorithm,
}
