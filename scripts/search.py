#!/usr/bin/env python3
"""Search a method's settings, learning rate and weight decay at random, judged by validation alone.

search.py [flags below] flags of main.py. Every trial is a run of main.py with the flags, --desc
DESC-trialT and what is drawn for it from the ranges in sharpdro/methods/specs.py; what the flags
give is not drawn (what --config FILE gives is drawn all the same). The same command goes on where
it was stopped; more trials can be added.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import os
import shlex
import subprocess
import time
from dataclasses import dataclass

import numpy as np

from corruptions.command_line import printable
from corruptions.interrupts import Terminated, check_interrupts
from sharpdro.command_line.flags import FLAGS, create_parser, given_settings, new_parser
from sharpdro.command_line.settings import method_name, parse, recorded, run_folder
from sharpdro.errors import RunError
from sharpdro.flag_types import COUNT, POSITIVE
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import SEARCHED, LogRange
from sharpdro.program import run_program
from sharpdro.run_folder.folder import SUMMARY, RunFolder
from sharpdro.run_folder.reading import read_json
from sharpdro.text_tables import aligned

NAME, CONTINUE = "search.py", "the same command goes on"
MAIN = Path(__file__).resolve().parents[1] / "main.py"
_STOPPED = (129, 130, 143)


@dataclass(frozen=True)
class Run:
    """A run of main.py: its flags, those of the search, and its directory."""

    flags: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(MAIN), *self.flags, "--resume"]


@dataclass(frozen=True)
class Trial:
    """What was drawn, as flags, and the run that tries it."""

    number: int
    drawn: tuple[str, ...]
    run: Run


def create_search_parser():
    parser = new_parser(NAME, __doc__)
    add = parser.add_argument
    add("--trials", type=POSITIVE, default=20, metavar="N", help="how many settings are tried")
    text = "fixes what is drawn: trial T has the same settings whatever N is"
    add("--search_seed", type=COUNT, default=0, metavar="S", help=text)
    text = "validation accuracy that judges a trial, at the epoch that --best_metric picks"
    add("--judge", choices=("worst", "mean"), default="worst", help=text)
    text = "then run the best trial with K further seeds and report their test accuracy; 0: do not"
    add("--confirm", type=COUNT, default=0, metavar="K", help=text)
    text = "runs at a time, each on its share of the cores"
    add("--jobs", type=POSITIVE, default=1, metavar="K", help=text)
    text = "print the commands of the trials, one a line, and run none"
    add("--print", action="store_true", help=text)
    return parser


def command_line(run: Run) -> str:
    """A run as it can be started from any folder."""
    return f"cd {shlex.quote(os.getcwd())} && {shlex.join(run.command)}"


def draw(search_seed: int, number: int) -> dict[str, str]:
    """The settings of a trial, as text, for all methods.

    Args:
        search_seed, number: from which alone they follow; a number of a trial, from 0.
    """
    shares = np.random.default_rng((search_seed, number)).random(len(SEARCHED))
    return {name: _value(SEARCHED[name], share) for name, share in zip(SEARCHED, shares)}


def _value(space, share: float) -> str:
    """What lies at a share, of [0, 1), of a range or of a tuple of values."""
    if not isinstance(space, LogRange):
        return str(space[int(share * len(space))])
    value = space.low * (space.high / space.low) ** share
    is_whole = type(space.low) is type(space.high) is int
    return str(round(value)) if is_whole else f"{value:.3g}"


def make_run(flags, desc, *further) -> Run:
    """A run with the user's flags and further ones, which is refused here if main.py would."""
    flags = (*flags, f"--desc={desc}", *further)
    return Run(flags, run_folder(parse(flags, NAME)).absolute())


def make_trials(args, flags) -> list[Trial]:
    """The trials, of which nothing is run yet."""
    parser = create_parser(NAME)
    parser.other_flags |= {f"--{name}": f"--{name}" for name in vars(args)}
    given = given_settings(parser, FLAGS, flags)
    if given.get("eval_only") or given.get("dry_run"):
        raise RunError("a search trains: leave out --eval_only and --dry_run")
    settings = parse(flags, NAME)
    spec = method_spec(method_name(settings))
    searched = {"lr", "weight_decay", *spec.flag_names}
    trials = []
    for number in range(args.trials):
        values = draw(args.search_seed, number)
        if spec.stage_epochs:  # a first stage is the beginning of a run as long as the second
            longest = min(int(values[spec.stage_epochs]), settings.total_epoch)
            values[spec.stage_epochs] = str(longest)
        names = [name for name in values if name in searched - given.keys()]
        drawn = tuple(f"--{name}={values[name]}" for name in names)
        run = make_run(flags, f"{settings.desc}-trial{number}", *drawn)
        trials.append(Trial(number, drawn, run))
    return trials


