"""Stage 2: find the best architecture, recipe, or both, under each budget."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.experiment.stages.choice import (
    CHOICES,
    Choice,
    Records,
    choose,
    describe_choices,
    judge_of,
    judge_of_finalists,
    write_choices,
)
from nasvit.experiment.stages.finalists import find_finalists, measure
from nasvit.experiment.stages.splits import splits_of
from nasvit.experiment.stages.train import require_same_supernet
from nasvit.experiment.stages.trials import looked_at, make_trials
from nasvit.experiment.stages.unmeasured import choose_unmeasured, describe_unmeasured, require_prior
from nasvit.experiment.workbench import STUDY, Workbench
from nasvit.experiment.yaml_file import decisive
from nasvit.files.records import read_record, write_record
from nasvit.files.whole import write_text
from nasvit.search.candidates import Candidate, Costs
from nasvit.search.run import imagine
from nasvit.search.storage import FileStorage, hide_password
from nasvit.search.study import Plan, Study
from predictors.accuracy import Predictor
from predictors.arrays import Codes
from predictors.ensemble import make_predictor
from predictors.limits import Limit, feasible, require_feasible
from predictors.pool import Constraint
from predictors.report import format_report, predictor_report

FIRST = 5
"""Candidates of each budget that the prior chooses: half of those that are evaluated before the predictor is asked."""

_POOL = 4096  # random candidates from which the feasible share is estimated


def check_budgets(bench: Workbench) -> list[str]:
    """Refuse a search that cannot succeed, before anything is trained.

    Returns:
        A line for every budget: the share of random candidates of the whole space that meet it; then one with what
        budgets spare the training of the supernet.

    Raises:
        ValueError: naming the budget that no subnet meets and the closest feasible values, or another mistake.
    """
    candidates, rng = bench.whole_candidates, np.random.default_rng(0)
    judge_of_finalists(bench)
    _check_prior(bench)
    pool = candidates.genome.sample(_POOL, rng)
    costs = candidates.costs(np.concatenate([candidates.smallest_and_largest, pool]))
    lines = []
    for budget in filter(None, bench.budgets):
        share = float(feasible(costs, budget.limits)[2:].mean())
        if not share:
            _require_reachable(candidates.constraint(budget.limits), costs, budget.limits)
        lines.append(f"{budget}: {f'{share:.2%}' if share else f'less than 1 in {_POOL}'} of random subnets meet it")
    _predictor_factory(bench)()
    return [*lines, *bench.training_costs()]


def _check_prior(bench: Workbench) -> None:
    """Open the prior, so that a mistake in its file shows before anything is trained."""
    if bench.experiment.search.evaluate == "prior":
        require_prior(bench)
    assert bench.prior is None or len(bench.prior.prior.data)


def _require_reachable(constraint: Constraint, costs: Costs, limits: Sequence[Limit]) -> None:
    try:
        constraint.sample(1, np.random.default_rng(0))
    except ValueError:
        require_feasible(costs, limits)  # says more
        raise


def search(bench: Workbench) -> list[Choice]:
    """Search under every budget; run again, it goes on where it was stopped.

    Several processes each evaluate candidates of their own, as workers on one study, and share out the finalists. What
    is proposed depends on what is known by then, so that they do not evaluate exactly the candidates that one would.

    Writes into ``search/``: ``evaluations.jsonl``, ``choices.json``, ``predictor.json``, ``pareto.csv`` and
    ``pareto.png``, and the study, unless ``storage`` is another place.

    Returns:
        The subnet chosen for every budget.

    Raises:
        ValueError: for a budget that no subnet meets.
        FileNotFoundError: if a supernet is needed and none was trained yet.
    """
    check_budgets(bench)
    _require_same_supernet(bench)
    if not bench.experiment.search.evaluates:
        return bench.compute.from_first(lambda: _without_evaluations(bench))
    trials, compute = make_trials(bench), bench.compute
    study = _join_study(bench, trials.quick)
    if _takes_part(bench):
        study.run(visible=compute.shows)
    compute.wait()
    finalists = compute.from_first(lambda: find_finalists(bench, study, bench.search_seed))
    measured = measure(trials, finalists, _journal(bench), compute)
    return compute.from_first(lambda: _finish(bench, study, measured))


def _journal(bench: Workbench) -> Path:
    """Return the file of thorough records; those on another number of splits mean something else."""
    count = splits_of(bench)
    several = f"{count}-splits-" if count > 1 else ""
    return bench.folder / "search" / f"finalists-{several}{_study_name(bench)}.jsonl"


def _takes_part(bench: Workbench) -> bool:
    """Whether this process searches: SQLite is not for several machines, so that without a server only one does."""
    own, machines = socket.gethostname(), bench.compute.gather(socket.gethostname())
    waiting = sorted({machine for machine in machines if machine != machines[0]})
    if bench.experiment.search.storage is not None or not waiting:
        return True
    if bench.compute.is_first:
        print(f"{', '.join(waiting)} waits while {own} searches; give search.storage, a database, and it takes part")
    return own == machines[0]


def _finish(bench: Workbench, study: Study, measured: Records) -> list[Choice]:
    """Choose the best finalist of every budget, and write what was found."""
    folder, choices, learned = bench.folder / "search", choose(bench, measured), study.records
    _report(bench, study)
    for line in describe_choices(bench, choices):
        print(line)
    _write_lines(folder / "evaluations.jsonl", learned)
    write_choices(bench, choices, measured, learned)
    write_record(folder / "asked.json", _asked(bench))
    return choices


def _without_evaluations(bench: Workbench) -> list[Choice]:
    choices = choose_unmeasured(bench)
    print("\n".join(describe_unmeasured(choices)))
    write_record(bench.folder / "search" / "asked.json", _asked(bench))
    return choices


def work(bench: Workbench) -> None:
    """Join the search of an experiment as one more worker, until its evaluations are complete.

    Raises:
        ValueError: for a budget that no subnet meets.
        FileNotFoundError: if a supernet is needed and the folder of the results has none.
    """
    check_budgets(bench)
    if not bench.experiment.search.evaluates:
        raise ValueError(
            f"search.evaluate: {bench.experiment.search.evaluate} chooses without evaluations that workers could "
            "share, so that there is nothing to help with"
        )
    _require_same_supernet(bench)
    _join_study(bench, make_trials(bench).quick).run(visible=bench.compute.shows)


def is_searched(bench: Workbench) -> bool:
    """Return whether there is a search result for the current configuration."""
    folder = bench.folder / "search"
    if not all((folder / name).exists() for name in (CHOICES, "asked.json")):
        return False
    found = read_record(folder / "asked.json", "search")
    return {**found, "search": hide_password(found["search"])} == _asked(bench)


def _require_same_supernet(bench: Workbench) -> None:
    """Refuse to go on in another supernet than the search began with."""
    if bench.experiment.search.trains_supernet:
        require_same_supernet(bench)


def _join_study(bench: Workbench, evaluate: Callable[[Candidate, float], dict[str, Any]]) -> Study:
    """Open the study in all processes, the first one first: two must not both make the tables."""
    bench.compute.once(lambda: _open_study(bench, evaluate))
    return _open_study(bench, evaluate)


def _open_study(bench: Workbench, evaluate: Callable[[Candidate, float], dict[str, Any]]) -> Study:
    config = bench.experiment.search
    plan = Plan(
        bench.candidates,
        [budget.limits for budget in bench.budgets],
        config.evaluations,
        _predictor_factory(bench),
        bench.search_seed,
        config.early_stop,
        judge=judge_of(bench, len(looked_at(bench))),
        first=_expected_first(bench),
    )
    (bench.folder / "search").mkdir(parents=True, exist_ok=True)
    storage = config.storage or FileStorage(bench.folder / STUDY)
    return Study(plan, evaluate, storage, f"nasvit-{_study_name(bench)}")


def _expected_first(bench: Workbench) -> Callable[[Constraint], Codes] | None:
    """Return what proposes the first candidates within limits: those that the prior expects to be best."""
    prior, candidates = bench.prior, bench.candidates
    if prior is None or candidates.recipes is not None or candidates.architecture is not None:
        return None
    nothing = candidates.genome.sample(0, np.random.default_rng(0))
    return lambda limits: imagine(prior, limits, nothing, FIRST, np.random.default_rng(bench.search_seed)).codes


def _predictor_factory(bench: Workbench) -> Callable[[], Predictor]:
    candidates, name = bench.candidates, bench.experiment.search.predictor
    proxies = candidates.proxies if candidates.architecture is None else None  # a constant tells nothing
    return lambda: make_predictor(name, candidates.genome, proxies)


def _report(bench: Workbench, study: Study) -> None:
    """Print and save how well the predictor ranks unseen candidates."""
    report = predictor_report(study.plan.make_predictor, *study.told(), np.random.default_rng(bench.search_seed))
    report["learned"] = study.plan.judge.name
    write_record(bench.folder / "search" / "predictor.json", report)
    print(format_report(report))


_DECIDES = ("recipes", "architecture", "evaluate", "images", "train_images", "early_stop", "seed")
_CALIBRATION = ("calibration_batches", "calibration_batch_size")


def _study_name(bench: Workbench) -> str:
    """Return a name of the study that differs wherever scores are not comparable."""
    config = decisive(bench.experiment.to_json())
    asked = config["search"]
    decides: dict[str, Any] = {name: asked[name] for name in _DECIDES}
    decides |= {name: config[name] for name in ("space", "data", "seed")}
    for name in ("network", "elastic", "weights", "class_weights"):
        if config.get(name) is not None:
            decides[name] = config[name]
    if config.get("task", "classification") != "classification":
        decides |= {name: config[name] for name in ("task", "head")}
    if "quantize" in asked:
        decides["quantize"] = asked["quantize"]
    if bench.started_from:
        decides["started_from"] = bench.started_from["started_from"].get("sha256", "")
    decides["genes"] = [(gene.name, [str(value) for value in gene.values]) for gene in bench.candidates.genome.genes]
    if bench.experiment.uses_supernet:
        decides |= {"train": config["train"], **{name: asked[name] for name in _CALIBRATION}}
        if bench.trained_for:
            decides["trained_for"] = [budget.text for budget in bench.trained_for]
    if asked["evaluate"] != "inherited":
        decides["finetune"] = config["finetune"]
    if asked["early_stop"] and judge_of(bench, len(looked_at(bench))).by_loss:
        decides["stopped_by"] = "loss"  # the share of a training that was found by scores would not do
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def _asked(bench: Workbench) -> dict[str, Any]:
    """Return the configuration that a search result depends on."""
    asked = bench.experiment.to_json()["search"]
    for name, automatic in (("judge", "auto"), ("prior", "auto"), ("splits", None), ("quantize", None)):
        if asked[name] == automatic:
            del asked[name]  # the results of earlier versions, which do not know it, stay
    return {"study": _study_name(bench), "search": asked}


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))
