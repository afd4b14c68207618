"""The job of --dry_run: what training would do, and what stands in its way; nothing is written.

It makes the checks of a training, looks at the data as a training reads them, and tries steps out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np

from corruptions.command_line import one_line, readable
from corruptions.errors import DataError
from corruptions.interrupts import interruptible
from corruptions.storage.files import check_space, check_writable, free_bytes
from dataset.batches import num_batches
from dataset.own_data import check_fingerprint
from dataset.poisson import severity_counts
from dataset.survey import survey_arrays, survey_clean, survey_split
from sharpdro.command_line.settings import dataset_spec, find_filelists, method_name, run_folder
from sharpdro.device import select_device
from sharpdro.errors import RunError
from sharpdro.jobs import prepare
from sharpdro.jobs.shared import (
    build_network,
    check_network,
    describe_limits,
    initial_network,
)
from sharpdro.jobs.stages import create_first_stage, create_step
from sharpdro.jobs.time_estimate import format_seconds, time_evaluation, time_training
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import FIRST_STAGE_FOLDER
from sharpdro.run_folder.checkpoint import load, load_last, restore
from sharpdro.run_folder.folder import RunFolder
from sharpdro.training.plan import is_evaluated

_WIDTH = 12


class Report:
    """Lines by topic, and the problems that came up."""

    def __init__(self):
        self.problems: list[str] = []

    def add(self, topic: str, *lines: str) -> None:
        """Print lines about a topic."""
        for number, line in enumerate(lines):
            print(one_line(f"{'' if number else topic:<{_WIDTH}}{line}"), flush=True)

    def refuse(self, problem: str) -> None:
        """Note what stands in the way."""
        if problem not in self.problems:
            self.problems.append(problem)

    def attempt(self, function: Callable, *args, **settings):
        """What a function returns; None if it refuses what the user can mend, which is noted."""
        try:
            return function(*args, **settings)
        except (DataError, RunError, OSError) as error:
            self.refuse(readable(error))
            return None

    def close(self) -> None:
        """Print the problems.

        Raises:
            RunError: there are some.
        """
        numbered = [f"{number}. {text}" for number, text in enumerate(self.problems, 1)]
        self.add("problems", *(numbered or ["none: the run could start"]))
        if numbered:
            count = _count(len(numbered), "problem")
            raise RunError(f"the run could not start: {count}, named above")


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Done:
    """What is finished of a training: epochs, their checkpoint, if any, steps of the next epoch."""

    epochs: int = 0
    checkpoint: Path | None = None
    steps: int = 0


@dataclass(frozen=True)
class StageLeft:
    """A training that a run consists of, as far as it is left to do."""

    title: str
    method: str
    num_groups: int
    epochs: int
    evaluations: int
    evaluation_steps: int
    done: Done

    def training_steps(self, steps_per_epoch: int) -> int:
        """How many, without those that are done of the epoch that was begun."""
        return self.epochs * steps_per_epoch - self.done.steps


def dry_run(args):
    """Report what training would do and what stands in its way; write nothing."""
    report, run = Report(), RunFolder(run_folder(args))
    for check in (*prepare.checks_of_folder(args, run), run.check_unlocked):
        report.attempt(check)
    is_resumed = args.resume and run.exists()
    if is_resumed and report.attempt(run.is_finished):
        report.add("run", f"{run.path}: finished already, nothing would be done")
        report.close()
        return
    for check in prepare.checks_without_data(args, run):
        report.attempt(check)
    device = report.attempt(prepare.check_device, args)
    select_device(device or "auto", args.cpu_kernels, args.mode)
    warning = report.attempt(prepare.fix_run_threads, args, run, device)
    initial = args.pretrained and report.attempt(initial_network, args, run.path)
    if initial and is_resumed:
        report.attempt(prepare.check_same_weights, args, run, initial.crc32)
    first_stage = create_first_stage(args, args.show_progress)
    progress = _report_progress(args, report, run, first_stage)
    report.add("device", device or f"no {args.device_target} here", *filter(None, [warning]))
    with interruptible():
        sizes = _report_data(args, report, run)
    steps = sizes and report.attempt(prepare.count_steps, args, sum(sizes.per_severity))
    _report_network(args, report)
    if steps:
        stages = stages_left(args, sizes, first_stage, *progress)
        _report_steps(args, report, stages, steps)
        if report.problems:
            report.add("time", "not measured, as the run could not start")
        elif device:
            eval_batch = min(args.eval_batch_size, max(sizes.validation, sizes.test))
            _report_time(args, report, stages, steps, eval_batch)
    report.close()


def _report_progress(args, report, run, first_stage):
    """Say which directory a run would write, and how far it has come there.

    Returns:
        What is done of the last stage, and of a first one; None if that is over or there is none.
    """

    def done(folder):
        last = load_last(folder, partial(report.add, "run"))
        return Done(last[0].epoch, last[1], last[0].unfinished.get("step", 0)) if last else Done()

    def find():
        first = run.path / FIRST_STAGE_FOLDER
        is_in_first = first_stage is not None and not (first / first_stage.file).exists()
        return done(run.path), done(first) if is_in_first else None

    progress = report.attempt(find) if args.resume and run.exists() else None
    if progress is None:
        report.add("run", f"{run.path}: {'exists already' if run.exists() else 'new'}")
        return Done(), None if first_stage is None else Done()
    last, first = progress
    current = first or last
    stage = " of the first stage" if first else " of the second stage" if first_stage else ""
    steps = f" and {current.steps} steps of the next" if current.steps else ""
    report.add("run", f"{run.path}: would be resumed after epoch {current.epochs}{stage}{steps}")
    return progress


def _report_data(args, report, run):
    """Say what there is of the data and what would be made; returns the numbers of images."""
    spec, lists = dataset_spec(args), find_filelists(args)
    (corruption,) = args.corruption
    if spec.has_lists:
        report.add("lists", f"those in {lists}" if lists else "none: shared out by -n and --seed")
    clean = survey_clean(spec, args.data_dir)
    for problem in clean.problems:
        report.refuse(problem)
    lines, unsure = clean.lines or ["not there"], " (nominal)" if clean.nominal else ""
    if unsure:
        lines.append("so the numbers below are nominal, those that the dataset is said to have")
    report.add("dataset", f"{spec.name}: {lines[0]}", *lines[1:])
    arrays = report.attempt(
        survey_arrays,
        spec,
        args.data_dir,
        clean,
        corruption,
        num_severity=args.num_severity,
        frost_dir=args.frost_dir,
        refuse=report.refuse,
    )
    num_missing = _report_arrays(args, report, clean, arrays)
    sizes = report.attempt(
        survey_split,
        spec,
        clean,
        filelist_dir=lists,
        num_per_class=None if lists else args.num_per_class,
        num_severity=args.num_severity,
        seed=args.seed,
        num_val=args.num_val,
        num_test=args.num_test,
        severity_law=args.severity_law,
    )
    if sizes is None:
        return None
    _report_sizes(args, report, sizes, unsure, int(np.bincount(clean.labels["train"]).min()))
    if args.resume and run.exists():
        _compare_images(args, report, run, clean, num_missing)
    return sizes


def _compare_images(args, report, run, clean, num_missing):
    """Note where the images are others than those of the run, as far as they are there."""
    before = report.attempt(run.read_settings) or {}
    report.attempt(check_fingerprint, clean.splits, before.get("fingerprint"), args.data_dir)
    if not (report.problems or clean.num_bytes or num_missing):
        data = prepare.read_data(args, run, find_filelists(args), may_write=False)
        report.attempt(prepare.check_same_images, args, run, data.checksums())


def _report_arrays(args, report, clean, arrays):
    """Say which corrupted arrays would be made, and on which disk; returns their number."""
    (corruption,) = args.corruption
    there, missing, num_bytes = arrays or (0, 0, 0)
    made = f", {missing} would be made ({num_bytes / 1e6:,.0f} MB)" if missing else ""
    counts = f"{there} of {there + missing} arrays found{made}" if arrays else "not as it should be"
    folder = args.data_dir / dataset_spec(args).corrupted_folder
    report.add("corruption", f"{corruption}: {counts}", f"in {folder}")
    num_bytes += clean.num_bytes
    if num_bytes:
        report.attempt(check_writable, args.data_dir)
        report.attempt(check_writable, folder)
        report.attempt(check_space, args.data_dir, num_bytes)
        written = f"{num_bytes / 1e6:,.0f} MB would be written into {args.data_dir}"
        report.add("disk", f"{written}, {free_bytes(args.data_dir) / 1e6:,.0f} MB are free")
    return missing


def _report_sizes(args, report, sizes, unsure, smallest_class):
    """Say how many images there would be."""
    counts, total = " ".join(map(str, sizes.per_severity)), sum(sizes.per_severity)
    report.add(
        "training", f"{counts} = {total:,} images at severity 0 … {args.num_severity}{unsure}"
    )
    empty = [severity for severity, count in enumerate(sizes.per_severity) if not count]
    if empty:
        advice = ""
        if args.severity_law == "poisson" and args.num_per_class is not None:  # no lists say it
            advice = _advice_for(args, empty, smallest_class)
        report.add("", f"no training images at severity {' '.join(map(str, empty))}{advice}")
    evaluated = f"{sizes.validation:,} validation and {sizes.test:,} test images"
    there = {"num_val": sizes.validation, "num_test": sizes.test}
    report.add(
        "evaluation",
        f"{evaluated} at every severity{unsure}",
        *describe_limits(args, **there),
    )


def _advice_for(args, empty, smallest_class):
    """The -n from which on no severity is empty, if there is one, or the --num_severity."""
    needed = args.num_per_class
    while not severity_counts(needed, args.num_severity)[empty[-1]]:
        needed += 1
    if needed <= smallest_class:
        return f": there are some from -n {needed} on"
    if empty[0] > 1:
        return f": the classes are too small for them; --num_severity {empty[0] - 1} would do"
    return ""


def _report_network(args, report):
    """Say what would be trained, and how."""
    shape = f"-{args.depth}-{args.widen_factor}" if args.model == "wideresnet" else ""
    network = report.attempt(check_network, args)
    if network is None:
        return
    number = sum(p.size for p in network.trainable_params())
    report.add("model", f"{args.model}{shape}: {number:,} parameters")
    method = method_name(args)
    passes = method_spec(method).passes
    report.add("method", f"{method}: {passes} pass{'es' if passes > 1 else ''} per step")


def stages_left(args, sizes, first_stage, last, first) -> list[StageLeft]:
    """What a run has still to do.

    Args:
        args: the settings.
        sizes: of the data.
        first_stage: an object of the class that the method's spec names; None: there is none.
        last, first: what is `Done`; first None: that stage is over, or there is none.
    """
    batch = min(args.eval_batch_size, max(sizes.validation, sizes.test))
    num_severities = len(sizes.per_severity)
    once = num_severities * (num_batches(sizes.validation, batch) + num_batches(sizes.test, batch))
    epochs = range(last.epochs + 1, args.total_epoch + 1)
    num_evaluations = sum(
        is_evaluated(epoch, args.eval_every, args.total_epoch) for epoch in epochs
    )
    last_stage = StageLeft(
        title="stage 2: " if first_stage else "",
        method=method_name(args),
        num_groups=(first_stage and first_stage.num_inferred) or num_severities,
        epochs=len(epochs),
        evaluations=num_evaluations,
        evaluation_steps=num_evaluations * once,
        done=last,
    )
    if first is None:
        return [last_stage]
    is_trained = first_stage.epochs > first.epochs
    num_predicted = num_batches(sum(sizes.per_severity), batch)
    first_left = StageLeft(
        title="stage 1: ",
        method="erm",
        num_groups=num_severities,
        epochs=first_stage.epochs - first.epochs,
        evaluations=int(is_trained),
        evaluation_steps=once * is_trained + num_predicted,
        done=first,
    )
    return [first_left, last_stage]


def _report_steps(args, report, stages, steps_per_epoch):
    """Say how much there is to train and to evaluate."""
    for stage in stages:
        epochs = f"{_count(stage.epochs, 'epoch')} of {_count(steps_per_epoch, 'step')}"
        training = _count(stage.training_steps(steps_per_epoch), "training step")
        evaluation = _count(stage.evaluation_steps, "evaluation step")
        evaluations = _count(stage.evaluations, "evaluation")
        report.add("steps", f"{stage.title}{training} in {epochs}, {evaluation} in {evaluations}")
    if args.distributed:
        report.add("processes", "the times below are those of a single process")


def _report_time(args, report, stages, steps_per_epoch, eval_batch_size):
    """Try out the steps, and say how long all of them would take."""
    doing = "compiling the step and trying it" if args.mode == "graph" else "trying the step"
    report.add("time", f"{doing} out, some seconds to a minute")
    spec, seconds, train_steps, eval_steps = dataset_spec(args), 0.0, 0, 0
    for stage in stages:
        network, normalize = build_network(args)
        network = ms.amp.auto_mixed_precision(network, args.amp_level)
        groups = np.arange(stage.num_groups)
        step = create_step(args, network, stage.method, groups, stage.num_groups)
        if stage.done.checkpoint:
            path = stage.done.checkpoint
            report.attempt(lambda s, path: restore(s, load(path), path), step, path)
        settings = {"augment_data": args.augment_data, "on_nan": args.on_nan}
        train = time_training(step, normalize, spec, args.batch_size, **settings)
        evaluate = time_evaluation(network, normalize, spec, eval_batch_size)
        seconds += train.seconds(stage.training_steps(steps_per_epoch))
        seconds += evaluate.seconds(stage.evaluation_steps)
        train_steps, eval_steps = train_steps + train.steps, eval_steps + evaluate.steps
        report.add(
            "",
            f"{stage.title}{format_seconds(train.later)} a training step, "
            f"{format_seconds(steps_per_epoch * train.later)} an epoch; "
            f"{format_seconds(evaluate.later)} an evaluation step; "
            f"{format_seconds(train.first + evaluate.first)} to compile",
        )
    report.add(
        "",
        f"{format_seconds(seconds)} in all, an estimate from {train_steps} steps of training and "
        f"{eval_steps} of evaluation",
        "with random weights and images; reading and making the data comes on top",
    )