def cores_of(slot: int, jobs: int) -> str:
    """The cores of one of several runs at a time, as taskset takes them."""
    own = sorted(os.sched_getaffinity(0))
    first = slot * len(own) // jobs
    return ",".join(map(str, own[first : max(first + 1, (slot + 1) * len(own) // jobs)]))


def is_finished(run: Run) -> bool:
    """Whether a run has come to its end.

    Raises:
        RunError: with other settings than these.
    """
    folder = RunFolder(run.folder)
    if not folder.is_finished():
        return False
    from sharpdro.jobs.shared import check_same

    check_same(folder, recorded(parse([*run.flags, "--resume"], NAME)))
    return True


def run_all(runs: list[Run], jobs: int) -> None:
    """Run what is not finished; one that fails does not stop the others.

    Raises:
        KeyboardInterrupt, Terminated: this program, or one of the runs, was stopped; then all were.
    """
    waiting, running = [run for run in runs if not is_finished(run)], {}
    try:
        while waiting or running:
            for slot in range(jobs):
                if waiting and slot not in running:
                    running[slot] = start(waiting.pop(0), slot, jobs)
            check_interrupts()
            time.sleep(0.1)
            for slot, (run, process) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    _check_end(run, process.returncode)
    except (KeyboardInterrupt, Terminated):
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()
        raise


def start(run: Run, slot: int, jobs: int):
    """Start a run, out of reach of Ctrl-C, which `run_all` passes on."""
    print(printable(f"== {shlex.join(run.flags)}"), flush=True)
    command = run.command
    if jobs > 1:
        command = ["taskset", "-c", cores_of(slot, jobs), *command, "--no-show_progress"]
    return run, subprocess.Popen(command, start_new_session=True)


def _check_end(run: Run, code: int) -> None:
    if code in _STOPPED:
        raise KeyboardInterrupt
    if code:
        print(printable(f"failed: {shlex.join(run.flags)} (exit code {code})"), file=sys.stderr)


def accuracies(run: Run, split: str) -> dict[str, float] | None:
    """The worst severity's and the mean accuracy at the best epoch; None: it is not finished."""
    if not RunFolder(run.folder).is_finished():
        return None

    def convert(content):
        rows = content["best"][split]
        return {name: float(rows[name]["accuracy"]) for name in ("worst", "mean")}

    return read_json(run.folder / SUMMARY, convert, "restore it, or delete the run")


def rank(trials: list[Trial], judge: str) -> list[tuple[Trial, dict]]:
    """The finished trials with their validation accuracies, the best first."""
    judged = [(trial, accuracies(trial.run, "validation")) for trial in trials]
    found = [pair for pair in judged if pair[1] is not None]
    return sorted(found, key=lambda pair: (-pair[1][judge], pair[0].number))


def report(ranked, count: int) -> None:
    """Print the trials and the command of the best."""
    lines = [["trial", "worst", "mean", "settings"]]
    for trial, found in ranked:
        numbers = [f"{100 * found[name]:.1f}" for name in ("worst", "mean")]
        lines.append([str(trial.number), *numbers, " ".join(trial.drawn)])
    print(f"validation accuracy in percent, {len(ranked)} of {count} trials finished")
    print(printable("\n".join(aligned([[*line[:1], line[3], *line[1:3]] for line in lines], 2))))
    print(printable(f"the best: {command_line(ranked[0][0].run)}"))


def confirm(args, flags, best: Trial) -> bool:
    """Run the best settings with seeds that had no part in the choice, and report their test.

    Returns:
        Whether all of these runs have finished.
    """
    settings = parse(flags, NAME)
    desc = f"{settings.desc}-confirm{best.number}"
    seeds = range(settings.seed + 1, settings.seed + 1 + args.confirm)
    runs = [make_run(flags, desc, *best.drawn, f"--seed={seed}") for seed in seeds]
    run_all(runs, args.jobs)
    found = [result for run in runs if (result := accuracies(run, "test")) is not None]
    if not found:
        raise RunError("no run of --confirm has finished: see above")
    print(f"trial {best.number}: test accuracy in percent, {len(found)} of {len(runs)} seeds")
    for name in ("worst", "mean"):
        values = [100 * result[name] for result in found]
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        print(f"{name} {np.mean(values):.1f}{spread}")
    return len(found) == len(runs)


def search(args, flags) -> int:
    """Do what the flags say; returns the exit code."""
    trials = make_trials(args, flags)
    if args.print:
        for trial in trials:
            print(command_line(trial.run))
        return 0
    run_all([trial.run for trial in trials], args.jobs)
    ranked = rank(trials, args.judge)
    if not ranked:
        raise RunError("no trial has finished: see above")
    report(ranked, len(trials))
    is_complete = len(ranked) == len(trials)
    if args.confirm:
        is_complete &= confirm(args, flags, ranked[0][0])
    return 0 if is_complete else 1


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args, flags = create_search_parser().parse_known_args(argv)
        return search(args, flags)

    return run_program(NAME, work, CONTINUE)


if __name__ == "__main__":
    sys.exit(main())
