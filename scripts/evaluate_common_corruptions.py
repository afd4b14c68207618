#!/usr/bin/env python3
"""Error on the fifteen common corruptions at five severities, in the table of robustness papers.

Measures each checkpoint as main.py --eval_only does; the same command goes on where it was stopped,
and what is measured already is only read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import math
import os

from corruptions.command_line import one_line
from corruptions.storage.files import write_atomically
from dataset.readers.published import DOWNLOAD
from dataset.specs import DATASETS
from sharpdro.command_line.flags import FLAGS, FROM_CHECKPOINT, OF_EVALUATION, new_parser
from sharpdro.command_line.settings import (
    check_same_test_list,
    evaluation_settings,
    run_folder,
)
from sharpdro.errors import RunError
from sharpdro.evaluation.corruption_table import (
    COLUMNS,
    ECE,
    NLL,
    csv_table,
    errors_of,
    is_flat,
    markdown_table,
    table_row,
    text_table,
)
from sharpdro.evaluation.scores import NUM_BINS
from sharpdro.flag_types import description
from sharpdro.program import run_program
from sharpdro.text_tables import markdown_text

NAME = "evaluate_common_corruptions.py"
# Those of main.py --eval_only that are not the same for every table.
PASSED_ON = OF_EVALUATION - {
    *("checkpoint", "eval_only", "corruption", "num_severity", "resume", "seed", "desc"),
}


def create_parser():
    parser = new_parser(NAME, __doc__)
    add = parser.add_argument
    text = "checkpoints to measure, such as runs' best.ckpt: one row each"
    add("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help=text)
    text = (
        "divide by this one's errors, as Hendrycks & Dietterich (2019) do, and show relative mCE, "
        "too; mCE is the mean of the fifteen errors otherwise"
    )
    add("--baseline", type=Path, metavar="CHECKPOINT", help=text)
    text = "also write the table to PREFIX.md and PREFIX.csv, over those that are there"
    parser.add_file_output(metavar="PREFIX", help=text)
    text = "put this before the names of the evaluations' directories, to start anew beside them"
    add("--desc", type=description, metavar="TEXT", help=text)
    group = parser.add_argument_group("as for main.py --eval_only")

    for name, flag in FLAGS.items():
        if name in PASSED_ON:
            flag.add_to(group, **({"default": None} if name in FROM_CHECKPOINT else {}))
    parser.set_defaults(num_test=0)
    return parser


def check_output(parser, prefix):
    """Refuse a place where the tables cannot be written."""
    if prefix is None:
        return
    if prefix.is_dir() or not prefix.name:
        parser.error(
            f"--output {prefix} is a folder: name the files in it, such as {prefix / 'table'}"
        )
    if prefix.suffix in (".md", ".csv"):
        parser.error(f"--output {prefix}: leave {prefix.suffix} out, .md and .csv are both written")
    if not prefix.parent.is_dir():
        parser.error(f"--output {prefix}: there is no folder {prefix.parent}: make it first")
    if not os.access(prefix.parent, os.W_OK | os.X_OK):
        parser.error(f"--output {prefix}: no permission to write there")


def settings_of(args, checkpoint):
    """The settings of the evaluation of one checkpoint."""
    given = {name: getattr(args, name) for name in PASSED_ON if getattr(args, name) is not None}
    given |= {"eval_only": True, "checkpoint": checkpoint, "resume": True}
    return evaluation_settings(given | {"corruption": ["standard"], "num_severity": 5})


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
        folder = run_folder(settings)
        other = folders.setdefault(folder, settings.checkpoint)
        if other != settings.checkpoint:
            raise RunError(
                f"{other} and {settings.checkpoint} would both be measured in {folder}: give "
                f"one another file name, by a link (ln -s) for example"
            )
    if first.filelist_dir is None:
        paths = [settings.checkpoint for settings in evaluations]
        check_same_test_list(first.dataset, paths, "name those for all with --filelist_dir")


def measure(args):
    """The evaluations' settings, the baseline's first, and what each measured, see errors_of."""
    from sharpdro.evaluation.measurements import read_measurements
    from sharpdro.jobs.evaluate import evaluate, prepare_evaluation

    checkpoints = {}  # once each, however its path is spelt
    for path in [*([args.baseline] if args.baseline else []), *args.checkpoints]:
        checkpoints.setdefault(path.parent.resolve() / path.name, path)
    prefix = f"{args.desc}_" if args.desc else ""
    asked = [settings_of(args, path) for path in checkpoints.values()]
    evaluations = [prepare_evaluation(settings, prefix).args for settings in asked]
    check_together(evaluations)
    folders = [evaluate(settings, prefix) for settings in asked]
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
    is_lacking = any(map(math.isnan, (mean for one in errors for mean in one.means.values())))
    about = describe(args, evaluations[0].dataset, num_images, baseline, is_lacking)
    print(f"\n{one_line(about)}\n\n{text_table(rows)}")
    if args.output is None:
        return
    same = {
        "dataset": evaluations[0].dataset,
        "num_images": num_images,
        "baseline": args.baseline or "",
        "published": args.published or "",
    }
    further = {"checkpoint": paths, **{k: [str(v)] * len(rows) for k, v in same.items()}}
    sentence = markdown_text(f"{about[0].upper()}{about[1:]}.")
    markdown = f"{sentence}\n\n{markdown_table(rows)}"
    for suffix, text in {"md": markdown, "csv": csv_table(rows, further)}.items():
        path = args.output.with_name(f"{args.output.name}.{suffix}")
        write_atomically(path, text)
        print(f"written to {path}")


def describe(args, dataset, num_images, baseline, is_lacking):
    """What the numbers are; some are lacking where an earlier version has measured."""
    source = f", published files of {args.published}" if args.published else ""
    if args.published == DOWNLOAD:
        source = f", the published files ({DATASETS[dataset].published.file_name})"
    text = (
        f"error in percent on {num_images:,} test images of {dataset}, mean of severities 1 to 5"
        f"{source}"
    )
    means = (
        f"; {NLL} (nats), {ECE} ({NUM_BINS} bins), error of the worst class: means of the fifteen"
    )
    if is_lacking:
        means += ", lacking where an earlier version has measured (--desc measures anew)"
    if baseline is None:
        return text + means
    text += (
        f"; from mCE to {[*COLUMNS.values()][-1]} in percent of the error of {args.baseline}{means}"
    )
    none = [title for name, title in COLUMNS.items() if not any(baseline.corrupted[name])]
    flat = [title for name, title in COLUMNS.items() if is_flat(baseline, name)]
    if none:
        text += f"; undefined where that makes no error: {', '.join(none)}"
    if flat:
        names = ", ".join(flat)
        text += f"; relative mCE is undefined where that is no larger than on clean images: {names}"
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
