"""The epoch loop: train, evaluate, write down, save."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import mindspore as ms
from mindspore import Tensor, nn
from tqdm import tqdm

from corruptions.interrupts import Terminated, check_interrupts, is_held
from sharpdro.distributed.process_group import SINGLE_PROCESS, Processes, stop_all
from sharpdro.evaluation.scores import Score
from sharpdro.evaluation.summary import (
    accuracy_table,
    evaluation_rows,
    read_evaluations,
    write_summary,
)
from sharpdro.finiteness import Finiteness
from sharpdro.methods.batch_norm import running_statistics
from sharpdro.methods.create import TrainStep
from sharpdro.run_folder.csv_table import (
    EVALUATION_COLUMNS,
    NoTable,
    Table,
    until_epoch,
    until_step,
)
from sharpdro.run_folder.folder import LAST_CHECKPOINT, RunLog
from sharpdro.training.batch_feed import Batches, HostFeed, SinkFeed
from sharpdro.training.checkpointing import Saver
from sharpdro.training.metrics import Interval, train_columns, weight_columns
from sharpdro.training.nan_guard import Guard
from sharpdro.training.plan import Plan


class TrainingGraph(nn.Cell):
    """The training step behind the normalisation, so that the device is fed with uint8."""

    def __init__(self, normalize: nn.Cell, step: TrainStep | Guard):
        super().__init__(auto_prefix=False)
        self.normalize = normalize
        self.step = step

    def construct(self, images, labels, groups):
        return self.step(self.normalize(images), labels, groups)


class Trainer:
    """Trains a network and keeps the run's directory up to date.

    Several processes normalise by the statistics of their own parts of a batch; the running
    statistics are averaged after every epoch.

    Args:
        plan: how long, how often.
        step: the method's training step.
        normalize: uint8 (B, H, W, 3) to what the step takes.
        batches: the batches of an epoch.
        evaluate: the scores per severity of "validation" or "test".
        log: the run's directory, created.
        settings: of the run, to go into checkpoints.
        num_severities: number of severities, by which losses and the like are written down.
        are_groups_inferred: whether the step's groups are others than the severities.
        processes: the processes of the run, the first of which keeps the directory.
        on_rows: called with the name of a table and the rows that it begins with, or that are
            added, see `Table`.
    """

    def __init__(
        self,
        plan: Plan,
        step: TrainStep,
        normalize: nn.Cell,
        batches: Batches,
        evaluate: Callable[[str], list[Score]],
        log: RunLog,
        settings: dict,
        num_severities: int,
        are_groups_inferred: bool = False,
        processes: Processes = SINGLE_PROCESS,
        on_rows: Callable[[str, list[dict]], object] = lambda table, rows: None,
    ):
        self._plan = plan
        self._step = step
        self._is_guarded = plan.on_nan == "skip" or step.loss_scaler is not None
        self._cell = Guard(step) if self._is_guarded else step
        graph = TrainingGraph(normalize, self._cell)
        feed = SinkFeed if plan.data_sink else HostFeed
        self._feed = feed(graph, batches, plan.steps_per_epoch, plan.total_epoch)
        self._finiteness = Finiteness(
            plan.on_nan, log.folder / LAST_CHECKPOINT if plan.save_last else None
        )
        self._evaluate = evaluate
        self._log = log
        self._processes = processes
        self._saver = Saver(plan, self._cell, log, settings)
        self._statistics = running_statistics(step.network)
        self._on_rows = on_rows
        num_weights = step.num_groups if step.uses_group_weights else 0
        weights = weight_columns(num_weights, are_groups_inferred)
        self._columns = train_columns(num_severities, weights, step.has_scores)
        self._interval = Interval(num_severities, weights, step.has_scores)

    def train(self) -> dict:
        """Train from the last checkpoint on; returns the content of summary.json.

        Raises:
            RunError: the loss is no longer a finite number.
        """
        finished, self._done = self._saver.take_up(self._interval)
        steps = finished * self._plan.steps_per_epoch + self._done
        advice = "let all processes see the same --log_dir"
        self._processes.check_equal("the numbers of finished steps", steps, advice)
        self._processes.check_same_parameters(self._cell.get_parameters(), "at the beginning")
        self._saver.take_up_statistics(self._statistics, self._processes.rank, self._processes.size)
        own, whole = until_step(finished, self._done), until_epoch(finished)
        self._train_table = self._table("train.csv", self._columns, own)
        self._tables = {
            "validation": self._table("val.csv", EVALUATION_COLUMNS, whole),
            "test": self._table("test.csv", EVALUATION_COLUMNS, whole),
        }
        if finished < self._plan.total_epoch:
            parameters = sum(p.size for p in self._step.parameters)
            self._log.say(
                f"compiling the training step, some seconds to a minute: {parameters:,} parameters"
            )
        for epoch in range(finished + 1, self._plan.total_epoch + 1):
            with self._saving_when_stopped(epoch):
                self._train_epoch(epoch)
                if epoch % self._plan.eval_every == 0 or epoch == self._plan.total_epoch:
                    self._evaluate_epoch(epoch)
            if self._processes.is_first:
                self._saver.save_epoch(epoch, read_evaluations(self._tables["validation"].path))
            self._done = 0
        return self._summarize() if self._processes.is_first else {}

    def _table(self, name: str, columns: list[str], keep) -> Table | NoTable:
        if not self._processes.is_first:
            return NoTable()
        return Table(self._log.folder / name, columns, keep, partial(self._on_rows, name))

    @contextlib.contextmanager
    def _saving_when_stopped(self, epoch: int) -> Iterator[None]:
        """Save an unfinished epoch when the user stops it; several processes stop together."""
        begun = self._done
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            if self._plan.save_last and self._done > begun:
                several = self._statistics if self._processes.size > 1 else ()
                arrays = {p.name: self._processes.all_gather(p.asnumpy()) for p in several}
                save = self._saver.save_unfinished
                self._processes.run_on_first(
                    partial(save, epoch, self._done, self._interval, arrays)
                )
            raise

    def _train_epoch(self, epoch: int) -> None:
        """Make an epoch's steps, as far as they are not done yet."""
        started = time.perf_counter()
        self._make_steps(epoch)
        self._processes.average(self._statistics)
        self._processes.check_same_parameters(self._cell.get_parameters(), f"after epoch {epoch}")
        for parameter in self._cell.get_parameters():
            self._finiteness.check(parameter.name, parameter.asnumpy(), epoch)
        self._log.say(
            f"epoch {epoch}/{self._plan.total_epoch}: "
            f"trained in {time.perf_counter() - started:.0f} s{self._finiteness.told()}"
        )

    def _make_steps(self, epoch: int) -> None:
        plan = self._plan
        rate = plan.learning_rate(epoch)
        self._step.optimizer.learning_rate.set_data(Tensor(rate, ms.float32))
        progress = tqdm(
            self._feed.steps(epoch, self._done),
            desc=f"epoch {epoch}/{plan.total_epoch}",
            initial=self._done,
            total=plan.steps_per_epoch,
            unit="step",
            leave=False,
            disable=None if plan.show_progress else True,
        )
        self._interval.start_clock()
        self._finiteness.start_epoch()
        with progress as bar:
            for number, (severities, outputs) in enumerate(bar, self._done + 1):
                self._take_down(epoch, number, severities, outputs)
                if number % plan.log_train == 0 or number == plan.steps_per_epoch:
                    row = self._interval.row(epoch, number, rate)
                    self._train_table.append([row])
                    if row["loss"] is not None:
                        loss, accuracy = f"{row['loss']:.3f}", f"{row['accuracy']:.3f}"
                        bar.set_postfix(loss=loss, accuracy=accuracy)
                self._done = number
                self._check_interrupts()

    def _check_interrupts(self) -> None:
        """Raise what was held back, after the same step in all processes."""
        collectives = self._step.collectives
        if collectives is None:
            check_interrupts()
        elif collectives.is_stop_requested():
            stop_all()
        elif is_held():
            collectives.request_stop()

    def _take_down(self, epoch, number, severities, outputs) -> None:
        """See what a step came to."""
        outputs = [output.asnumpy() for output in outputs]
        happened = bool(outputs.pop()) if self._is_guarded else None
        losses, correct, gradient_norm, *scores = outputs
        weights = self._step.group_weights.asnumpy()
        found = epoch, number, severities, losses, gradient_norm, weights
        if happened is None:
            self._finiteness.check_step(*found)
        elif happened:
            self._finiteness.happened()
        else:
            self._finiteness.skip(*found, is_overflow=self._cell.can_scale_less())
            self._interval.skip(len(severities))
            return
        self._interval.add(severities, losses, correct, gradient_norm, weights, *scores)

    def _evaluate_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        for split, table in self._tables.items():
            scores = self._evaluate(split)
            found = [score.loss for score in scores]
            self._finiteness.check(f"the {split} loss", found, epoch)
            table.append(evaluation_rows(epoch, scores))
        if not self._processes.is_first:
            return
        rows = {
            f"  {split} accuracy, severity": read_evaluations(table.path)[epoch]
            for split, table in self._tables.items()
        }
        seconds = time.perf_counter() - started
        self._log.say(f"{accuracy_table(rows)}\n  evaluated in {seconds:.0f} s")

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
