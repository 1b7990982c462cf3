"""The training loop: batches, learning rate, moving average, metrics, checkpoints, resuming, rolling back."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from nasvit.data.loader import Batch, Loader
from nasvit.tasks.task import Metric
from nasvit.training.checkpoint import Checkpoint, Checkpoints
from nasvit.training.collapse import CollapseDetector, TrainingCollapsedError
from nasvit.training.ema import MovingAverage
from nasvit.training.learner import Trainable, Values
from nasvit.training.metrics import Metrics
from nasvit.training.optimizers import DecayRule, build_optimizer, is_decayed, set_learning_rate
from nasvit.training.processes import is_first_process, wait_for_all
from nasvit.training.progress import Progress
from nasvit.training.schedule import learning_rate
from search_spaces.recipe import Recipe

Precision = Literal["float32", "bfloat16"]
MOST_ROLLBACKS = 3


class Trainer:
    """Trains a learner by a recipe, resumably: killed at any moment and run again, it gives the same result.

    Batches, subnets and dropout of a step follow from the seed and the number of the step alone, so that a checkpoint
    needs weights, optimizer and step only.

    Args:
        learner: the learner to train.
        loader: loader of the training batches.
        recipe: optimizer, learning rate, epochs and so on.
        folder: folder of ``metrics.jsonl`` and ``checkpoints/``; an unfinished training there goes on.
        seed: any integer.
        precision: ``"bfloat16"`` runs forward passes under autocast.
        chance_loss: loss of guessing, by which a collapse is detected; a property of the task.
        evaluate: called with the weights to evaluate (the moving average if the recipe has one) after every
            ``evaluate_every`` epochs; its numbers are logged.
        evaluate_every: epochs; 0 evaluates never.
        keep_best: the metric by which the best weights are kept (:meth:`load_best`): that of the evaluations' number
            ``score``; None keeps none.
        decays: which parameters weight decay acts on.
        checkpoint_seconds: seconds between two checkpoints.
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
        precision: Precision = "float32",
        evaluate: Callable[[nn.Module], Values] | None = None,
        evaluate_every: int = 0,
        keep_best: Metric | None = None,
        decays: DecayRule = is_decayed,
        checkpoint_seconds: float = 120.0,
        name: str = "training",
    ) -> None:
        if not len(loader):
            raise ValueError(f"batch_size {loader.batch_size} is more than the {len(loader.images)} training images")
        self.learner, self.loader, self.recipe, self.folder = learner, loader, recipe, folder
        self.seed, self.precision, self.name = seed, precision, name
        self.evaluate, self.evaluate_every, self.keep_best = evaluate, evaluate_every, keep_best
        self.checkpoint_seconds = checkpoint_seconds
        self.steps = recipe.epochs * len(loader)
        self.learning_rate = learning_rate(recipe, len(loader))
        self.optimizer = build_optimizer(learner.model.named_parameters(), recipe, decays)
        learner.guard(self.optimizer)
        self.average = MovingAverage(learner.model, recipe.ema_decay) if recipe.ema_decay else None
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.collapse = CollapseDetector(chance_loss)
        self.step, self.rollbacks, self.seconds = 0, 0, 0.0

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
        last = self.checkpoints.load_last()
        if last is not None:
            self._restore(last)
        else:
            self._save()  # something to go back to from the first step on
        stop = self.steps if until is None else min(until, self.steps)
        with self._metrics(last) as metrics, Progress(self.name, self.steps, done=self.step) as progress:
            self._loop(stop, metrics, progress)
        return self.trained

    def load_best(self) -> nn.Module:
        """Put the weights that scored best into the model to use, after training is over.

        Of several processes all do this together, because they wait for each other.

        Returns:
            That model, see :attr:`trained`.

        Raises:
            ValueError: if no evaluation was scored.
        """
        wait_for_all()  # the first process may be at the last evaluation still, while the others are done
        best = self.checkpoints.load_best()
        if best is None:
            raise ValueError("no evaluation was scored; give the trainer evaluate, evaluate_every and keep_best")
        self.trained.load_state_dict(best.state["model"])
        return self.trained

    def _loop(self, stop: int, metrics: Metrics, progress: Progress) -> None:
        saved_at, started = time.monotonic(), time.monotonic() - self.seconds
        while self.step < stop:
            epoch, index = divmod(self.step, len(self.loader))
            for batch in self.loader.batches(epoch, start=index):
                values = self._train_on(batch)
                self.step += 1
                self.seconds = time.monotonic() - started
                noticed = self.collapse.update(self.step, _joined(values["loss"]))
                if noticed is not None:
                    self._roll_back(noticed.reason, metrics)
                    break
                progress.advance(note=f"loss {values['loss']:.3f}")
                metrics.append(self.step, {**values, "seconds": round(self.seconds, 2)})
                if self.step % len(self.loader) == 0:
                    self._evaluate(epoch + 1, metrics)
                if self.step >= stop or time.monotonic() - saved_at > self.checkpoint_seconds:
                    self._save()
                    saved_at = time.monotonic()
                if self.step >= stop:
                    break

    def _train_on(self, batch: Batch) -> Values:
        rate = self.learning_rate(self.step) * 0.5**self.rollbacks
        set_learning_rate(self.optimizer, rate)
        self.learner.before_step(self)
        rng = np.random.default_rng([self.seed, self.rollbacks, self.step])
        torch.manual_seed(int(rng.integers(2**63)))
        self.learner.zero_grad()
        values = self.learner.add_gradients(*batch, rng, self._autocast)
        if math.isfinite(values["loss"]):
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.learner.model)
        return {**values, "learning_rate": rate}

    def _autocast(self) -> AbstractContextManager[Any]:
        device = next(self.learner.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _evaluate(self, epoch: int, metrics: Metrics) -> None:
        due = self.evaluate_every and (epoch % self.evaluate_every == 0 or epoch == self.recipe.epochs)
        if self.evaluate is None or not due or not is_first_process():
            return
        values = self.evaluate(self.trained)
        if self.keep_best is not None:
            self.checkpoints.save_best(self.step, {"model": self.trained.state_dict()}, values["score"], self.keep_best)
        metrics.append(self.step, {"epoch": epoch, **values})

    def _metrics(self, last: Checkpoint | None) -> Metrics:
        name = "metrics.jsonl" if is_first_process() else f"metrics-{torch.distributed.get_rank()}.jsonl"
        return Metrics(self.folder / name, resume_step=None if last is None else last.step)

    def _save(self) -> None:
        if not is_first_process():
            return
        state = {
            "model": self.learner.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "collapse": self.collapse.state_dict(),
            "rollbacks": self.rollbacks,
            "seconds": self.seconds,
        }
        self.checkpoints.save(self.step, state, good=self.collapse.healthy)

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.learner.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.collapse.load_state_dict(state["collapse"])
        self.step, self.rollbacks, self.seconds = checkpoint.step, state["rollbacks"], state["seconds"]

    def _roll_back(self, reason: str, metrics: Metrics) -> None:
        """Go back to the last good checkpoint, and on from there with other subnets and half the learning rate."""
        collapsed_at, rollbacks = self.step, self.rollbacks + 1
        good = self.checkpoints.load_good()
        if good is None or rollbacks > MOST_ROLLBACKS:
            found = "there is no good checkpoint to go back to" if good is None else f"after {MOST_ROLLBACKS} rollbacks"
            raise TrainingCollapsedError(
                f"training collapsed at step {collapsed_at} ({reason}), {found}; lower the learning rate "
                f"({self.recipe.learning_rate:g}) or lengthen the warm-up ({self.recipe.warmup_epochs} epochs)"
            )
        self._restore(good)
        self.rollbacks = rollbacks
        self.collapse.reset()
        if is_first_process():
            self.checkpoints.forget_after(good.step)
        warnings.warn(
            f"training collapsed at step {collapsed_at}: {reason}; back to step {good.step}, learning rate halved",
            stacklevel=2,
        )
        metrics.append(self.step, {"event": "rollback", "collapsed_at": collapsed_at, "reason": reason})
        self._save()  # a kill from here on must not forget that this way was tried


def _joined(loss: float) -> float:
    """Return the mean loss over all processes, so that all detect the same collapse."""
    if not torch.distributed.is_initialized():
        return loss
    joined = torch.tensor(loss, dtype=torch.float64)
    torch.distributed.all_reduce(joined)
    return float(joined) / torch.distributed.get_world_size()
