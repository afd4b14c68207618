"""The epoch loop: train, evaluate, write down, save."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from tqdm import tqdm

from corruptions.interrupts import Terminated, check_interrupts, is_held
from sharpdro.distributed.process_group import SINGLE_PROCESS, Processes, stop_all
from sharpdro.evaluation.scores import Score
from sharpdro.evaluation.summary import accuracy_table, best_epoch, write_summary
from sharpdro.methods.base import StepCell, TrainStep
from sharpdro.methods.batch_norm import running_statistics
from sharpdro.run_folder.folder import LAST_CHECKPOINT, RunFolder
from sharpdro.training.batch_feed import Batches, BatchFeed, FinishedStep
from sharpdro.training.checkpointing import Checkpointing
from sharpdro.training.metrics import TrainingMetrics, train_columns, weight_columns
from sharpdro.training.nan_check import NanCheck
from sharpdro.training.nan_guard import NanGuard, guarded
from sharpdro.training.plan import Plan
from sharpdro.training.run_tables import SPLITS, OnRows, RunTables

# Steps whose results are fetched together: a device is hardly ever waited for, and a run that is
# stopped has few steps left to finish.
FETCHED_STEPS = 10
# What --best_metric means, for messages.
_OF_METRIC = {
    "worst": "of its worst severity",
    "mean": "as the mean over severities",
    "clean": "at severity 0",
}
_assign = ops.Assign()


class TrainingGraph(StepCell):
    """The training step behind the normalisation, so that the device is fed with uint8."""

    def __init__(self, normalize: nn.Cell, step: TrainStep | NanGuard):
        super().__init__(auto_prefix=False)
        self.normalize = normalize
        self.step = step
        self.outputs = step.outputs

    def construct(self, images, labels, groups):
        return self.step(self.normalize(images), labels, groups)


@dataclass(frozen=True)
class TrainingInputs:
    """What a network is trained and measured on.

    Args:
        normalize: uint8 (B, H, W, 3) to what the step takes.
        batches: the batches of an epoch.
        evaluate: called with "validation" or "test", and with what is to be called with the logits
            (N, C) at each severity, or None; returns the scores per severity.
        num_severities: number of severities, by which losses and the like are written down.
        are_groups_inferred: whether the step's groups are others than the severities.
    """

    normalize: nn.Cell
    batches: Batches
    evaluate: Callable[[str, Callable[[np.ndarray], object] | None], list[Score]]
    num_severities: int
    are_groups_inferred: bool = False


@dataclass(frozen=True)
class RunRecord:
    """Where a training is written down.

    Args:
        run: the run's directory, created.
        settings: of the run, to go into checkpoints.
        on_rows: see `RunTables`.
        save_logits: called with a folder and with the logits on the test images, by severity, if
            the plan wants them.
        facts: on the training, to go into summary.json.
    """

    run: RunFolder
    settings: dict
    on_rows: OnRows = lambda table, rows: None
    save_logits: Callable[[Path, list[np.ndarray]], object] = lambda folder, logits: None
    facts: dict = field(default_factory=dict)


@dataclass
class Progress:
    """How far a training has come: finished epochs, and finished steps of the next."""

    epochs: int
    steps: int


class Trainer:
    """Trains a network and keeps the run's directory up to date.

    Several processes normalise by the statistics of their own parts of a batch; the running
    statistics are averaged after every epoch.

    Args:
        plan: how long, how often.
        step: the method's training step.
        inputs: what it is trained and measured on.
        record: where it is written down.
        processes: of the run, the first of which keeps the directory.
    """

    def __init__(
        self,
        plan: Plan,
        step: TrainStep,
        inputs: TrainingInputs,
        record: RunRecord,
        processes: Processes = SINGLE_PROCESS,
    ):
        self._plan = plan
        self._step = step
        self._inputs = inputs
        self._record = record
        self._processes = processes
        self._cell = guarded(step, plan.on_nan)
        self._feed = BatchFeed(TrainingGraph(inputs.normalize, self._cell), inputs.batches)
        last = record.run.path / LAST_CHECKPOINT if plan.save_last else None
        self._nan_check = NanCheck(plan.on_nan, last)
        self._checkpointing = Checkpointing(plan, self._cell, record.run, record.settings)
        self._statistics = running_statistics(step.network)
        num_weights = step.num_groups if "group_weights" in step.outputs else 0
        weights = weight_columns(num_weights, inputs.are_groups_inferred)
        has_scores = "ood_scores" in step.outputs
        self._metrics = TrainingMetrics(inputs.num_severities, weights, has_scores)
        self._columns = train_columns(inputs.num_severities, weights, has_scores)

    def train(self) -> None:
        """Train from the last checkpoint on.

        Raises:
            RunError: the loss is no longer a finite number.
        """
        plan = self._plan
        progress = self._resume()
        tables = self._open_tables(progress)
        if tables is not None:
            self._checkpointing.settle_best(progress.epochs)
        if progress.epochs < plan.total_epoch and ms.get_context("mode") == ms.GRAPH_MODE:
            parameters = sum(p.size for p in self._step.parameters)
            self._record.run.say(
                f"compiling the training step, some seconds to a minute: {parameters:,} parameters"
            )
        for epoch in range(progress.epochs + 1, plan.total_epoch + 1):
            is_evaluated = plan.is_evaluated(epoch)
            with self._saving_when_stopped(epoch, progress, tables):
                self._train_epoch(epoch, progress, tables)
                if is_evaluated:
                    self._evaluate_epoch(epoch, tables)
            if tables is not None:
                self._checkpointing.save_epoch(epoch, tables.evaluations["validation"])
                if is_evaluated and epoch < plan.total_epoch:
                    self._write_summary(tables)
            progress.steps = 0
        if tables is not None:
            self._finish(tables)

    def _resume(self) -> Progress:
        epochs, steps = self._checkpointing.resume(self._metrics)
        total = epochs * self._plan.steps_per_epoch + steps
        advice = "let all processes see the same --log_dir"
        processes = self._processes
        processes.check_equal("the numbers of finished steps", total, advice)
        processes.check_same_parameters(self._cell.get_parameters(), "at the beginning")
        self._checkpointing.restore_statistics(self._statistics, processes.rank, processes.size)
        return Progress(epochs, steps)

    def _open_tables(self, progress: Progress) -> RunTables | None:
        """The run's tables; None where another process writes them."""
        if not self._processes.is_first:
            return None
        record, finished = self._record, (progress.epochs, progress.steps)
        return RunTables(record.run.path, self._columns, record.on_rows, *finished)

    @contextlib.contextmanager
    def _saving_when_stopped(
        self, epoch: int, progress: Progress, tables: RunTables | None
    ) -> Iterator[None]:
        """Save an unfinished epoch when the user stops it; several processes stop together."""
        first_step = progress.steps
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            self._record_steps(epoch, self._feed.fetch(), progress, tables)
            if self._plan.save_last and progress.steps > first_step:
                processes, several = self._processes, self._processes.size > 1
                statistics = self._statistics if several else ()
                arrays = {p.name: processes.all_gather(p.asnumpy()) for p in statistics}
                save = self._checkpointing.save_unfinished
                processes.run_on_first(
                    partial(save, epoch, progress.steps, self._metrics.sums, arrays)
                )
            raise

    def _train_epoch(self, epoch: int, progress: Progress, tables: RunTables | None) -> None:
        """Make an epoch's steps, as far as they are not finished yet."""
        started = time.perf_counter()
        self._make_steps(epoch, progress, tables)
        self._processes.average(self._statistics)
        self._processes.check_same_parameters(self._cell.get_parameters(), f"after epoch {epoch}")
        for parameter in self._cell.get_parameters():
            self._nan_check.check(parameter.name, parameter.asnumpy(), epoch)
        self._record.run.say(
            f"epoch {epoch}/{self._plan.total_epoch}: "
            f"trained in {time.perf_counter() - started:.0f} s{self._nan_check.skipped_steps()}"
        )

    def _make_steps(self, epoch: int, progress: Progress, tables: RunTables | None) -> None:
        plan = self._plan
        rate = Tensor(plan.learning_rate(epoch), ms.float32)
        # By an operator: in PyNative mode the optimizer does not see what set_data writes.
        _assign(self._step.optimizer.learning_rate, rate)
        progress_bar = tqdm(
            self._feed.steps(epoch, progress.steps),
            desc=f"epoch {epoch}/{plan.total_epoch}",
            initial=progress.steps,
            total=plan.steps_per_epoch,
            unit="step",
            leave=False,
            disable=None if plan.show_progress else True,
        )
        self._metrics.start_clock()
        self._nan_check.start_epoch()
        is_first = True  # what the first step took is mostly its compilation
        with progress_bar as bar:
            for number in bar:
                is_fetched = is_first or self._is_fetched(number)
                if is_fetched:
                    row = self._record_steps(epoch, self._feed.fetch(), progress, tables)
                    if row is not None and row["loss"] is not None:
                        loss, accuracy = f"{row['loss']:.3f}", f"{row['accuracy']:.3f}"
                        bar.set_postfix(loss=loss, accuracy=accuracy)
                self._check_interrupts(is_fetched)
                is_first = False

    def _is_fetched(self, number: int) -> bool:
        """Whether results are fetched after this step: before every line of train.csv, too."""
        is_last = number == self._plan.steps_per_epoch
        return is_last or number % self._plan.log_train % FETCHED_STEPS == 0

    def _check_interrupts(self, is_fetched: bool) -> None:
        """Raise what was held back, after the same step in all processes.

        Which of several are to stop is only asked for where results are fetched anyway.
        """
        collectives = self._step.collectives
        if collectives is None:
            check_interrupts()
            return
        if is_fetched and collectives.is_stop_requested():
            stop_all()
        if is_held():
            collectives.request_stop()

    def _record_steps(
        self, epoch: int, steps: list[FinishedStep], progress: Progress, tables: RunTables | None
    ) -> dict | None:
        """Record finished steps; returns the row of train.csv that they complete, if any."""
        row = None
        for number, severities, result in steps:
            if self._nan_check.check_step(epoch, number, severities, result):
                self._metrics.add(severities, result)
            else:
                self._metrics.skip(len(severities))
            if number % self._plan.log_train == 0 or number == self._plan.steps_per_epoch:
                global_step = (epoch - 1) * self._plan.steps_per_epoch + number
                rate = self._plan.learning_rate(epoch)
                row = self._metrics.row(epoch, number, global_step, rate)
                if tables is not None:
                    tables.add_training(row)
            progress.steps = number
        return row

    def _evaluate_epoch(self, epoch: int, tables: RunTables | None) -> None:
        started, plan, logits = time.perf_counter(), self._plan, []
        is_kept = plan.save_logits and tables is not None
        for split in SPLITS:
            on_logits = logits.append if is_kept and split == "test" else None
            scores = self._inputs.evaluate(split, on_logits)
            losses = [score.loss for score in scores]
            self._nan_check.check(f"the {split} loss", losses, epoch)
            if tables is not None:
                tables.add_evaluation(split, epoch, scores)
        if tables is None:
            return
        if is_kept and best_epoch(tables.evaluations["validation"], plan.best_metric) == epoch:
            self._record.save_logits(self._checkpointing.make_best_folder(epoch), logits)
        rows = {
            f"  {split} accuracy, severity": evaluations[epoch]
            for split, evaluations in tables.evaluations.items()
        }
        seconds = time.perf_counter() - started
        self._record.run.say(f"{accuracy_table(rows)}\n  evaluated in {seconds:.0f} s")

    def _write_summary(self, tables: RunTables) -> dict:
        plan, record = self._plan, self._record
        facts = record.facts | {"training_seconds": tables.training_seconds()}
        return write_summary(
            record.run.path, tables.evaluations, plan.total_epoch, plan.best_metric, facts
        )

    def _finish(self, tables: RunTables) -> None:
        summary = self._write_summary(tables)
        rows = {
            f"best epoch ({summary['best']['epoch']})": summary["best"]["test"],
            f"last epoch ({summary['last']['epoch']})": summary["last"]["test"],
        }
        self._record.run.say(
            f"test accuracy in percent per severity (best epoch: highest validation accuracy "
            f"{_OF_METRIC[self._plan.best_metric]})\n{accuracy_table(rows)}\n"
            f"written to {self._record.run.path}"
        )
        self._checkpointing.check_best(summary["best"]["epoch"])
