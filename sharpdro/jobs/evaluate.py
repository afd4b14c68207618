"""The job of --eval_only: one checkpoint on the test set."""

import contextlib
from dataclasses import dataclass, replace
from functools import partial

from corruptions.interrupts import interruptible
from dataset.prepare_dataset import prepare_test_sets
from dataset.readers.published import DOWNLOAD, fetch_published
from sharpdro.command_line.settings import (
    EvaluationSettings,
    about_frost,
    dataset_spec,
    lists_of_checkpoint,
    of_checkpoint,
    recorded,
    run_folder,
)
from sharpdro.device import select_device
from sharpdro.errors import RunError
from sharpdro.evaluation.evaluator import Evaluator, for_each_severity
from sharpdro.evaluation.logits import save_logits
from sharpdro.evaluation.measurements import measure_corruptions
from sharpdro.evaluation.summary import accuracy_table
from sharpdro.finiteness import check_loss
from sharpdro.jobs.shared import check_free, check_kernels, check_same, describe_limits, making
from sharpdro.networks.build import Trained, load_trained
from sharpdro.run_folder.environment import describe_environment
from sharpdro.run_folder.folder import RunFolder

# Of the checkpoint's file, in the settings.
CHECKSUM = "checkpoint_crc32"


@dataclass(frozen=True)
class Evaluation:
    """What can be measured.

    Args:
        args: the settings, complete.
        trained: the checkpoint's network.
        run: of the evaluation's directory.
        device: what it is measured on.
    """

    args: EvaluationSettings
    trained: Trained
    run: RunFolder
    device: str

    @property
    def record(self) -> dict:
        """The settings that the directory keeps, and what was measured with them."""
        trained = self.trained
        facts = {"epoch": trained.epoch, "trained_with": trained.settings, CHECKSUM: trained.crc32}
        return recorded(self.args) | facts

    def check_folder(self) -> None:
        """Refuse to touch or to go on with what was measured otherwise, or of another checkpoint.

        Raises:
            RunError: it was.
        """
        run = self.run
        check_free(self.args, run)
        if not run.exists():
            return
        record = self.record
        checksum = record.pop(CHECKSUM)
        check_same(run, record)
        if run.read_settings().get(CHECKSUM) != checksum:
            raise RunError(
                f"{run.path} was measured with another file {self.args.checkpoint} than the one "
                f"that is there now: choose another --desc, or delete that folder"
            )


def prepare_evaluation(args, desc_prefix="") -> Evaluation:
    """Load the checkpoint, and refuse what cannot be measured; nothing is written yet.

    A directory that --desc does not name is named after the checkpoint, behind `desc_prefix`.
    """
    device = select_device(args.device_target, args.cpu_kernels)
    check_kernels(args, device)
    trained = load_trained(args.checkpoint, args.cpu_kernels)
    args = of_checkpoint(args, trained.settings, desc_prefix)
    spec = dataset_spec(args)
    if spec.num_classes != trained.spec.num_classes:
        raise RunError(
            f"-d {spec.name} has {spec.num_classes} classes, but {args.checkpoint} was trained on "
            f"the {trained.spec.num_classes} classes of {trained.spec.name}: name a dataset with "
            f"as many"
        )
    evaluation = Evaluation(args, trained, RunFolder(run_folder(args)), device)
    evaluation.check_folder()
    return evaluation


def evaluate(args, desc_prefix=""):
    """Measure one checkpoint on the test set; returns the directory of the tables."""
    evaluation = prepare_evaluation(args, desc_prefix)
    args, run, trained = evaluation.args, evaluation.run, evaluation.trained
    is_same = args.dataset == trained.spec.name
    remarks = []

    def report(remark):
        print(remark, flush=True)
        remarks.append(remark)

    spec, published_dir = dataset_spec(args), args.published
    with interruptible():
        if published_dir == DOWNLOAD:
            published_dir = fetch_published(spec, args.data_dir, args.show_progress, report)
        sets = prepare_test_sets(
            spec,
            args.data_dir,
            args.corruption,
            args.num_severity,
            num_test=args.num_test,
            filelist_dir=args.filelist_dir or lists_of_checkpoint(args.dataset, args.checkpoint),
            published_dir=published_dir,
            fingerprint=trained.settings.get("fingerprint") if is_same else None,
            **making(args) | {"report": report},
        )
    run.lock()
    with contextlib.closing(run):
        evaluation.check_folder()  # another process may have worked there since
        run.open(evaluation.record, describe_environment(evaluation.device))
        for remark in remarks:  # from before the directory was this process's
            run.note(remark)
        _measure_all(evaluation, sets)
    return run.path


def _measure_all(evaluation, sets):
    """Measure a network on several corruptions, except those that were measured already."""
    args, trained, run = evaluation.args, evaluation.trained, evaluation.run
    if trained.spec.name != args.dataset:
        run.say(
            f"{args.checkpoint} was trained on {trained.spec.name}: measured on {args.dataset} "
            f"with its normalisation, class 0 as class 0 and so on"
        )
    warning = about_frost(trained.settings, args.corruption, args.frost_dir)
    if warning is not None and args.published is None:
        run.say(warning)
    for line in describe_limits(args, num_test=len(sets[args.corruption[0]].labels)):
        run.say(line)
    evaluator = Evaluator(trained.network, trained.normalize)
    clean_scores = []  # at severity 0: the same images for all corruptions

    def measure(name):
        test_set, logits = sets[name], []
        left = replace(test_set, arrays=test_set.arrays[len(clean_scores) :])
        new_scores = for_each_severity(
            partial(evaluator, on_logits=logits.append if args.save_logits else None),
            f"test set, {name}",
            left,
            args.eval_batch_size,
            args.show_progress,
        )
        scores = [*clean_scores, *new_scores]
        for severity, score in enumerate(scores):
            check_loss(f"{args.checkpoint} on {name} at severity {severity}", score.loss)
        if args.save_logits:
            save_logits(run.path, name, test_set, logits)
        clean_scores[:] = scores[:1]
        return scores

    checksums = {name: sets[name].checksum() for name in args.corruption}
    table = run.path / "test.csv"
    rows = measure_corruptions(table, trained.epoch, args.corruption, measure, checksums)
    run.say(
        f"test accuracy in percent per severity of {args.checkpoint} (epoch {trained.epoch})\n"
        f"{accuracy_table(rows)}\nwritten to {run.path}"
    )
