#!/usr/bin/env python3
"""Measure how flat the loss of trained networks is, per severity, on test images.

Sharpness, gradient norm, top Hessian eigenvalue, and the loss on a plane of two random directions.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import argparse
import os
from dataclasses import dataclass
from functools import partial

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.command_line import FROST_DIR_HELP, Parser, printable
from corruptions.interrupts import interruptible
from dataset.prepare_dataset import prepare_test_sets
from sharpdro import drawing
from sharpdro.command_line.flags import HelpFormatter
from sharpdro.command_line.settings import about_frost, check_same_test_list, lists_of_checkpoint
from sharpdro.device import DEVICE_TARGETS, compute_in_float32, select_device
from sharpdro.errors import RunError
from sharpdro.flag_types import COUNT, POSITIVE, number
from sharpdro.flatness import pictures
from sharpdro.flatness.geometry import offsets
from sharpdro.flatness.record import COLUMNS, Record, locked
from sharpdro.flatness.tables import (
    curves_of,
    doubtful_of,
    flatness_tables,
    short_names,
    surfaces_of,
)
from sharpdro.program import run_program
from sharpdro.run_folder.folder import RunFolder

CONTINUE = "the same command goes on with what is not measured yet"
CURVES, SURFACE = "flatness.png", "surface.png"
# What all measurements in a folder must have in common.
SETTINGS = ("num_images", "rho", "iterations", "tolerance", "grid", "span", "seed")


def odd(text):
    """An argparse type: 3, 5, 7, …"""
    value = number(int, 3, 999)(text)
    if value % 2 == 0:
        message = f"{text} is not odd, which puts the network itself in the middle"
        raise argparse.ArgumentTypeError(message)
    return value


def create_parser():
    parser = Parser(
        prog="flatness.py",
        description=__doc__,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
        epilog="The network is in evaluation mode: batch norm uses its running statistics, which "
        "stay as they are while the parameters move. With those of the batch the loss would not "
        "be a function of the parameters, but also of how images are batched. So a network is "
        "measured as it is used, and the numbers differ from those that training sees.",
    )
    add_image_flags(parser.add_argument_group("images").add_argument)
    add_measurement_flags(parser.add_argument_group("measurements").add_argument)
    return parser


def add_image_flags(add):
    """What is measured, on what, and where to."""
    text = "a run's best.ckpt, say"
    add("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help=text)
    text = "folder for tables and pictures; what is measured there is not measured again"
    add("-o", "--output", type=Path, default=Path("flatness"), metavar="DIR", help=text)
    add("--data_dir", type=Path, default=Path("data"), metavar="DIR", help="where datasets lie")
    text = f"one of {', '.join(CORRUPTIONS)} (default: that of the checkpoint's run)"
    add("-c", "--corruption", choices=CORRUPTIONS, metavar="NAME", help=text)
    text = f"for -c frost: {FROST_DIR_HELP}"
    add("--frost_dir", type=Path, metavar="DIR", help=text)
    text = "highest severity (default: that of the checkpoint's run)"
    add("--num_severity", type=number(int, 1, MAX_SEVERITY), metavar="S", help=text)
    text = "test images, the same at every severity and for all networks; 0: all"
    add("--num_images", type=COUNT, default=1000, metavar="N", help=text)
    text = "images per step, which changes time, memory and rounding"
    add("--batch_size", type=POSITIVE, default=125, metavar="B", help=text)
    text = "where to compute; auto takes Ascend or GPU where there is one"
    add("--device_target", choices=DEVICE_TARGETS, default="auto", help=text)


def add_measurement_flags(add):
    """What is measured, and how exactly."""
    above_zero = number(float, 0, above=True)
    add("--rho", type=above_zero, default=0.05, metavar="R", help="radius of the sharpness")
    switch = {"action": argparse.BooleanOptionalAction, "default": True}
    text = "find the top Hessian eigenvalue; an iteration takes two gradients"
    add("--eigenvalue", help=text, **switch)
    add("--iterations", type=POSITIVE, default=50, metavar="N", help="of the power method, at most")
    text = "relative change of the eigenvalue that ends the power method"
    add("--tolerance", type=above_zero, default=1e-3, metavar="T", help=text)
    add("--surface", help="measure the loss surface, GRID x GRID losses per severity", **switch)
    text = "severities that get one (default: all)"
    severity = number(int, 0, MAX_SEVERITY)
    add("--surface_severities", type=severity, nargs="+", metavar="S", help=text)
    add("--grid", type=odd, default=11, help="points of the surface along each direction, odd")
    text = "reach of the surface, in lengths of the network's filters"
    add("--span", type=above_zero, default=1.0, help=text)
    text = "fixes the random directions and the power method's start"
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help=text)


@dataclass(frozen=True)
class Subject:
    """A network and what it is measured on; `facts` identify it."""

    name: str
    trained: object
    corruption: str
    severities: range
    lists: Path | None
    facts: dict


def load(path, args):
    """A checkpoint, with the settings of its run unless others are given."""
    from sharpdro.networks.build import load_trained

    trained, folder = load_trained(path), path.resolve().parent
    corruption = args.corruption or trained.settings.get("corruption")
    num_severity = args.num_severity or trained.settings.get("num_severity")
    if not isinstance(corruption, str) or num_severity is None:
        raise RunError(f"{path} does not name its -c and --num_severity: give them")
    if corruption not in CORRUPTIONS:
        raise RunError(
            f"{path} was trained with the corruption {corruption}, which is not registered here: "
            f"name another one to measure on with -c"
        )
    for severity in args.surface_severities or []:
        if severity > num_severity:
            raise RunError(
                f"--surface_severities {severity}: {path} is measured up to severity "
                f"{num_severity} only"
            )
    facts = {"epoch": trained.epoch, "dataset": trained.spec.name, "corruption": corruption}
    return Subject(
        name=f"{folder.name}/{path.stem}",
        trained=trained,
        corruption=corruption,
        severities=range(num_severity + 1),
        lists=lists_of_checkpoint(trained.spec.name, path),
        facts={**facts, "crc32": int(trained.crc32, 16)},
    )


def load_all(args):
    """All checkpoints, told apart by name."""
    subjects, of_dataset = {}, {}
    for path in args.checkpoints:
        subject = load(path, args)
        of_dataset.setdefault(subject.trained.spec.name, []).append(path)
        if subject.name in subjects:
            raise RunError(f"two checkpoints are called {subject.name}: rename a folder or file")
        subjects[subject.name] = subject
    if args.frost_dir and "frost" not in {subject.corruption for subject in subjects.values()}:
        raise RunError("--frost_dir goes with frost alone: leave it out")
    for dataset, paths in of_dataset.items():
        check_same_test_list(dataset, paths, "measure them apart")
    return list(subjects.values())


def read_images(args, subject):
    """The test images, at every severity."""
    spec = subject.trained.spec
    warning = about_frost(subject.trained.settings, [subject.corruption], args.frost_dir)
    if warning is not None:
        print(warning, flush=True)
    with interruptible():
        return prepare_test_sets(
            spec,
            args.data_dir,
            [subject.corruption],
            subject.severities[-1],
            num_test=args.num_images,
            filelist_dir=subject.lists,
            frost_dir=args.frost_dir if subject.corruption == "frost" else None,
            fingerprint=subject.trained.settings.get("fingerprint"),
            num_workers=len(os.sched_getaffinity(0)),
            show_progress=True,
            report=partial(print, flush=True),
        )[subject.corruption]


def open_record(args, subjects):
    """What the folder holds, which must have been measured in the same way."""
    record = Record(args.output)
    settings = {name: getattr(args, name) for name in SETTINGS}
    facts = {subject.name: subject.facts for subject in subjects}
    record.check_same(settings, facts)
    return record, settings, facts


def plan_for(args, subject):
    """What to measure of one network."""
    from sharpdro.flatness.measurement import Plan

    chosen = subject.severities if args.surface_severities is None else args.surface_severities
    return Plan(
        rho=args.rho,
        has_eigenvalue=args.eigenvalue,
        iterations=args.iterations,
        tolerance=args.tolerance,
        surface_severities=frozenset(chosen if args.surface else ()),
        grid=args.grid,
        span=args.span,
        seed=args.seed,
    )


def measure(args, subject, title, images, record):
    """Measure one network at every severity."""
    from sharpdro.flatness.measurement import Measurement
    from sharpdro.flatness.network_loss import NetworkLoss

    trained = subject.trained
    function = NetworkLoss(trained.network, trained.normalize, images, batch_size=args.batch_size)
    measurement = Measurement(subject.name, title, function, record, plan_for(args, subject))
    for severity in subject.severities:
        measurement.at(severity)


def report(args, subjects, titles, record):
    """The tables on the terminal, and the pictures."""
    severities = {subject.name: subject.severities for subject in subjects}
    print(printable(flatness_tables(record, titles, severities)))
    print(f"tables in {args.output}: {', '.join(COLUMNS)}")
    if not drawing.can_draw():
        print(drawing.NO_PICTURES)
        return
    curves = curves_of(record, titles, severities)
    doubtful = doubtful_of(record, titles, severities)
    pictures.draw_curves(args.output / CURVES, curves, args.rho, doubtful)
    drawn, surfaces = [CURVES], surfaces_of(record, titles, severities, args.grid)
    if surfaces:
        along = offsets(args.span, args.grid)
        pictures.draw_surfaces(args.output / SURFACE, surfaces, along)
        drawn.append(SURFACE)
    print(f"pictures there: {', '.join(drawn)}")


def measure_all(args):
    """Measure what is missing, then show all."""
    compute_in_float32(select_device(args.device_target))
    subjects = load_all(args)
    RunFolder(args.output).check_writable()
    open_record(args, subjects)  # refused at once, before images are made
    images = [read_images(args, subject) for subject in subjects]
    for subject, chosen in zip(subjects, images):
        subject.facts["images_crc32"] = chosen.checksum()
    titles = short_names([subject.name for subject in subjects])
    with locked(args.output):
        record, settings, facts = open_record(args, subjects)
        record.start(settings, facts)
        for subject, chosen in zip(subjects, images):
            measure(args, subject, titles[subject.name], chosen, record)
        report(args, subjects, titles, record)


def main(argv=None):
    """Run the program; returns its exit code."""
    return run_program(
        "flatness.py", lambda: measure_all(create_parser().parse_args(argv)), CONTINUE
    )


if __name__ == "__main__":
    sys.exit(main())
