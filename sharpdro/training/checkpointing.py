"""What a run saves of its training, and how it is resumed."""

import shutil
from pathlib import Path

import numpy as np
from mindspore import Parameter, Tensor, nn

from corruptions.storage.files import publish
from sharpdro.errors import RunError
from sharpdro.evaluation.logits import FOLDER as LOGITS
from sharpdro.evaluation.summary import Evaluations, best_epoch
from sharpdro.run_folder import checkpoint
from sharpdro.run_folder.folder import (
    BEST_CHECKPOINT,
    BEST_OF_EPOCH,
    LAST_CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    RunFolder,
)
from sharpdro.run_folder.reading import RESTORE, refusing
from sharpdro.training.metrics import MetricSums, TrainingMetrics
from sharpdro.training.plan import Plan

# Before the names of running statistics of which there is one for each process.
_OF_PROCESSES = "of_processes."
# In the checkpoint of an unfinished epoch; what earlier versions called it, and the sums in it.
_METRICS, _EARLIER_METRICS = "metrics", "interval"
_EARLIER_SUMS = {
    "steps": "steps",
    "_skipped_steps": "skipped_steps",
    "_gradient_norm": "gradient_norm",
    "_counts": "counts",
    "_losses": "losses",
    "_correct": "correct",
    "_weights": "group_weights",
    "_severities": "severities",
    "_scores": "ood_scores",
}


def read_sums(unfinished: dict) -> MetricSums:
    """The sums of an unfinished epoch, as this version or an earlier one has saved them.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: there are none.
    """
    if _METRICS in unfinished:
        return MetricSums.from_json(unfinished[_METRICS])
    earlier = unfinished[_EARLIER_METRICS]
    return MetricSums.from_json({now: earlier[name] for name, now in _EARLIER_SUMS.items()})


