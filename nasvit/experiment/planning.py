"""Making the plan of an experiment with ``hours``: measure this machine, choose the way, and keep the choice."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasvit.any_network.features import feature_agreement
from nasvit.any_network.model import ElasticModel
from nasvit.experiment.clock import spent, timed, total
from nasvit.experiment.config import Experiment
from nasvit.experiment.fitting import Fitting, Start
from nasvit.experiment.pace import Clock, seconds_of, seconds_per_epoch
from nasvit.experiment.plan import (
    Paces,
    Plan,
    Way,
    cheap_steps,
    choose,
    final_epochs,
    from_json,
    from_scratch,
    planned,
    require_time_for,
    to_json,
    too_few_seen,
    way_of,
)
from nasvit.experiment.stages.search import check_budgets
from nasvit.experiment.stages.start import start_supernet
from nasvit.experiment.stages.train import supernet_trainer
from nasvit.experiment.stages.unmeasured import BATCHES, IMAGES, expected_row, largest_of
from nasvit.experiment.workbench import PLAN, TIMING, Workbench
from nasvit.experiment.yaml_file import decisive
from nasvit.export.saved import save_network
from nasvit.files.records import read_json, write_record
from nasvit.search.by_features import quick_part
from nasvit.search.evaluate import InheritedWeights
from predictors.limits import Budget
from search_spaces import Subnet
from search_spaces.recipe import Recipe

_MEASURED_SHARE, _LEAST, _MOST = 0.005, 2.0, 60.0
"""Every pace is measured for this share of the time there is, in seconds between the two."""

ASKING = 0.1
"""Seconds that proposing and recording a candidate take besides its evaluation; it grows with the candidates."""

_MANY = 100_000  # epochs of a training that is only timed


def follow_plan(bench: Workbench, clock: Clock = time.perf_counter) -> None:
    """Let an experiment with hours follow its plan; without hours nothing changes.

    The plan of a folder is made once, and kept there; killed and run again, the experiment goes on by it. All processes
    call this together.

    Args:
        bench: the experiment; from here on it is the one that the plan makes of it.
        clock: what hours are counted by.

    Raises:
        ValueError: for a budget that no subnet meets, if the hours are not enough, or if the folder follows a plan that
            was made for another experiment.
    """
    if bench.experiment.hours is None:
        return
    known, asked = _known(bench), _asked(bench)
    if known is not None and known["asked"] != asked and not bench.compute.from_first(lambda: bench.has_begun):
        known = None  # nothing was trained by it
    if known is None:
        check_budgets(bench)
        bench.images.open()
        if bench.experiment.weights is not None:
            start_supernet(bench)  # weights that do not fit are found before anything is timed
        with timed(bench.folder, "plan", bench.compute):
            plan = _make(bench, 3600 * bench.experiment.hours, clock)
        following = planned(bench.experiment, plan)
        _keep(bench, plan)
    else:
        _check_asked(bench.folder, known["asked"], asked)
        plan = from_json(known["plan"])
        following = planned(bench.experiment, plan)
    told = [*plan.lines(), *_not_counted(following), *_too_few(bench, plan)]
    bench.compute.once(lambda: print("\n".join(told)))
    bench.follow(following)


def follow_known_plan(bench: Workbench) -> None:
    """Let an experiment with hours follow the plan that its folder has; for those who help with one.

    Raises:
        ValueError: if there is none yet.
    """
    if bench.experiment.hours is not None and _known(bench) is None:
        raise ValueError(f"there is no plan in {bench.folder} yet; begin with nasvit run or nasvit train")
    follow_plan(bench)


def _not_counted(following: Experiment) -> list[str]:
    """Return a line that says what is trained besides, if anything is."""
    if not following.compares:
        return []
    return ["    what the networks are compared with (compare) is trained afterwards, in time of its own"]


def _too_few(bench: Workbench, plan: Plan) -> list[str]:
    """Return a line if too few images are seen for networks that start from random weights."""
    return [] if bench.experiment.weights is not None else too_few_seen(plan, len(bench.images.whole))


def _known(bench: Workbench) -> Any:
    """Return the plan of the folder, with what it was made for; None if there is none."""
    path = bench.folder / PLAN
    return bench.compute.from_first(lambda: read_json(path) if path.exists() else None)


def _asked(bench: Workbench) -> dict[str, Any]:
    content = decisive(bench.asked.to_json())
    return {name: value for name, value in content.items() if name != "compare"}


def _check_asked(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [name for name in now if now[name] != before.get(name)]
    if changed:
        raise ValueError(
            f"{folder} follows a plan that was made for another {', '.join(changed)}; give another output folder, or "
            "remove that one"
        )


def _keep(bench: Workbench, plan: Plan) -> None:
    content = {"asked": _asked(bench), "plan": to_json(plan)}
    bench.compute.once(lambda: write_record(bench.folder / PLAN, content))


def follow_rest(bench: Workbench) -> None:
    """Give the final trainings of a plan the time that is left after all other stages.

    What is left is looked at once, and kept in the plan of the folder.

    Args:
        bench: an experiment that follows its plan; without one nothing changes.
    """
    if bench.asked.hours is None:
        return
    plan = from_json(_known(bench)["plan"])
    if plan.evaluations and not plan.replanned:
        used = bench.compute.from_first(lambda: total(spent(bench.folder)).wall)
        plan = replace(plan, final_epochs=final_epochs(plan, used), replanned=True)
        _keep(bench, plan)
    bench.follow(planned(bench.asked, plan))


def _make(bench: Workbench, seconds: float, clock: Clock) -> Plan:
    folder, began = bench.folder / TIMING, clock()
    bench.compute.once(lambda: shutil.rmtree(folder, ignore_errors=True))
    way, reason = way_of(bench.experiment, has_prior=bench.prior is not None)
    try:
        paces = Timing(bench, seconds, clock).paces(way)
    finally:
        bench.compute.once(lambda: shutil.rmtree(folder, ignore_errors=True))
    measured, used = bench.compute.from_first(lambda: (paces, clock() - began))
    return choose(seconds, used, measured, way, reason)


class Timing:
    """Measures how long things take, on networks with random weights.

    Args:
        bench: the experiment.
        seconds: the time there is.
        clock: what measures.
    """

    def __init__(self, bench: Workbench, seconds: float, clock: Clock = time.perf_counter) -> None:
        self.bench, self.seconds, self.clock = bench, seconds, clock
        self.least = min(max(_MEASURED_SHARE * seconds, _LEAST), _MOST)
        self.quiet = replace(bench.compute, shows=False)

    def paces(self, way: Way) -> Paces:
        """Return what has to be known of a way."""
        networks = [self._typical(budget, way) for budget in self.bench.budgets]
        plain = {each: self._plain(each) for each in dict.fromkeys(networks)}
        saving = self._saving(networks[-1])
        evaluation, image = 0.0, self._testing(networks[-1])
        if way == "supernet":
            evaluation = self._evaluation(networks[-1])
        if way == "features":
            evaluation = self._agreement()
        testing = image * len(self.bench.images.test)
        taken_out = way == "largest" and self.bench.experiment.weights is not None  # without a search
        return Paces(
            tuple(plain[each] for each in networks),
            self.supernet() if way == "supernet" else 0.0,
            evaluation + ASKING if evaluation else 0.0,
            final=saving + testing + (saving + 2 * testing if taken_out else 0.0),
            found=saving + 2 * testing + (2 + self.bench.experiment.search.finalists) * evaluation,
        )

    def _typical(self, budget: Budget, way: Way) -> Subnet:
        """Return the subnet that the prior expects to be best under a budget; else the largest within it."""
        if way == "prior":
            return self.bench.space.decode(expected_row(self.bench, budget)[0])[0]
        return largest_of(self.bench, budget)

    def _plain(self, architecture: Subnet) -> float:
        bench, folder = self.bench, self.bench.folder / TIMING / architecture.key
        training = bench.experiment.finetune.by(_endless(from_scratch(bench.experiment)))
        start = Start(bench.origin.spec(bench.space, architecture))
        compute = self.quiet if bench.compute.can_share(training.recipe.batch_size) else self.quiet.alone()
        fitting = Fitting(start, training, bench.images, seed=0, name="timing", compute=compute)
        epoch = seconds_per_epoch(fitting.trainer(folder, images=bench.images.whole, every=0), self.least, self.clock)
        require_time_for(bench.compute.from_first(lambda: epoch), self.seconds)
        return epoch

    def supernet(self) -> float:
        """Return the seconds of an epoch of the supernet."""
        bench, folder = self.bench, self.bench.folder / TIMING / "supernet"
        train = bench.experiment.train
        # The first steps of a training may be cheaper ones; all are planned as if they were the others.
        usual = replace(cheap_steps(train), recipe=_endless(train.recipe), evaluate_every=0, project_from=0)
        config = replace(usual, largest_first=0.0, resolution_first=0.0)
        return seconds_per_epoch(supernet_trainer(bench, config, folder, self.quiet), self.least, self.clock)

    def _testing(self, architecture: Subnet) -> float:
        """Return the seconds of testing one image."""
        bench = self.bench
        network = bench.compute.place(bench.origin.spec(bench.space, architecture).build(len(bench.classes)).eval())
        held_out = bench.images.evaluation_loader(bench.images.validation, compute=bench.compute.alone())
        few = next(iter(held_out.evaluation_batches()))
        bench.task.evaluate(network, [few])  # the first one also prepares what runs
        return seconds_of(lambda: bench.task.evaluate(network, [few]), self.clock) / len(few[0])

    def _evaluation(self, architecture: Subnet) -> float:
        """Return the seconds of one candidate of the search."""
        bench = self.bench
        supernet = bench.compute.place(bench.origin.supernet(bench.space, len(bench.classes), 0))
        supernet.requires_grad_(False)
        held_out = bench.images.evaluation_loader(bench.images.validation, compute=bench.compute.alone())
        measure = InheritedWeights(
            supernet,
            bench.task,
            bench.calibration(),
            held_out.evaluation_batches,
            rounded=bench.experiment.search.quantize is not None,
        )
        measure(architecture)  # the first one also prepares the images
        return seconds_of(lambda: measure(architecture), self.clock)

    def _agreement(self) -> float:
        """Return the seconds of comparing the features of one subnet."""
        bench = self.bench
        supernet = bench.compute.place(bench.origin.supernet(bench.space, len(bench.classes), 0))
        assert isinstance(supernet, ElasticModel)
        score = feature_agreement(supernet, quick_part(list(bench.images.calibration(BATCHES, IMAGES))))
        return seconds_of(lambda: score(supernet.space.largest), self.clock)

    def _saving(self, architecture: Subnet) -> float:
        bench, folder = self.bench, self.bench.folder / TIMING / "saved"
        spec = bench.origin.spec(bench.space, architecture)
        network = spec.build(len(bench.classes)).eval()
        card = bench.images.card(spec, {})
        return seconds_of(lambda: save_network(network, folder, card, program=True), self.clock)


def _endless(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=_MANY, warmup_epochs=0, loaded_rate=1.0, frozen_epochs=0)
