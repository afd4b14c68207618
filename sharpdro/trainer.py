"""The epoch loop: train, evaluate, write down, save."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from tqdm import tqdm

from sharpdro import checkpoint
from sharpdro.errors import RunError
from sharpdro.interrupts import check_interrupts
from sharpdro.interval import Interval, train_columns, weight_columns
from sharpdro.run_log import (
    BEST_CHECKPOINT,
    EVALUATION_COLUMNS,
    LAST_CHECKPOINT,
    RunLog,
    Table,
    until_epoch,
)
from sharpdro.scores import Score
from sharpdro.summary import (
    accuracy_table,
    best_epoch,
    evaluation_rows,
    read_evaluations,
    write_summary,
)
from sharpdro.train_step import TrainStep


class TrainingGraph(nn.Cell):
    """The training step behind the normalisation, so that the device is fed with uint8."""

    def __init__(self, normalize: nn.Cell, step: TrainStep):
        super().__init__(auto_prefix=False)
        self.normalize = normalize
        self.step = step

    def construct(self, images, labels, groups):
        return self.step(self.normalize(images), labels, groups)


@dataclass(frozen=True)
class Plan:
    """How long to train, how often to look, what to keep.

    Args:
        total_epoch: number of epochs.
        steps_per_epoch: batches in one.
        learning_rate: of an epoch 1 … total_epoch.
        log_train: steps per line of train.csv.
        eval_every: epochs per evaluation; the last epoch is always evaluated.
        best_metric: see `summary.best_epoch`.
        save_step: epochs per numbered checkpoint; 0: none.
        save_last, save_best: keep last.ckpt (needed to resume), best.ckpt.
        show_progress: draw a progress bar.
    """

    total_epoch: int
    steps_per_epoch: int
    learning_rate: Callable[[int], float]
    log_train: int
    eval_every: int
    best_metric: str
    save_step: int
    save_last: bool
    save_best: bool
    show_progress: bool


class Trainer:
    """Trains a network and keeps the run's directory up to date.

    Args:
        plan: how long, how often.
        step: the method's training step.
        normalize: uint8 (B, H, W, 3) to what the step takes.
        batches: the batches of an epoch: images uint8 (B, H, W, 3), labels, groups, severities,
            int32 (B,).
        evaluate: the scores per severity of "validation" or "test".
        log: the run's directory, created.
        settings: of the run, to go into checkpoints.
        num_severities: number of severities, by which losses and the like are written down.
        are_groups_inferred: whether the step's groups are others than the severities.
        on_rows: called with the name of a table and the rows that it begins with, or that are
            added, see `Table`.
    """

    def __init__(
        self,
        plan: Plan,
        step: TrainStep,
        normalize: nn.Cell,
        batches: Callable[[int], Iterator[tuple[np.ndarray, ...]]],
        evaluate: Callable[[str], list[Score]],
        log: RunLog,
        settings: dict,
        num_severities: int,
        are_groups_inferred: bool = False,
        on_rows: Callable[[str, list[dict]], object] = lambda table, rows: None,
    ):
        self._plan = plan
        self._step = step
        self._graph = TrainingGraph(normalize, step)
        self._batches = batches
        self._evaluate = evaluate
        self._log = log
        self._settings = settings
        self._on_rows = on_rows
        num_weights = step.num_groups if step.uses_group_weights else 0
        weights = weight_columns(num_weights, are_groups_inferred)
        self._columns = train_columns(num_severities, weights, step.has_scores)
        self._interval = Interval(num_severities, weights, step.has_scores)

    def _path(self, name: str) -> Path:
        return self._log.folder / name

    def train(self) -> dict:
        """Train from the last finished epoch on; returns the content of summary.json.

        Raises:
            RunError: the loss is no longer a finite number.
        """
        finished = self._resume()
        self._train_table = self._table("train.csv", self._columns, finished)
        self._tables = {
            "validation": self._table("val.csv", EVALUATION_COLUMNS, finished),
            "test": self._table("test.csv", EVALUATION_COLUMNS, finished),
        }
        if finished < self._plan.total_epoch:
            parameters = sum(p.size for p in self._step.parameters)
            self._log.say(
                f"compiling the training step, some seconds to a minute: {parameters:,} parameters"
            )
        for epoch in range(finished + 1, self._plan.total_epoch + 1):
            started = time.perf_counter()
            self._train_epoch(epoch)
            for parameter in self._step.get_parameters():
                self._require_finite(parameter.name, parameter.asnumpy(), f"after epoch {epoch}")
            self._log.say(
                f"epoch {epoch}/{self._plan.total_epoch}: "
                f"trained in {time.perf_counter() - started:.0f} s"
            )
            if epoch % self._plan.eval_every == 0 or epoch == self._plan.total_epoch:
                self._evaluate_epoch(epoch)
            self._save(epoch)
        return self._summarize()

    def _table(self, name: str, columns: list[str], finished: int) -> Table:
        return Table(self._path(name), columns, until_epoch(finished), partial(self._on_rows, name))

    def _resume(self) -> int:
        """Restore the last finished epoch, if there is one; returns its number."""
        stored = checkpoint.load_last(self._log.folder)
        if stored is None:
            return 0
        checkpoint.restore(self._step, stored, self._path(LAST_CHECKPOINT))
        done = stored.epoch == self._plan.total_epoch
        self._log.say("finished already" if done else f"going on after epoch {stored.epoch}")
        return stored.epoch

    def _train_epoch(self, epoch: int) -> None:
        plan = self._plan
        rate = plan.learning_rate(epoch)
        self._step.optimizer.learning_rate.set_data(Tensor(rate, ms.float32))
        progress = tqdm(
            self._batches(epoch),
            desc=f"epoch {epoch}/{plan.total_epoch}",
            total=plan.steps_per_epoch,
            unit="step",
            leave=False,
            disable=None if plan.show_progress else True,
        )
        self._interval.start_clock()
        with progress as bar:
            for number, batch in enumerate(bar, 1):
                self._train_step(epoch, number, *batch)
                if number % plan.log_train == 0 or number == plan.steps_per_epoch:
                    row = self._interval.row(epoch, number, rate)
                    self._train_table.append([row])
                    bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['accuracy']:.3f}")

    def _train_step(self, epoch, number, images, labels, groups, severities) -> None:
        outputs = self._graph(Tensor(images), Tensor(labels), Tensor(groups))
        losses, correct, gradient_norm, *scores = (output.asnumpy() for output in outputs)
        check_interrupts()
        self._require_finite("the loss", losses, f"in epoch {epoch}, step {number}")
        weights = self._step.group_weights.asnumpy()
        if not np.isfinite(weights).all():
            raise RunError(
                f"the group weights are no longer finite in epoch {epoch}, step {number}: lower "
                f"--step_size or --group_adjustment and choose another --desc"
            )
        self._interval.add(severities, losses, correct, gradient_norm, weights, *scores)

    def _require_finite(self, what: str, values, when: str) -> None:
        if not np.isfinite(values).all():
            raise RunError(
                f"{what} is no longer finite {when}: lower --lr and choose another --desc; "
                f"what was saved before stays in {self._log.folder}"
            )

    def _evaluate_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        for split, table in self._tables.items():
            scores = self._evaluate(split)
            found = [score.loss for score in scores]
            self._require_finite(f"the {split} loss", found, f"after epoch {epoch}")
            table.append(evaluation_rows(epoch, scores))
        rows = {
            f"  {split} accuracy, severity": read_evaluations(table.path)[epoch]
            for split, table in self._tables.items()
        }
        seconds = time.perf_counter() - started
        self._log.say(f"{accuracy_table(rows)}\n  evaluated in {seconds:.0f} s")

    def _save(self, epoch: int) -> None:
        """Save what is wanted; last.ckpt comes last, as it declares the epoch finished."""
        plan = self._plan
        names = []
        validation = read_evaluations(self._tables["validation"].path)
        if plan.save_best and validation and best_epoch(validation, plan.best_metric) == epoch:
            names.append(BEST_CHECKPOINT)
        if plan.save_step and epoch % plan.save_step == 0:
            names.append(f"epoch_{epoch}.ckpt")
        if plan.save_last:
            names.append(LAST_CHECKPOINT)
        for name in names:
            checkpoint.save(self._path(name), self._step, epoch, self._settings)
        if validation:
            write_summary(self._log.folder, plan.total_epoch, plan.best_metric)

    def _summarize(self) -> dict:
        plan = self._plan
        summary = write_summary(self._log.folder, plan.total_epoch, plan.best_metric)
        rows = {
            f"best epoch ({summary['best']['epoch']})": summary["best"]["test"],
            f"last epoch ({summary['last']['epoch']})": summary["last"]["test"],
        }
        self._log.say(
            f"test accuracy in percent per severity (best epoch: highest validation accuracy, "
            f"{plan.best_metric})\n{accuracy_table(rows)}\nwritten to {self._log.folder}"
        )
        return summary