class Checkpointing:
    """Writes and reads the checkpoints of a run.

    Args:
        plan: says which are wanted.
        cell: the training step, of which everything is saved.
        run: the run's directory.
        settings: of the run, to go into checkpoints.
    """

    def __init__(self, plan: Plan, cell: nn.Cell, run: RunFolder, settings: dict):
        self._plan = plan
        self._cell = cell
        self._run = run
        self._settings = settings
        self._is_last_good = True  # or there is none
        self._restored = {}

    def resume(self, metrics: TrainingMetrics) -> tuple[int, int]:
        """Restore what was saved last, if anything was; what a kill left half-written goes.

        Args:
            metrics: gets the sums of the unfinished epoch.

        Returns:
            The number of finished epochs, and of the next one's finished steps.

        Raises:
            RunError: what was saved cannot be used.
        """
        for half in self._run.path.glob(".*.partial*"):
            half.unlink(missing_ok=True)
        last = checkpoint.load_last(self._run.path, self._run.say)
        if last is None:
            return 0, 0
        stored, path = last
        checkpoint.restore(self._cell, stored, path)
        self._restored = stored.parameters
        self._is_last_good = path.name == LAST_CHECKPOINT
        if stored.epoch == self._plan.total_epoch:
            self._run.say("finished already")
            return stored.epoch, 0
        step, text = 0, f"going on after epoch {stored.epoch}"
        if stored.unfinished:
            with refusing(path, RESTORE):
                step = int(stored.unfinished["step"])
                metrics.sums = read_sums(stored.unfinished)
            steps = self._plan.steps_per_epoch
            text += f" and {step} of the {steps} steps of the next"
            if step == steps:
                text = f"going on after the last step of epoch {stored.epoch + 1}"
        self._run.say(text)
        return stored.epoch, step

    def restore_statistics(self, statistics: list[Parameter], rank: int, size: int) -> None:
        """Restore this process's own running statistics, if it was stopped inside an epoch.

        Where there were fewer or more processes, each gets the mean over those.

        Args:
            statistics: the parameters.
            rank, size: of this process, and the number of processes.
        """
        for parameter in statistics:
            stored = self._restored.get(_OF_PROCESSES + parameter.name)
            if stored is not None:
                values = stored.asnumpy()
                is_same = len(values) == size
                restored = values[rank] if is_same else values.mean(0, dtype=np.float64)
                parameter.set_data(Tensor(restored.astype(np.float32)))
        self._restored = {}

    def save_epoch(self, epoch: int, validation: Evaluations) -> None:
        """Save what is wanted; last.ckpt declares the epoch finished.

        An epoch that a kill takes back may come out otherwise (on GPU and Ascend), so that what is
        kept of the best epoch before it stays until then.

        Args:
            epoch: just finished.
            validation: the evaluations so far, see `summary.read_evaluations`.

        Raises:
            OSError: it cannot be written.
        """
        plan, paths = self._plan, []
        if plan.save_best and validation and best_epoch(validation, plan.best_metric) == epoch:
            paths.append(self.make_best_folder(epoch) / BEST_CHECKPOINT)
        if plan.save_step and epoch % plan.save_step == 0:
            paths.append(self._run.path / f"epoch_{epoch}.ckpt")
        for path in paths:
            checkpoint.save(path, self._cell, epoch, self._settings)
        if plan.save_last:
            self._save_last(epoch)
        self.settle_best(epoch)

    def make_best_folder(self, epoch: int) -> Path:
        """Make a folder for what is to be kept if this epoch, the best so far, gets finished."""
        folder = self._run.path / f"{BEST_OF_EPOCH}{epoch}"
        folder.mkdir(exist_ok=True)
        return folder

    def settle_best(self, epoch: int) -> None:
        """Take over what is kept of best epochs that are finished; delete that of others.

        Args:
            epoch: the last finished one.

        Raises:
            OSError: it cannot be done.
            RunError: something else has the name of such a folder.
        """
        for folder in self._run.path.glob(f"{BEST_OF_EPOCH}*"):
            if not folder.is_dir() or any(path.is_symlink() for path in (folder, folder / LOGITS)):
                raise RunError(f"{folder} is not what this program leaves there: delete it")
            number = folder.name.removeprefix(BEST_OF_EPOCH)
            if number.isdecimal() and int(number) <= epoch:
                staged = [*folder.glob(BEST_CHECKPOINT), *folder.glob(f"{LOGITS}/*.npy")]
                for path in sorted(staged):
                    kept = self._run.path / path.relative_to(folder)
                    kept.parent.mkdir(exist_ok=True)
                    publish(path, kept)
            shutil.rmtree(folder)

    def check_best(self, best: int) -> None:
        """Say so if best.ckpt does not hold the best epoch.

        A run that went on from previous.ckpt has trained the last epoch again, perhaps to another
        result, when best.ckpt held it already.

        Args:
            best: that epoch.
        """
        path = self._run.path / BEST_CHECKPOINT
        if not self._plan.save_best or not path.exists():
            return
        try:
            held = checkpoint.load(path).epoch
        except RunError as error:
            self._run.say(f"warning: {error}")
            return
        if held != best:
            besides = f", as does {LOGITS}/" if (self._run.path / LOGITS).exists() else ""
            other = self._run.path / f"epoch_{best}.ckpt"
            where = f"in {other}" if other.exists() else "lost"
            self._run.say(
                f"warning: {path} holds epoch {held} as it was before the run went back to an "
                f"earlier checkpoint{besides}; the best epoch is {best}, whose network is {where}"
            )

    def save_unfinished(
        self, epoch: int, step: int, sums: MetricSums, statistics: dict[str, np.ndarray]
    ) -> None:
        """Save an epoch after one of its steps, unless a parameter is not finite.

        Args:
            epoch, step: which.
            sums: its metrics' sums.
            statistics: the running statistics of several processes by name, each (size, …); those
                of a single one are in the cell.

        Raises:
            OSError: it cannot be written.
        """
        if not all(np.isfinite(p.asnumpy()).all() for p in self._cell.get_parameters()):
            return
        arrays = {_OF_PROCESSES + name: array for name, array in statistics.items()}
        self._save_last(epoch - 1, {"step": step, _METRICS: sums.for_json()}, arrays)
        self._run.say(f"stopped in epoch {epoch} after step {step}, which is saved")

    def _save_last(self, epoch, unfinished=None, arrays=None):
        folder = self._run.path
        previous = folder / PREVIOUS_CHECKPOINT if self._is_last_good else None
        last = folder / LAST_CHECKPOINT
        checkpoint.save(last, self._cell, epoch, self._settings, unfinished, previous, arrays)
        self._is_last_good = True
