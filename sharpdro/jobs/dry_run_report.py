"""--dry_run: what a run would find, make and take, and what is wrong; nothing is written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from corruptions.command_line import one_line, readable
from corruptions.errors import DataError
from corruptions.storage.files import check_space, check_writable, free_bytes
from dataset.specs import DatasetSpec
from dataset.survey import CleanImages, Sizes, survey_arrays, survey_clean, survey_split
from sharpdro.errors import RunError
from sharpdro.jobs.time_estimate import Done, Stage, format_seconds, time_evaluation, time_training
from sharpdro.methods.specs import FIRST_STAGE_FOLDER
from sharpdro.run_folder.checkpoint import load, load_last, restore
from sharpdro.run_folder.folder import RunLog

_WIDTH = 12


class Report:
    """Lines by topic, and the problems that came up.

    Args:
        write: called with each line.
    """

    def __init__(self, write: Callable[[str], object]):
        self._write = write
        self.problems: list[str] = []

    def say(self, topic: str, *lines: str) -> None:
        """Write lines about a topic."""
        for number, line in enumerate(lines):
            self._write(one_line(f"{topic if number == 0 else '':<{_WIDTH}}{line}"))

    def add(self, problem: str) -> None:
        """Note what stands in the way."""
        if problem not in self.problems:
            self.problems.append(problem)

    def attempt(self, function: Callable, *args, **settings):
        """What a function returns; None if it finds what the user can mend, which is noted."""
        try:
            return function(*args, **settings)
        except (DataError, RunError, OSError) as error:
            self.add(readable(error))
            return None

    def close(self) -> None:
        """Write down the problems.

        Raises:
            RunError: there are some.
        """
        numbered = [f"{number}. {text}" for number, text in enumerate(self.problems, 1)]
        self.say("problems", *(numbered or ["none: the run could start"]))
        if numbered:
            many = _count(len(numbered), "problem")
            raise RunError(f"the run could not start: {many}, named above")


def find_progress(
    folder: Path, first_stage_file: str | None, say: Callable[[str], object]
) -> tuple[Done, Done | None]:
    """What is finished of a run: of its last stage, and of a first one.

    Args:
        folder: the run's.
        first_stage_file: what the first stage leaves at its end; None: there is no such stage.
        say: called with what is wrong, but does not keep the run from going on.

    Returns:
        The second is None where the first stage is over, or there is none.

    Raises:
        RunError: the run cannot go on.
    """
    first = folder / FIRST_STAGE_FOLDER
    if first_stage_file is None or (first / first_stage_file).exists():
        return _done(folder, say), None
    return _done(folder, say), _done(first, say)


def _done(folder, say):
    found = load_last(folder, say)
    if found is None:
        return Done()
    stored, path = found
    return Done(stored.epoch, path, stored.unfinished.get("step", 0))


def describe_progress(
    report: Report, log: RunLog, is_resumed: bool, first_stage_file: str | None
) -> tuple[Done, Done | None]:
    """Say which directory a run would write, and how far it has come there."""
    found = None
    if is_resumed:
        tell = partial(report.say, "run")
        found = report.attempt(find_progress, log.folder, first_stage_file, tell)
    if found is None:
        is_there = "exists already" if log.exists() else "new"
        report.say("run", f"{log.folder}: {is_there}")
        return Done(), None if first_stage_file is None else Done()
    last, first = found
    done = last if first is None else first
    where = f"epoch {done.epochs}"
    if first is not None:
        where += " of the first stage"
    elif first_stage_file is not None:
        where += " of the second stage"
    if done.steps:
        where += f" and {done.steps} steps of the next"
    report.say("run", f"{log.folder}: would be resumed after {where}")
    return found


def describe_data(
    report: Report,
    spec: DatasetSpec,
    data_dir: Path,
    corruption: str,
    num_severity: int,
    frost_dir: Path | None,
) -> CleanImages:
    """Say what there is of the data, and what would be made."""
    clean = survey_clean(spec, data_dir)
    for problem in clean.problems:
        report.add(problem)
    lines = clean.lines or ["not there"]
    if clean.nominal:
        lines.append("so the numbers below are nominal, those that the dataset is said to have")
    report.say("dataset", f"{spec.name}: {lines[0]}", *lines[1:])
    num_bytes = clean.num_bytes
    arrays = report.attempt(
        survey_arrays, spec, data_dir, clean, corruption, num_severity, frost_dir, report.add
    )
    if arrays is None:
        report.say("corruption", f"{corruption}: not as it should be")
    else:
        there, missing, array_bytes = arrays
        num_bytes += array_bytes
        made = f", {missing} would be made ({array_bytes / 1e6:,.0f} MB)" if missing else ""
        folder = data_dir / spec.corrupted_folder
        report.say("corruption", f"{corruption}: {there} of {there + missing} arrays found{made}")
        report.say("", f"in {folder}")
    if num_bytes:
        report.attempt(check_writable, data_dir)
        report.attempt(check_writable, data_dir / spec.corrupted_folder)
        report.attempt(check_space, data_dir, num_bytes)
        written = f"{num_bytes / 1e6:,.0f} MB would be written into {data_dir}"
        report.say("disk", f"{written}, {free_bytes(data_dir) / 1e6:,.0f} MB are free")
    return clean


def describe_split(report: Report, clean: CleanImages, **settings) -> Sizes | None:
    """Say how many images there would be; `settings` are those of `survey_split`."""
    sizes = report.attempt(survey_split, clean=clean, **settings)
    if sizes is None:
        return None
    unsure = " (nominal)" if clean.nominal else ""
    counts = " ".join(map(str, sizes.per_severity))
    total, last = sum(sizes.per_severity), len(sizes.per_severity) - 1
    report.say("training", f"{counts} = {total:,} images at severity 0 … {last}{unsure}")
    empty = [str(severity) for severity, count in enumerate(sizes.per_severity) if not count]
    if empty:
        advice = ": a larger -n would give some" if settings["severity_law"] == "poisson" else ""
        report.say("", f"none at severity {' '.join(empty)}{advice}")
    evaluated = f"{sizes.validation:,} validation and {sizes.test:,} test images"
    report.say("evaluation", f"{evaluated} at every severity{unsure}")
    return sizes


def _try_to_restore(step, path):
    restore(step, load(path), path)


def describe_steps(report: Report, stages: list[Stage], steps_per_epoch: int) -> None:
    """Say how much there is to train and to evaluate."""
    for stage in stages:
        steps = f"{stage.epochs * steps_per_epoch:,} in {_count(stage.epochs, 'epoch')}"
        evaluations = f"{_count(stage.evaluations, 'evaluation')} of {stage.evaluation_steps:,}"
        report.say("steps", f"{stage.name}{steps} of {steps_per_epoch:,}; {evaluations} in all")


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe_time(
    report: Report,
    stages: list[Stage],
    steps_per_epoch: int,
    spec: DatasetSpec,
    batch_size: int,
    eval_batch_size: int,
    augment_data: bool,
) -> None:
    """Try out the steps, and say how long all of them would take."""
    report.say("time", "compiling the step and trying it out, some seconds to a minute")
    total, timed = 0.0, []
    for stage in stages:
        network, normalize, step = stage.create()
        if stage.done.checkpoint:
            report.attempt(_try_to_restore, step, stage.done.checkpoint)
        train = time_training(step, normalize, spec, batch_size, augment_data)
        measure = time_evaluation(network, normalize, spec, eval_batch_size)
        evaluating = measure.seconds(stage.evaluation_steps)
        total += train.seconds(stage.epochs * steps_per_epoch) + evaluating
        timed += [train.steps, measure.steps]
        report.say(
            "",
            f"{stage.name}{format_seconds(train.later)} a training step, "
            f"{format_seconds(steps_per_epoch * train.later)} an epoch; "
            f"{format_seconds(measure.later)} an evaluation step; "
            f"{format_seconds(train.first + measure.first)} to compile",
        )
    report.say(
        "",
        f"{format_seconds(total)} in all, an estimate from {sum(timed[::2])} steps of training and "
        f"{sum(timed[1::2])} of evaluation",
        "with random weights and images; reading and making the data comes on top",
    )
