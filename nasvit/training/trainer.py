"""The training loop: batches, learning rate, moving average, metrics, checkpoints, resuming, rolling back."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.compute import ALONE, Compute
from nasvit.data.loader import Batch, Loader
from nasvit.layers import sync_batch_norm
from nasvit.tasks.task import Metric
from nasvit.training.checkpoint import Checkpoint, Checkpoints
from nasvit.training.collapse import Collapse, CollapseDetector, TrainingCollapsedError
from nasvit.training.ema import MovingAverage
from nasvit.training.execution import PLAIN, Execution, Running
from nasvit.training.learner import Losses, Trainable, Values
from nasvit.training.loaded import is_frozen, without_loaded
from nasvit.training.metrics import Metrics
from nasvit.training.optimizers import DecayRule, GuardedStep, build_optimizer, is_decayed, set_learning_rate
from nasvit.training.progress import Progress
from nasvit.training.readings import Reading, Readings
from nasvit.training.schedule import learning_rate
from nasvit.training.setback import NO_SETBACK, Setback, seen
from search_spaces.recipe import Recipe

MOST_ROLLBACKS = 3
"""Times that training may go back before it has its whole learning rate again."""

_GOOD_EVERY = 20, 1000  # steps between two checkpoints to go back to: at least, at most; else a tenth of the training
_GIVEN_BACK_IN = 5  # so many times that, in steps, until a halving of the learning rate is taken back
_SKIPPED, _JOINED = "skipped", "joined loss"  # read with the losses of a step, and not logged like them


class Trainer:
    """Trains a learner by a recipe, resumably: killed at any moment and run again, it gives the same result.

    Batches, subnets and dropout of a step follow from the seed and the number of the step alone, so that a checkpoint
    needs weights, optimizer and step only. On an accelerator the numbers of a step are read, and a collapse is
    noticed, some steps later, so that the device never waits for the host. Several processes train as one; the first
    writes the files, and its checkpoint is what all go on from.

    Args:
        learner: the learner to train; its weights are on the device.
        loader: loader of the training batches.
        recipe: optimizer, learning rate, epochs and so on.
        folder: folder of ``metrics.jsonl`` and ``checkpoints/``; an unfinished training there goes on.
        seed: any integer.
        running: how steps are computed; see :class:`nasvit.training.execution.Running`.
        compute: the device and the processes.
        chance_loss: loss of guessing, by which a collapse is detected; a property of the task.
        evaluate: called with the weights to evaluate (the moving average if the recipe has one) after every
            ``evaluate_every`` epochs; its numbers are logged.
        evaluate_every: epochs; 0 evaluates never.
        keep_best: the metric by which the best weights are kept (:meth:`load_best`): that of the evaluations' number
            ``score``; None keeps none.
        decays: which parameters weight decay acts on.
        checkpoint_seconds: seconds between two checkpoints.
        good_every: steps between two checkpoints that a collapse may go back to; a tenth of the training, within
            bounds, if left out.
        name: name on the progress bar.
    """

    def __init__(
        self,
        learner: Trainable,
        loader: Loader,
        recipe: Recipe,
        folder: Path,
        *,
        seed: int,
        chance_loss: float,
        running: Running = PLAIN,
        compute: Compute = ALONE,
        evaluate: Callable[[nn.Module], Values] | None = None,
        evaluate_every: int = 0,
        keep_best: Metric | None = None,
        decays: DecayRule = is_decayed,
        checkpoint_seconds: float = 120.0,
        good_every: int | None = None,
        name: str = "training",
    ) -> None:
        loader.check_training()
        self.learner, self.loader, self.recipe, self.folder = learner, loader, recipe, folder
        self.seed, self.name, self.compute = seed, name, compute
        self.execution = Execution(running, compute)
        compute.hold_memory()
        self.evaluate, self.evaluate_every, self.keep_best = evaluate, evaluate_every, keep_best
        self.checkpoint_seconds = checkpoint_seconds
        self.steps = recipe.epochs * len(loader)
        self.learning_rate = learning_rate(recipe, len(loader))
        self.optimizer = build_optimizer(
            learner.model.named_parameters(), recipe, decays, loaded=learner.loaded, loaded_rate=recipe.loaded_rate
        )
        learner.guard(self.optimizer)
        self.take_step = GuardedStep(self.optimizer, lambda: learner.gradients, waits=not compute.late_steps)
        self.average = MovingAverage(learner.model, recipe.ema_decay) if recipe.ema_decay else None
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.collapse = CollapseDetector(chance_loss)
        self.readings = Readings(compute)
        self.good_every = (
            min(max(self.steps // 10, _GOOD_EVERY[0]), _GOOD_EVERY[1]) if good_every is None else good_every
        )
        self.step, self.rollbacks, self.setback, self.seconds = 0, 0, NO_SETBACK, 0.0

    @property
    def trained(self) -> nn.Module:
        """The model to use: the moving average if the recipe has one."""
        return self.learner.model if self.average is None else self.average.model

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the images."""
        return len(self.loader)

    @property
    def averages(self) -> list[nn.Module]:
        """The moving average, if the recipe has one."""
        return [] if self.average is None else [self.average.model]

    def run(self, *, until: int | None = None) -> nn.Module:
        """Train to the end (or to step ``until``), from the last checkpoint if there is one.

        Returns:
            The model to use, see :attr:`trained`.

        Raises:
            TrainingCollapsedError: if training collapses again and again.
        """
        self.compute.wait()  # the others may have prepared for hours; within a step they may not take so long
        last = self.compute.from_first(self.checkpoints.load_last)
        if last is not None:
            self._restore(last)
        else:
            self._save(good=True)  # something to go back to from the first step on
        stop = self.steps if until is None else min(until, self.steps)
        progress = Progress(self.name, self.steps, done=self.step, visible=self.compute.shows)
        with self._metrics(last) as metrics, progress, self.execution.numbers():
            self._loop(stop, metrics, progress)
            if self.execution.running.compile and self.execution.graphs:
                metrics.append(self.step, {"event": "compiled", "graphs": self.execution.graphs})
        sync_batch_norm(self.learner.model, None)
        self._share_statistics()
        return self.trained

    def try_step(self, batch: Batch) -> float:
        """Make one step that nothing is written of, for those who measure it; it is over when this returns.

        Args:
            batch: images and targets on the device, not necessarily as many as the recipe says.

        Returns:
            The loss.
        """
        with self.execution.numbers():
            values, _ = self._train_on(batch)
        self.step += 1
        (loss,) = self.compute.read(values["loss"][None])
        return loss

    def load_best(self) -> nn.Module:
        """Put the weights that scored best into the model to use, after training is over.

        Of several processes all do this together.

        Returns:
            That model, see :attr:`trained`.

        Raises:
            ValueError: if no evaluation was scored.
        """
        best = self.compute.from_first(self.checkpoints.load_best)
        if best is None:
            raise ValueError("no evaluation was scored; give the trainer evaluate, evaluate_every and keep_best")
        self.trained.load_state_dict(best.state["model"])
        return self.trained

    def _loop(self, stop: int, metrics: Metrics, progress: Progress) -> None:
        saved_at, started = time.monotonic(), time.monotonic() - self.seconds
        while self.step < stop:
            for batch in self.loader.steps(self.step, stop):
                values, rate = self._train_on(batch)
                self.step += 1
                self.seconds = time.monotonic() - started
                host = {"learning_rate": rate, "seconds": round(self.seconds, 2)}
                self.readings.add(self.step, values, host)
                evaluates = self._evaluates()
                if self._judge(metrics, progress, whole=evaluates or self.step >= stop):
                    break  # it went back to an earlier step
                progress.advance()
                if evaluates:
                    self._evaluate(metrics)
                good = self.step % self.good_every == 0
                if good or self.step >= stop or time.monotonic() - saved_at > self.checkpoint_seconds:
                    self._save(metrics, good=good)
                    saved_at = time.monotonic()

    def _train_on(self, batch: Batch) -> tuple[Losses, float]:
        rate = self.learning_rate(self.step) * 0.5 ** self.setback.halvings(self.step, self._given_back_in)
        set_learning_rate(self.optimizer, rate)
        self.learner.before_step(self)
        rng = np.random.default_rng([self.seed, self.rollbacks, self.step])
        torch.manual_seed(int(rng.integers(2**63)))
        self.learner.zero_grad()
        values = self.learner.add_gradients(*batch, rng, self.execution)
        return values | self._optimize(values["loss"]), rate

    def _optimize(self, loss: Tensor) -> Losses:
        """Move the weights, unless a loss or a gradient is not finite; return what is to be judged of the step."""
        several = self.compute.count > 1
        joined = self.compute.mean_(loss.detach().clone()) if several else loss
        sound = torch.isfinite(joined) & torch.isfinite(self.learner.gradients.norm())
        frozen = is_frozen(self.step, self.steps_per_epoch, self.recipe.frozen_epochs)
        with without_loaded(self.optimizer, frozen):
            self.take_step(sound)
        if self.execution.scale is not None:
            self.execution.scale.update(sound)
        if self.average is not None:
            self.average.update(self.learner.model)
        return {_SKIPPED: ~sound} | ({_JOINED: joined} if several else {})

    def _judge(self, metrics: Metrics, progress: Progress, *, whole: bool) -> bool:
        """Log the steps that are due, and look for a collapse; return whether training went back to an earlier step.

        Every process does this at the same steps, so that all go back together.
        """
        for reading in self.readings.due(whole=whole):
            noticed = _notice(self.collapse, reading)
            if noticed is not None:
                self._roll_back(noticed, reading, metrics)
                return True
            progress.note(f"loss {reading.values['loss']:.3f}")
            _log(metrics, reading)
        return False

    def _evaluates(self) -> bool:
        """Whether an evaluation follows the step that was just made."""
        epoch, begun = divmod(self.step, len(self.loader))
        if self.evaluate is None or not self.evaluate_every or begun:
            return False
        return epoch % self.evaluate_every == 0 or epoch == self.recipe.epochs

    def _evaluate(self, metrics: Metrics) -> None:
        assert self.evaluate is not None
        epoch = self.step // len(self.loader)
        values = self.evaluate(self.trained)
        if not self.compute.is_first:
            return
        if self.keep_best is not None:
            self.checkpoints.save_best(self.step, {"model": self.trained.state_dict()}, values["score"], self.keep_best)
        metrics.append(self.step, {"epoch": epoch, **values})

    def _share_statistics(self) -> None:
        """Let all processes use the first one's batch-norm statistics, as checkpoints do: each may have its own."""
        for buffer in self.trained.buffers():
            self.compute.copy_first_(buffer)

    def _metrics(self, last: Checkpoint | None) -> Metrics:
        name = "metrics.jsonl" if self.compute.is_first else f"metrics-{self.compute.rank}.jsonl"
        return Metrics(self.folder / name, resume_step=None if last is None else last.step)

    @property
    def _given_back_in(self) -> int:
        return _GIVEN_BACK_IN * self.good_every

    def _save(self, metrics: Metrics | None = None, *, good: bool = False) -> None:
        """Write a checkpoint, and log the steps before it: a run that goes on from it does not make them again.

        Args:
            metrics: the log.
            good: a collapse may go back to it, if training is healthy here.
        """
        if not self.compute.is_first:
            return
        collapse = copy.deepcopy(self.collapse)  # judges the steps that wait, which the real one does later
        if any(_notice(collapse, reading) for reading in self.readings.all()):
            return  # training is about to go back to an earlier step
        for reading in self.readings.all():
            assert metrics is not None, "steps wait only inside the loop, which has the log"
            _log(metrics, reading)
        scale = self.execution.scale
        state = {
            "model": self.learner.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scale": None if scale is None else scale.state_dict(),
            "collapse": collapse.state_dict(),
            "rollbacks": self.rollbacks,
            "setback": list(self.setback),
            "seconds": self.seconds,
        }
        self.checkpoints.save(self.step, state, good=good and collapse.healthy)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.learner.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(_for_device_of(self.optimizer, state["optimizer"]))
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.execution.scale is not None and state.get("scale") is not None:
            self.execution.scale.load_state_dict(state["scale"])
        self.readings.forget()
        self.collapse.load_state_dict(state["collapse"])
        self.step, self.rollbacks, self.seconds = checkpoint.step, state["rollbacks"], state["seconds"]
        self.setback = Setback(*state.get("setback", (self.rollbacks, self.step)))

    def _roll_back(self, noticed: Collapse, reading: Reading, metrics: Metrics) -> None:
        """Go back to a good checkpoint well before, and on from there with other subnets and half the learning rate."""
        good = self.compute.from_first(lambda: self.checkpoints.load_good(noticed.step - self.good_every))
        setback = self.setback.again(noticed.step, self._given_back_in)
        if good is None or setback.times > MOST_ROLLBACKS:
            found = "there is no good checkpoint to go back to" if good is None else f"after {MOST_ROLLBACKS} rollbacks"
            raise TrainingCollapsedError(
                f"training collapsed at step {noticed.step} ({noticed.reason}), {found}; lower the learning rate "
                f"({self.recipe.learning_rate:g}) or lengthen the warm-up ({self.recipe.warmup_epochs} epochs)"
                + seen(reading.values, self.learner.model, good)
            )
        rollbacks = self.rollbacks + 1
        self._restore(good)
        self.rollbacks, self.setback = rollbacks, Setback(setback.times, good.step)
        self.collapse.reset()
        if self.compute.shows:
            warnings.warn(
                f"training collapsed at step {noticed.step}: {noticed.reason}; back to step {good.step}, learning rate "
                "halved",
                stacklevel=2,
            )
        metrics.append(self.step, {"event": "rollback", "collapsed_at": noticed.step, "reason": noticed.reason})
        self._save(good=True)  # a kill from here on must not forget that this way was tried
        if self.compute.is_first:
            self.checkpoints.forget_from(good.step)


def _for_device_of(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's saved state with this one's way to update, which depends on the device."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    ways = [saved | {"fused": own["fused"]} if "fused" in saved else saved for saved, own in groups]
    return {**state, "param_groups": ways}


def _notice(collapse: CollapseDetector, reading: Reading) -> Collapse | None:
    """Let a detector judge a step, by the mean loss over all processes, so that all of them notice the same."""
    values = reading.values
    return collapse.update(reading.step, values.get(_JOINED, values["loss"]), skipped=bool(values[_SKIPPED]))


def _log(metrics: Metrics, reading: Reading) -> None:
    """Log a step once; a step that was left out says so."""
    if not reading.logged:
        values = {name: value for name, value in reading.values.items() if name not in (_SKIPPED, _JOINED)}
        skipped = {_SKIPPED: 1} if reading.values[_SKIPPED] else {}
        metrics.append(reading.step, {**values, **skipped, **reading.host})
        reading.logged = True
