#!/usr/bin/env python3
"""Copy what is worth publishing of finished runs: some kB each.

For each finished run of LOG_DIR: settings.json with absolute paths cut to their last parts,
summary.json, val.csv, test.csv, of train.csv the last line of each epoch (its last steps alone, if
--log_train is shorter than an epoch), and stage1/alignment.csv where there is one.
scripts/report.py makes its tables from the copies as it does from the runs; so runs that differ in
nothing but what is cut off are refused.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import json
import re
import shlex
import shutil

from corruptions.command_line import Parser
from corruptions.interrupts import interruptible
from corruptions.storage.files import write_atomically
from sharpdro.errors import RunError
from sharpdro.methods.specs import FIRST_STAGE_FOLDER
from sharpdro.program import run_program
from sharpdro.report.experiments import compared
from sharpdro.report.runs import LISTS, LISTS_CHECKSUM, read_runs
from sharpdro.run_folder.csv_table import csv_text
from sharpdro.run_folder.folder import SUMMARY
from sharpdro.run_folder.reading import read_json, read_rows
from sharpdro.training.first_stage import ALIGNMENT

_COPIED = ("val.csv", "test.csv", SUMMARY)  # reports count a copy that has the last
_COPIED_IF_THERE = f"{FIRST_STAGE_FOLDER}/{ALIGNMENT}"
_REMEDY = "restore it, or move the run away"


def create_parser():
    parser = Parser(prog="publish_runs.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("log_dir", type=Path, metavar="LOG_DIR", help="the --log_dir of the runs")
    text = "folder for the copies, one folder a run"
    add("-o", "--output", type=Path, required=True, metavar="DIR", help=text)
    return parser


def _last_part(word):
    """Of an absolute path, which says more about the machine than about the run."""
    return re.sub(r"^(--\w+=)?/.*?([^/]*)/*$", r"\1\2", word)


def _shortened(settings):
    return {n: _last_part(v) if isinstance(v, str) else v for n, v in settings.items()}


def published_settings(content):
    """settings.json without where the program, its interpreter and its files lie."""
    content["settings"] = _shortened(content["settings"])
    for environment in (content["environment"], *content.get("resumed", [])):
        environment.pop("directory", None)
        if "changed" in environment:
            environment["changed"] = _shortened(environment["changed"])
        words = shlex.split(environment.get("command", ""))
        environment["command"] = shlex.join(map(_last_part, words))
    return content


def check_still_apart(runs):
    """Refuse runs whose copies would be averaged, although they are not."""
    names = set().union(*(run.settings for run in runs))
    seen = {}
    for run in runs:
        settings = compared(run, names)
        copied = json.dumps([run.method, _shortened(settings)])
        other, others = seen.setdefault(copied, (run, settings))
        for name, value in settings.items():
            if value != others[name]:
                raise RunError(
                    f"{other.folder} and {run.folder} differ in --{name}, {others[name]} and "
                    f"{value}, of which copies keep the last part: move one to another LOG_DIR"
                )


def check_same_run(folder, copy):
    """Refuse to replace the copy of another run that has the same name."""
    if not (copy / "settings.json").exists():
        return
    began, before = (
        read_json(path / "settings.json", lambda c: c["environment"].get("started"), _REMEDY)
        for path in (folder, copy)
    )
    if began != before:
        raise RunError(
            f"{copy} is the copy of another run, started {before}, not {began} as {folder}: "
            f"delete it, or name another -o"
        )


def last_of_epochs(rows):
    """Of the lines of train.csv those that end an epoch, as CSV."""
    by_epoch = {row["epoch"]: row for row in rows}
    return csv_text(rows[0], (row.values() for row in by_epoch.values()))


def publish(log_dir, output):
    """Copy all finished runs."""
    if output.resolve() == log_dir.resolve():
        raise RunError(f"-o {output} holds the runs themselves: name another folder")
    found, remarks = read_runs([log_dir])
    for remark in remarks:
        print(f"publish_runs.py: {remark}", file=sys.stderr)
    runs = [run for run in found if run.is_finished]
    if not runs:
        raise RunError(f"{log_dir}: no finished run lies there: name the --log_dir of your runs")
    check_still_apart(runs)
    for run in runs:
        check_same_run(run.folder, output / run.folder.name)
    for run in runs:
        _copy(run.folder, output / run.folder.name, run.settings.get(LISTS))
    print(f"{len(runs)} finished runs copied to {output}")
    others = {path.parent.name for path in output.glob(f"*/{SUMMARY}")}
    others -= {run.folder.name for run in runs}
    if others:
        names = ", ".join(sorted(others))
        print(f"{output} also has others, which reports count, too: {names}")


def _copy(run, copy, lists):
    settings = read_json(run / "settings.json", published_settings, _REMEDY)
    if lists:
        settings.setdefault("data", {})[LISTS_CHECKSUM] = lists
    rows = read_rows(run / "train.csv", dict)
    if not rows:
        raise RunError(f"{run / 'train.csv'} is empty: {_REMEDY}")
    training = last_of_epochs(rows)
    copy.mkdir(parents=True, exist_ok=True)
    write_atomically(copy / "settings.json", json.dumps(settings, indent=2) + "\n")
    write_atomically(copy / "train.csv", training)
    for name in _COPIED:
        shutil.copyfile(run / name, copy / name)
    if (run / _COPIED_IF_THERE).exists():
        (copy / FIRST_STAGE_FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(run / _COPIED_IF_THERE, copy / _COPIED_IF_THERE)


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args = create_parser().parse_args(argv)
        with interruptible():
            publish(args.log_dir, args.output)

    return run_program("publish_runs.py", work, "the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
