#!/usr/bin/env python3
"""Make corrupted versions of a whole dataset, or verify those that are there."""

import os
import re
import sys
import time
from pathlib import Path

from tqdm import tqdm

from corruptions import CORRUPTIONS, EXTRA, MAX_SEVERITY, STANDARD, VARIANTS
from corruptions.command_line import (
    DATASETS,
    FROST_DIR_HELP,
    SETS,
    Parser,
    check_frost_dir,
    count,
    expand,
    read_clean,
)
from corruptions.errors import DataError
from corruptions.interrupts import interruptible
from corruptions.parameters import variant_of_size
from corruptions.program import run_program
from corruptions.storage import manifest
from corruptions.storage.arrays import Source, look_up, open_array
from corruptions.storage.making import make_arrays
from corruptions.storage.manifest import recipes_of
from corruptions.storage.own_images import (
    NAMES,
    check_names,
    read_array,
    read_labels,
    read_pictures,
    write_names,
)
from corruptions.storage.png import png_names, write_pngs

PROG = "python -m corruptions.generate"
PUBLISHED_JPEG_QUALITY = 85
MIN_SIDE, MAX_SIDE = 8, 4096  # of pictures, in pixels


def create_parser():
    parser = Parser(
        prog=PROG,
        description=__doc__,
        epilog="Writes FOLDER/{split}/{severity}/{corruption}.npy, uint8 (N, H, W, 3) in the order "
        "of the clean images, with labels.npy beside them and FOLDER/manifest.json. Arrays that "
        "are there are kept; it can be stopped at any moment: the same command goes on. For a "
        "folder of pictures FOLDER/{split}/names.txt names them in that order.",
        allow_abbrev=False,
    )
    _add_images(parser.add_argument_group("what to corrupt").add_argument)
    _add_corruptions(parser.add_argument_group("corruptions").add_argument)
    _add_how(parser.add_argument_group("how").add_argument)
    return parser


def _add_images(add):
    add("-d", "--dataset", choices=DATASETS, help="a dataset, both splits of it")
    add("--data_dir", type=Path, default=Path("data"), help="where datasets lie (default: data)")
    text = (
        "instead of -d: an array of your own, uint8 (N, H, W, 3), or a folder of pictures of any "
        "kind, which are sorted by name"
    )
    add("--images", type=Path, metavar="PATH", help=text)
    text = (
        "for a folder of --images: scale the pictures to squares of this side (default: as they "
        "are, all of one size)"
    )
    add("--side", type=count, metavar="PIXELS", help=text)
    text = "its labels, whole numbers (N,), copied beside the arrays"
    add("--labels", type=Path, metavar="FILE.npy", help=text)
    text = "folder for the arrays (default for -d: the one that main.py reads, in --data_dir)"
    add("-o", "--output", type=Path, metavar="FOLDER", help=text)
    text = (
        "train and test of a dataset (default: both); for --images one name of your choice "
        "(default: test); other splits get other randomness"
    )
    add("--splits", nargs="+", metavar="SPLIT", help=text)


def _add_corruptions(add):
    text = (
        f"any of {', '.join(CORRUPTIONS)}; standard: the first {len(STANDARD)}, extra: the other "
        f"{len(EXTRA)}, all: the {len(CORRUPTIONS)}; required, except with --verify"
    )
    add("-c", "--corruptions", nargs="+", metavar="NAME", choices=[*CORRUPTIONS, *SETS], help=text)
    severities = range(1, MAX_SEVERITY + 1)
    text = "severities (default: 1 to 5)"
    add("-s", "--severities", nargs="+", type=int, choices=severities, metavar="S", help=text)
    text = "strengths for 32×32 or for 64×64 images (default: by the size of the images)"
    add("--variant", choices=VARIANTS, help=text)
    text = "fixes the randomness; main.py makes what is missing with seed 0 (default: 0)"
    add("--seed", type=count, default=0, help=text)
    text = (
        f"with the strengths imagenet64: leave out the JPEG of quality {PUBLISHED_JPEG_QUALITY} "
        f"that images go through otherwise, as the published ones did"
    )
    add("--raw", action="store_true", help=text)
    add("--frost_dir", type=Path, metavar="DIR", help=FROST_DIR_HELP)


