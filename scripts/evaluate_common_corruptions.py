#!/usr/bin/env python3
"""Error on the fifteen common corruptions at five severities, in the table of robustness papers.

Measures each checkpoint as main.py --eval_only does; the same command goes on where it was stopped,
and what is measured already is only read.
"""

import signal
import sys

if __name__ == "__main__":  # held back, also by the threads of what is imported: see `interrupts`
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

import os
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.errors import RunError  # first: says in one line which packages are missing

# isort: split
from corruptions.command_line import one_line
from sharpdro.command_line import flags
from sharpdro.command_line.flags import FROM_CHECKPOINT, OWN_IN_EVALUATION
from sharpdro.evaluation.corruption_table import (
    COLUMNS,
    csv_table,
    errors_of,
    is_flat,
    markdown_table,
    table_row,
    text_table,
)
from sharpdro.jobs.evaluate import begin_evaluation, evaluate
from sharpdro.markdown import markdown_text
from sharpdro.program import run_program
from sharpdro.run_folder.folder import write_atomically

NAME = "evaluate_common_corruptions.py"
PASSED_ON = (FROM_CHECKPOINT | OWN_IN_EVALUATION) - {
    *("checkpoint", "eval_only", "corruption", "num_severity", "resume", "seed", "desc"),
}


def create_parser():
    parser = flags.new_parser(NAME, __doc__)
    add = parser.add_argument
    text = "checkpoints to measure, such as runs' best.ckpt: one row each"
    add("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help=text)
    text = (
        "divide by this one's errors, as Hendrycks & Dietterich (2019) do, and show relative mCE, "
        "too; mCE is the mean of the fifteen errors otherwise"
    )
    add("--baseline", type=Path, metavar="CHECKPOINT", help=text)
    text = "also write the table to PREFIX.md and PREFIX.csv, over those that are there"
    add("-o", "--output", type=Path, metavar="PREFIX", help=text)
    text = "put this before the names of the evaluations' directories, to start anew beside them"
    add("--desc", type=flags.description, metavar="TEXT", help=text)
    group = parser.add_argument_group("as for main.py --eval_only")

    def add_passed_on(*flags, **how):
        name = flags[-1].removeprefix("--")
        if name in PASSED_ON:
            own = {"default": None} if name in FROM_CHECKPOINT else {}
            group.add_argument(*flags, **{**how, **own})

    flags.add_run_flags(add_passed_on)
    flags.add_data_flags(add_passed_on)
    flags.add_evaluation_flags(add_passed_on)
    parser.set_defaults(num_test=0)
    return parser


def check_output(parser, prefix):
    """Refuse a place where the tables cannot be written."""
    if prefix is None:
        return
    if prefix.is_dir() or not prefix.name:
        parser.error(f"-o {prefix} is a folder: name the files in it, such as {prefix / 'table'}")
    if prefix.suffix in (".md", ".csv"):
        parser.error(f"-o {prefix}: leave {prefix.suffix} out, .md and .csv are both written")
    if not prefix.parent.is_dir():
        parser.error(f"-o {prefix}: there is no folder {prefix.parent}: make it first")
    if not os.access(prefix.parent, os.W_OK | os.X_OK):
        parser.error(f"-o {prefix}: no permission to write there")


def settings_of(args, checkpoint):
    """What main.py makes of the flags for one checkpoint."""
    argv = ["--eval_only", "--checkpoint", str(checkpoint), "-c", "standard"]
    argv += ["--num_severity", "5", "--resume"]
    for name in sorted(PASSED_ON):
        value = getattr(args, name)
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            argv.append(f"--{name}={value}")
    settings = flags.parse(argv, NAME)
    if args.desc:
        settings.desc = f"{args.desc}_{settings.desc}"
    return settings


def check_together(evaluations):
    """Refuse checkpoints that cannot stand in one table, before any is measured."""
    folders = {}
    first, *_ = evaluations
    for settings in evaluations:
        if settings.dataset != first.dataset:
            raise RunError(
                f"{first.checkpoint} is of {first.dataset}, {settings.checkpoint} of "
                f"{settings.dataset}: name the dataset to measure both on with -d"
            )
        log, _, _ = begin_evaluation(settings)
        other = folders.setdefault(log.folder, settings.checkpoint)
        if other != settings.checkpoint:
            raise RunError(
                f"{other} and {settings.checkpoint} would both be measured in {log.folder}: give "
                f"one another file name, by a link (ln -s) for example"
            )


def measure(args):
    """The evaluations' settings, the baseline's first, and what each found, see errors_of."""
    wanted = {}  # once each, however its path is spelt
    for path in [*([args.baseline] if args.baseline else []), *args.checkpoints]:
        wanted.setdefault(path.parent.resolve() / path.name, path)
    evaluations = [settings_of(args, checkpoint) for checkpoint in wanted.values()]

    from sharpdro.device import select_device
    from sharpdro.evaluation.measurements import read_measurements

    select_device(args.device_target)
    check_together(evaluations)
    folders = [evaluate(settings) for settings in evaluations]
    return evaluations, [read_measurements(folder / "test.csv") for folder in folders]


def report(args):
    """Measure, show and write."""
    evaluations, measured = measure(args)
    errors = [errors_of(one) for one in measured]
    baseline = errors[0] if args.baseline else None
    names = [f"{settings.desc} seed {settings.seed}" for settings in evaluations]
    rows = {name: table_row(one, baseline) for name, one in zip(names, errors)}
    paths = [str(settings.checkpoint) for settings in evaluations]
    num_images = measured[0]["fog"]["0"]["count"]
    about = describe(args, evaluations[0].dataset, num_images, baseline)
    print(f"\n{one_line(about)}\n\n{text_table(rows)}")
    if args.output is not None:
        same = {
            "dataset": evaluations[0].dataset,
            "num_images": num_images,
            "baseline": args.baseline or "",
            "published": args.published or "",
        }
        further = {"checkpoint": paths, **{k: [str(v)] * len(rows) for k, v in same.items()}}
        sentence = markdown_text(f"{about[0].upper()}{about[1:]}.")
        markdown = f"{sentence}\n\n{markdown_table(rows)}"
        contents = {"md": markdown, "csv": csv_table(rows, further)}
        for suffix, text in contents.items():
            path = args.output.with_name(f"{args.output.name}.{suffix}")
            write_atomically(path, text)
            print(f"written to {path}")


def describe(args, dataset, num_images, baseline):
    """What the numbers are."""
    source = f", published files of {args.published}" if args.published else ""
    text = (
        f"error in percent on {num_images:,} test images of {dataset}, mean of severities 1 to 5"
        f"{source}"
    )
    if baseline is None:
        return text
    text += f"; from mCE on, in percent of the error of {args.baseline}"
    none = [title for name, title in COLUMNS.items() if not any(baseline.corrupted[name])]
    flat = [title for name, title in COLUMNS.items() if is_flat(baseline, name)]
    if none:
        text += f"; undefined where that makes no error: {', '.join(none)}"
    if flat:
        text += f"; relative mCE is undefined, for that error is not raised by {', '.join(flat)}"
    return text


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        parser = create_parser()
        args = parser.parse_args(argv)
        check_output(parser, args.output)
        report(args)

    return run_program(NAME, work, "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
