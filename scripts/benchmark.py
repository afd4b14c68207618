#!/usr/bin/env python3
"""Measure how fast the program is, as ratios of what was measured side by side.

Times change with the machine and with what else it does: compare the ratios, which are medians over
rounds in which both sides were measured right after one another. Values are medians, with the
quartiles beside them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import tempfile
from dataclasses import asdict

import numpy as np

from benchmarks.made_up import write_cifar10
from benchmarks.measuring import Options, Row, Workload, environment
from corruptions.command_line import Parser, invalid_choice
from corruptions.interrupts import hold_interrupts, interruptible
from corruptions.storage.files import write_atomically
from dataset.prepare_dataset import prepare_dataset
from dataset.specs import CIFAR10
from sharpdro.errors import RunError
from sharpdro.flag_types import POSITIVE
from sharpdro.program import run_program
from sharpdro.run_folder.environment import describe_environment

# The part's module, and what it measures.
PARTS = {
    "step": ("steps", "training steps of the methods against ERM"),
    "floor": ("floor", "a step of SharpDRO against oneDNN's own time in it"),
    "pytorch": ("pytorch", "a step of SharpDRO in PyTorch, where that is installed, against ours"),
    "kernels": ("kernels", "each --cpu_kernels, and PyTorch where installed, against stock"),
    "input": ("inputs", "training batches"),
    "distributed": ("distributed", "a step in several processes against one, a core each"),
    "evaluation": ("evaluation", "evaluation against the forward pass alone"),
    "start": ("start", "from the command to the first step"),
    "memory": ("memory", "memory of a run and of preparing CIFAR-10"),
    "corruptions": ("corruptions", "every corruption on one core and on all"),
}
FOR_ANY_MODEL = {"step", "floor", "kernels", "evaluation"}
READ_DATA = {"input", "start", "memory"}
HEAD = ("", "median", "quartiles", "runs", "ratio", "quartiles", "target")
WIDTHS = (32, 18, 16, 4, 30, 14, 16)


def create_parser():
    text = "\n".join(f"  {name:12} {about}" for name, (_, about) in PARTS.items())
    parser = Parser(prog="benchmark.py", description=f"{__doc__}\n{text}", allow_abbrev=False)
    add = parser.add_argument
    text = f"what to measure: {', '.join(PARTS)} (default: all, an hour on two cores)"
    add("parts", nargs="*", metavar="PART", help=text)
    how = {"type": POSITIVE, "metavar": "N"}
    text = "a WideResNet on 32×32, or a ResNet-18 on 64×64 for step, floor, kernels, evaluation"
    add("-m", "--model", choices=("wideresnet", "resnet18"), default="wideresnet", help=text)
    add("--depth", default=28, help="depth of the WideResNet (default: %(default)s)", **how)
    add("--widen_factor", default=2, help="its widening (default: %(default)s)", **how)
    add("-b", "--batch_size", default=100, help="images per step (default: %(default)s)", **how)
    add("--rounds", default=7, help="how often each is measured (default: %(default)s)", **how)
    text = "CIFAR-10, as for main.py (default: made-up images of its size)"
    add("--data_dir", type=Path, metavar="DIR", help=text)
    add("--json", type=Path, metavar="FILE", help="write all values there, part by part")
    return parser


def parse(argv):
    """The command line as settings; ends the program on bad usage."""
    parser = create_parser()
    args = parser.parse_args(argv)
    for name in args.parts:
        if name not in PARTS:
            parser.error(invalid_choice(name, PARTS))
    if args.model != "wideresnet" and not set(args.parts or PARTS) <= FOR_ANY_MODEL:
        parser.error(f"-m {args.model} is for {', '.join(sorted(FOR_ANY_MODEL))}: name these")
    if args.depth < 10 or args.depth % 6 != 4:
        parser.error(f"--depth {args.depth} is not 6k + 4 with k ≥ 1: 10, 16, 22, 28, …")
    if args.data_dir and not args.data_dir.is_dir():
        parser.error(f"--data_dir {args.data_dir} is not a folder")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: there is no folder {args.json.parent}: make it first")
    return args


def cells(row: Row) -> list[str]:
    """A row of the table."""
    target = ""
    if row.is_met() is not None:
        bound = f"≤ {row.at_most:,g}" if row.at_most is not None else f"≥ {row.at_least:,g}"
        target = f"{bound} {'met' if row.is_met() else 'MISSED'}"
    return [
        row.what,
        f"{np.median(row.values):,.4g} {row.unit}",
        quartiles(row.values),
        str(len(row.values)),
        f"{np.median(row.ratios):.3f} of {row.against}" if row.ratios else "",
        quartiles(row.ratios),
        target,
    ]


def quartiles(values) -> str:
    """The first and the third; nothing where there is one value at most."""
    low, high = np.percentile(values, (25, 75)) if len(values) > 1 else (0, 0)
    return f"{low:.4g}–{high:.4g}" if len(values) > 1 else ""


def print_line(texts) -> None:
    """One line of the table."""
    print("  ".join(text.ljust(width) for text, width in zip(texts, WIDTHS)).rstrip(), flush=True)


def serve_rows(connection, module, options):
    """Measure one part, in a process of its own, and send its rows."""
    os.setsid()  # so that what it starts can be ended with it
    for row in importlib.import_module(f"benchmarks.{module}").measure(options):
        connection.send(row)
    connection.send(None)


def measure_part(name: str, options: Options) -> list[Row]:
    """The rows of a part; prints each when it is there.

    Raises:
        RunError: it failed, and has said why.
    """
    module = PARTS[name][0]
    variables = getattr(importlib.import_module(f"benchmarks.{module}"), "ENVIRONMENT", {})
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=serve_rows, args=(theirs, module, options))
    with environment(**variables), hold_interrupts():
        process.start()  # lets them in, for good
    theirs.close()
    rows = []
    try:
        while (row := receive(ours)) is not None:
            rows.append(row)
            print_line(cells(row))
    except BaseException as error:
        _kill(process)
        if isinstance(error, EOFError):
            raise RunError(f"part {name} failed, see above") from error
        raise
    finally:
        process.join()
    return rows


def _kill(process) -> None:
    """End a part, and what it has started."""
    with contextlib.suppress(ProcessLookupError):  # it has not got that far
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def receive(connection) -> Row | None:
    """What a part sends next; may be interrupted."""
    with interruptible():
        return connection.recv()


def measure(args, data_dir) -> int:
    """Measure all parts that were asked for; returns the exit code."""
    workload = Workload(args.model, args.depth, args.widen_factor, args.batch_size)
    options = Options(workload, args.rounds, data_dir)
    results, code = {"environment": describe_environment("CPU"), "parts": {}}, 0
    print_line(HEAD)
    for name in args.parts or PARTS:
        print(f"\n{name}: {PARTS[name][1]}", flush=True)
        try:
            rows = measure_part(name, options)
        except RunError as error:
            print(f"benchmark.py: {error}", file=sys.stderr)
            code = 1
            continue
        results["parts"][name] = [
            {**asdict(row), "judged": row.judged(), "is_met": row.is_met()} for row in rows
        ]
        if args.json:
            write_atomically(args.json, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return code


def benchmark(args) -> int:
    """Measure, on data that are there or are made first; returns the exit code."""
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with temporary as folder, environment(TMPDIR=folder):  # what a killed part leaves is there
        data_dir = args.data_dir or Path(folder)
        if READ_DATA & set(args.parts or PARTS):
            if not args.data_dir:
                write_cifar10(data_dir)
            how = {"num_workers": len(os.sched_getaffinity(0)), "show_progress": True}
            prepare_dataset(CIFAR10, data_dir, "gaussian_noise", 4000, 5, 0, **how)
        return measure(args, data_dir)


def main(argv=None):
    """Run the program; returns its exit code."""
    args = parse(argv)
    return run_program("benchmark.py", lambda: benchmark(args), "--json has the finished parts")


if __name__ == "__main__":
    sys.exit(main())