def _add_how(add):
    cores = len(os.sched_getaffinity(0))
    text = (
        "for a folder of --images: besides the arrays write the pictures, to "
        "FOLDER/{corruption}/{severity}/NAME.png"
    )
    add("--png", action="store_true", help=text)
    text = f"processes; 0 or 1: only this one (default: all cores, {cores})"
    add("--num_workers", type=count, default=cores, metavar="N", help=text)
    text = (
        "instead of making anything compare all that is in FOLDER with its manifest, and name what "
        "is wrong (then exit code 1)"
    )
    add("--verify", action="store_true", help=text)


def parse(parser, argv):
    """The arguments, checked."""
    args = parser.parse_args(argv)
    for name in ("data_dir", "output"):
        path = getattr(args, name)
        if path is not None and path.exists() and not path.is_dir():
            parser.error(f"--{name} {path} is not a folder: name one")
    if args.verify:
        check_verification(parser, args)
        return args
    if (args.dataset is None) == (args.images is None):
        parser.error("give either -d DATASET or --images FILE.npy or FOLDER")
    if args.images is not None and args.output is None:
        parser.error("--images needs --output FOLDER")
    if args.labels is not None and args.images is None:
        parser.error("--labels goes with --images alone")
    check_pictures(parser, args)
    if args.corruptions is None:
        parser.error("-c: name corruptions, or one of " + ", ".join(SETS))
    if args.dataset and set(args.splits or ()) - {"train", "test"}:
        parser.error("--splits: -d has train and test alone")
    if args.images is not None and len(args.splits or ()) > 1:
        parser.error("--splits: --images is one split, so it takes one name")
    for split in args.splits or ():
        if not re.fullmatch(r"\w[\w.-]*", split, re.ASCII):
            parser.error(f"--splits: {split!r} must be a plain name of letters, digits and _ - .")
    check_frost_dir(parser, args.frost_dir, args.corruptions)
    return args


def check_pictures(parser, args):
    """Refuse what goes with a folder of pictures alone, and an impossible size."""
    given = [name for name in ("side", "png") if getattr(args, name)]
    if given and args.images is not None and not args.images.exists():
        parser.error(f"--images {args.images}: there is no such folder")
    if given and (args.images is None or not args.images.is_dir()):
        parser.error(f"--{given[0]} goes with a folder of --images alone: leave it out")
    if args.side is not None and not MIN_SIDE <= args.side <= MAX_SIDE:
        parser.error(f"--side {args.side}: give a whole number, {MIN_SIDE} to {MAX_SIDE}")


def check_verification(parser, args):
    """Refuse what --verify would not look at."""
    if (args.dataset is None) == (args.output is None):
        parser.error("--verify needs either -d DATASET or --output FOLDER")
    defaults = vars(parser.parse_args([]))
    for name in sorted(vars(args).keys() - {"verify", "dataset", "data_dir", "output"}):
        if vars(args)[name] != defaults[name]:
            parser.error(f"--verify looks at the whole folder: leave out --{name}")


def folder_of(args):
    """Where the arrays lie."""
    return args.output or args.data_dir / DATASETS[args.dataset].corrupted_folder


def read_sources(args):
    """The clean images by split, and the names of their files where they are pictures."""
    if args.dataset:
        splits = tuple(args.splits or ("train", "test"))
        read = read_clean(DATASETS[args.dataset], args.data_dir, args.num_workers, splits)
        return {name: Source(*read[name]) for name in splits}, None
    split = (args.splits or ["test"])[0]
    if not args.images.is_dir():
        return {split: read_array(args.images, args.labels)}, None
    pictures = read_pictures(args.images, args.side, args.num_workers, print)
    labels = read_labels(args.labels, len(pictures.names))
    return {split: Source(pictures.images, labels)}, pictures.names


