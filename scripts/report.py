#!/usr/bin/env python3
"""Test accuracy in percent per severity of the runs in a log directory, mean ± std over seeds.

Runs are put together only if nothing but their seeds differ (and where they ran). Unfinished runs
are named and left out.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.command_line import FREE_ON_RESUME
from sharpdro.methods import variant

NOT_COMPARED = FREE_ON_RESUME | {"seed", "desc", "method", "distribution_agnostic"}


def read_runs(log_dir):
    """Settings and summary of every run that is finished."""
    for path in sorted(log_dir.glob("*/summary.json")):
        settings = json.loads((path.parent / "settings.json").read_text())["settings"]
        summary = json.loads(path.read_text())
        if summary["finished"]:
            yield settings, summary
        else:
            print(f"not finished: {path.parent.name}", file=sys.stderr)


def method_of(settings):
    """The method's name."""
    return variant(settings["method"], settings.get("distribution_agnostic", False))


def varying_settings(runs):
    """Names of the settings in which runs of one method differ from each other."""
    seen = {}
    for settings, _ in runs:
        for name in settings.keys() - NOT_COMPARED:
            seen.setdefault((method_of(settings), name), set()).add(json.dumps(settings[name]))
    return sorted({name for (_, name), values in seen.items() if len(values) > 1})


def report(runs, epoch):
    """The lines of the table."""
    varying = varying_settings(runs)
    rows = {}
    for settings, summary in runs:
        own = [f"{name}={settings[name]}" for name in varying if name in settings]
        scores = summary[epoch]["test"]
        accuracies = {column: 100 * score["accuracy"] for column, score in scores.items()}
        key = (" ".join([method_of(settings), *own]), tuple(accuracies))
        rows.setdefault(key, []).append((settings["seed"], list(accuracies.values())))
    for (name, columns), seeds in rows.items():
        table = np.array([accuracies for _, accuracies in seeds])
        spread = table.std(0, ddof=1) if len(table) > 1 else None
        numbers = " ".join(str(seed) for seed, _ in seeds)
        yield f"{name} (seed {numbers})"
        yield "  ".join(f"{column:>10}" for column in columns)
        means = (f"{mean:.1f}" for mean in table.mean(0))
        cells = means if spread is None else (f"{m} ± {s:.1f}" for m, s in zip(means, spread))
        yield "  ".join(f"{cell:>10}" for cell in cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log_dir", type=Path, help="the --log_dir of the runs")
    parser.add_argument(
        "--epoch",
        choices=("best", "last"),
        default="best",
        help="the epoch of the highest validation accuracy, or the last (default: best)",
    )
    args = parser.parse_args()
    runs = list(read_runs(args.log_dir))
    if not runs:
        parser.error(f"{args.log_dir} holds no finished run")
    print("\n".join(report(runs, args.epoch)))


if __name__ == "__main__":
    main()
