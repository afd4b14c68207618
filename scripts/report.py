#!/usr/bin/env python3
"""Test accuracy in percent per severity of the runs in a log directory, mean ± std over seeds.

Runs are put together only if nothing but their seeds differ (and where and how they were run);
settings in which the runs of the table differ stand beside the method. Runs that are not finished,
and directories that cannot be read, are named and left out.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.command_line import FREE_ON_RESUME, default_of
from sharpdro.methods import METHOD_SETTINGS, METHODS, variant

NOT_COMPARED = FREE_ON_RESUME | {"seed", "method", "distribution_agnostic"}


def method_of(settings):
    """The method's name."""
    return variant(settings["method"], settings.get("distribution_agnostic", False))


def read_runs(log_dir):
    """Settings and summary of every run that is finished."""
    for path in sorted(log_dir.glob("*/settings.json")):
        folder = path.parent
        try:
            settings = json.loads(path.read_text())["settings"]
            if settings.get("eval_only"):
                continue
            method_of(settings)
            has_summary = (folder / "summary.json").exists()
            summary = json.loads((folder / "summary.json").read_text()) if has_summary else {}
            is_finished = has_summary and summary["finished"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"left out, cannot be read: {folder} ({error!r})", file=sys.stderr)
            continue
        if is_finished:
            yield settings, summary
        else:
            print(f"left out, not finished: {folder}", file=sys.stderr)


def compared(settings, all_names):
    """What must be equal for runs to be put together; what a run does not name has its default."""
    own = METHODS[method_of(settings)].settings
    names = (all_names - NOT_COMPARED - METHOD_SETTINGS) | own.keys()
    return {name: settings.get(name, default_of(name)) for name in names}


def report(runs, epoch):
    """The lines of the table."""
    all_names = set().union(*(settings for settings, _ in runs))
    experiments = {}
    for settings, summary in runs:
        chosen = compared(settings, all_names)
        key = (method_of(settings), json.dumps(chosen, sort_keys=True))
        experiments.setdefault(key, (chosen, []))[1].append((settings["seed"], summary))
    values = {}
    for chosen, _ in experiments.values():
        for name, value in chosen.items():
            values.setdefault(name, set()).add(json.dumps(value))
    varying = sorted(name for name, seen in values.items() if len(seen) > 1)
    for (method, _), (chosen, members) in sorted(experiments.items()):
        shown = (f"{name}={chosen[name]}" for name in varying if name in chosen)
        label = " ".join([method, *shown])
        yield from experiment_lines(label, sorted(members, key=lambda m: m[0]), epoch)


def experiment_lines(label, members, epoch):
    """What was run, the columns' names, and the numbers."""
    columns = list(members[0][1][epoch]["test"])
    table = np.array(
        [[100 * run[epoch]["test"][c]["accuracy"] for c in columns] for _, run in members]
    )
    means = [f"{mean:.1f}" for mean in table.mean(0)]
    if len(table) > 1:
        means = [f"{m} ± {s:.1f}" for m, s in zip(means, table.std(0, ddof=1))]
    yield f"{label} (seed {' '.join(str(seed) for seed, _ in members)})"
    yield "  ".join(f"{column:>10}" for column in columns)
    yield "  ".join(f"{cell:>10}" for cell in means)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log_dir", type=Path, help="the --log_dir of the runs")
    parser.add_argument(
        "--epoch",
        choices=("best", "last"),
        default="best",
        help="the epoch of the highest validation accuracy, or the last (default: best)",
    )
    args = parser.parse_args(argv)
    runs = list(read_runs(args.log_dir))
    if not runs:
        parser.error(f"{args.log_dir} holds no finished run")
    print("\n".join(report(runs, args.epoch)))


if __name__ == "__main__":
    main()
