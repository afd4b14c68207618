#!/usr/bin/env python3
"""Draw one image under many corruptions: a PNG, one row per corruption, one column per severity."""

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from corruptions import CORRUPTIONS, MAX_SEVERITY, VARIANTS, corrupt
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
from corruptions.parameters import SIDES
from corruptions.program import run_program
from corruptions.storage.photographs import decode

PROG = "python -m corruptions.contact_sheet"
_GAP, _FONT_SIZE = 4, 16
_INK, _PAPER = (0, 0, 0), (255, 255, 255)


def create_parser():
    parser = Parser(prog=PROG, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = "any image file; it is stretched to 32×32 or 64×64, see --variant"
    add("image", nargs="?", type=Path, metavar="IMAGE", help=text)
    add("-d", "--dataset", choices=DATASETS, help="instead: an image of this dataset's test set")
    add("--data_dir", type=Path, default=Path("data"), help="where datasets lie (default: data)")
    add("--index", type=count, default=0, metavar="I", help="which of its images (default: 0)")
    text = "corruptions, or standard, extra, all (default: all)"
    choices = [*CORRUPTIONS, *SETS]
    add("-c", "--corruptions", nargs="+", metavar="NAME", choices=choices, help=text)
    text = "strengths for 32×32 or 64×64 images (default: cifar, or that of the dataset)"
    add("--variant", choices=VARIANTS, help=text)
    add("--seed", type=count, default=0, help="fixes the randomness (default: 0)")
    add("--frost_dir", type=Path, metavar="DIR", help=FROST_DIR_HELP)
    text = "side of what each pixel of the image becomes, 1 to 32 (default: 4)"
    add("--magnify", type=count, default=4, metavar="N", help=text)
    text = "where to write, a name in .png (default: contact_sheet.png)"
    parser.add_file_output(default=Path("contact_sheet.png"), metavar="PNG", help=text)
    return parser


def read_image(args):
    """The image, uint8 (H, W, 3), and the variant."""
    if args.dataset:
        spec = DATASETS[args.dataset]
        cores = len(os.sched_getaffinity(0))
        images, _ = read_clean(spec, args.data_dir, cores, ("test",))["test"]
        if args.index >= len(images):
            raise DataError(f"--index {args.index}: the test set has {len(images)} images")
        return images[args.index], args.variant or spec.variant
    variant = args.variant or "cifar"
    try:
        return decode(args.image, SIDES[variant]), variant
    except DataError as error:
        raise DataError(f"{args.image} cannot be read as an image: {error}") from error


def draw_sheet(
    image: np.ndarray,
    names: tuple[str, ...],
    magnify: int = 4,
    **settings,
) -> Image.Image:
    """The image, uint8 (H, W, 3), under corruptions × severities 0 … 5, with their names.

    settings: further keyword arguments of `corrupt`.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    height, width = (side * magnify for side in image.shape[:2])
    margin = max(int(font.getlength(name)) for name in names) + 2 * _GAP
    top = _FONT_SIZE + 2 * _GAP
    columns = MAX_SEVERITY + 1
    size = margin + columns * (width + _GAP), top + len(names) * (height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for severity in range(columns):
        middle = margin + severity * (width + _GAP) + width // 2
        draw.text((middle, top // 2), str(severity or "clean"), _INK, font, anchor="mm")
    for row, name in enumerate(names):
        y = top + row * (height + _GAP)
        draw.text((_GAP, y + height // 2), name, _INK, font, anchor="lm")
        for severity in range(columns):
            corrupted = corrupt(image[None], name, severity, **settings)
            tile = Image.fromarray(corrupted[0]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(tile, (margin + severity * (width + _GAP), y))
    return sheet


def parse(argv):
    """The arguments, checked, and the names of the corruptions."""
    parser = create_parser()
    args = parser.parse_args(argv)
    if (args.image is None) == (args.dataset is None):
        parser.error("give either an image file or -d DATASET")
    if not 1 <= args.magnify <= 32:
        parser.error("--magnify must be 1 to 32")
    if args.image is not None and args.output.exists() and args.output.samefile(args.image):
        parser.error(f"--output {args.output} is the image itself: choose another name")
    if args.output.suffix.lower() != ".png":
        parser.error(f"--output {args.output}: the name must end in .png")
    asked = args.corruptions or ["all"]
    check_frost_dir(parser, args.frost_dir, asked)
    return args, expand(asked)


def write_sheet(args, names):
    """Read, draw, write."""
    # Of a dataset, what lies in the arrays of its test set, before the JPEG that some go through.
    place = {"split": "test", "first_index": args.index} if args.dataset else {}
    with interruptible():
        image, variant = read_image(args)
        settings = {"variant": variant, "seed": args.seed, "frost_dir": args.frost_dir, **place}
        try:
            sheet = draw_sheet(image, names, args.magnify, **settings)
        except ValueError as error:  # frost too small
            raise DataError(str(error)) from error
    sheet.save(args.output, "PNG")
    print(f"{args.output}: {len(names)} corruptions of {variant} strength, severities 0 to 5")


def main(argv=None):
    """Run the program; returns its exit code."""
    return run_program(PROG, lambda: write_sheet(*parse(argv)), "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