def create_recipes(args, sources):
    """All arrays that are asked for."""
    spec = DATASETS[args.dataset] if args.dataset else None
    height, width = next(iter(sources.values())).images.shape[1:3]
    variant = args.variant or (spec.variant if spec else variant_of_size(height, width))
    if variant is None:
        raise DataError(
            f"images of {height} × {width} are neither 32 × 32 nor 64 × 64: choose the strengths "
            f"with --variant {' or '.join(VARIANTS)}"
        )
    quality = PUBLISHED_JPEG_QUALITY if variant == "imagenet64" else None
    return recipes_of(
        expand(args.corruptions),
        sources,
        sorted(set(args.severities or range(1, MAX_SEVERITY + 1))),
        variant,
        args.seed,
        jpeg_quality=None if args.raw else quality,
        frost_dir=args.frost_dir,
    )


def generate(args):
    """Make what is missing; returns the exit code."""
    folder = folder_of(args)
    sources, names = read_sources(args)
    recipes = create_recipes(args, sources)
    if names is not None:
        check_names(folder / recipes[0].split / NAMES, names)
        if args.png:
            png_names(names)
    stock = look_up(folder, sources, recipes)
    report_stock(args, folder, sources, recipes, stock)
    if stock.missing:
        start = time.monotonic()
        make_arrays(folder, sources, stock.missing, args.num_workers, show_progress=True)
        seconds = time.monotonic() - start
        total = sum(len(sources[recipe.split].images) for recipe in stock.missing)
        print(f"{total:,} images in {seconds:.1f} s, {total / seconds:,.0f} images/s")
    if names is not None:
        write_names(folder / recipes[0].split / NAMES, names)
        if args.png:
            arrays = {r: open_array(folder, r, sources[r.split]) for r in recipes}
            written, there = write_pngs(folder, arrays, png_names(names), args.num_workers)
            print(f"{written:,} PNG files written, {there:,} there already")
    return 0


def report_stock(args, folder, sources, recipes, stock):
    """Say what is there and what is to be made."""
    num_bytes = sum(sources[recipe.split].images.nbytes for recipe in stock.missing)
    quality, foreign = recipes[0].jpeg_quality, stock.num_foreign
    print(
        f"{folder}: {recipes[0].variant} strengths, seed {args.seed}, "
        + (f"through JPEG of quality {quality}\n" if quality else "no JPEG\n")
        + f"{len(recipes)} arrays asked for, {len(stock.arrays)} there"
        + (f" ({foreign} of them not made by this program)" if foreign else "")
        + f", {len(stock.missing)} to make ({num_bytes / 1e6:,.0f} MB)",
        flush=True,
    )


def verify(args):
    """Compare the folder with its manifest; returns the exit code."""
    folder = folder_of(args)
    total = sum(path.stat().st_size for path in folder.rglob("*.npy") if path.is_file())
    with tqdm(desc="verifying", total=total, unit="B", unit_scale=True, disable=None) as bar:
        problems = list(manifest.verify(folder, bar.update))
    for problem in problems:
        print(problem)
    if problems:
        print(
            f"{folder}: {len(problems)} problem{'s' * (len(problems) > 1)}, named above; delete "
            f"the files that differ, then make what is missing with the command that made it before"
        )
        return 1
    entries = manifest.read(folder).values()
    names = sorted({str(entry.get("corruption", "?")) for entry in entries})
    print(f"{folder}: all {len(entries)} arrays are as the manifest says: {', '.join(names)}")
    return 0


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args = parse(create_parser(), argv)
        with interruptible():
            return verify(args) if args.verify else generate(args)

    return run_program(PROG, work, "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
