#!/usr/bin/env python3
"""Export a checkpoint as one MINDIR or ONNX file that takes pixels and gives logits.

The normalisation is inside. The file is run on random images and compared with the network before
it appears under its name.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import os

from corruptions.command_line import Parser, printable
from sharpdro.flag_types import number
from sharpdro.program import run_program

NAME = "export.py"
FORMATS = ("mindir", "onnx")
NOT_CHECKED = (
    "not checked: onnxruntime is not installed (pip install -r requirements-export.txt, then the "
    "same command with --overwrite)"
)


def create_parser():
    parser = Parser(prog=NAME, description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a run's best.ckpt, say")
    text = "the file to write (default: the checkpoint's name with .mindir or .onnx, beside it)"
    parser.add_file_output(metavar="FILE", help=text)
    text = "mindir for MindSpore and MindSpore Lite, onnx for others (default: by FILE, or mindir)"
    add("--format", choices=FORMATS, help=text)
    text = "images at a time (default: any number for mindir; 1 for onnx, which must name one)"
    add("--batch_size", type=number(int, 1, 4096), metavar="N", help=text)
    add("--overwrite", action="store_true", help="replace FILE if it is there")
    return parser


def settle_output(parser, args):
    """Fill in format, file and number of images; refuse what cannot be written."""
    suffix = args.output.suffix.removeprefix(".") if args.output else ""
    if args.output and suffix not in FORMATS:
        parser.error(f"--output {args.output} must end in .{' or .'.join(FORMATS)}")
    args.format = args.format or suffix or FORMATS[0]
    args.output = args.output or args.checkpoint.with_suffix(f".{args.format}")
    if suffix and suffix != args.format:
        parser.error(
            f"--output {args.output} does not go with --format {args.format}: leave one out"
        )
    if args.format == "onnx":
        args.batch_size = args.batch_size or 1
    folder = args.output.parent
    if not folder.is_dir():
        parser.error(f"--output {args.output}: there is no folder {folder}: make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        parser.error(f"--output {args.output}: no permission to write there: name another file")
    if args.output.is_dir():
        parser.error(f"--output {args.output} is a folder: name a file")
    if args.output.exists() and not args.overwrite:
        parser.error(
            f"{args.output} exists already: add --overwrite, or name another with --output"
        )


def describe_classes(spec):
    """What the logits stand for, in their order."""
    if spec.class_names:
        separator = ", " if any(" " in name for name in spec.class_names) else " "
        return f"classes in this order: {separator.join(spec.class_names)}"
    return f"classes in this order: {spec.name}'s labels 0 … {spec.num_classes - 1}"


def describe(args, trained, check):
    """What was exported, and how its logits compare."""
    spec, size = trained.spec, args.batch_size or "N"
    name = check.output_name if check else None
    output = f"output {name}" if name else "output, logits"
    lines = [
        f"{args.output}: {trained.settings['model']} of {args.checkpoint} "
        f"(epoch {trained.epoch}), {args.output.stat().st_size / 1e6:,.1f} MB",
        f"input images: uint8 ({size}, {spec.side}, {spec.side}, 3): images, rows, columns, red "
        f"green blue, 0 … 255, not normalised",
        f"{output}: float32 ({size}, {spec.num_classes})",
        describe_classes(spec),
    ]
    if check is None:
        lines.append(NOT_CHECKED)
    else:
        lines.append(
            f"checked: run by {check.program} on {check.num_images} random images, its logits "
            f"differ from the network's by at most {check.difference:.2g}; the largest is "
            f"{check.largest:.3g}"
        )
    return "\n".join(lines)


def export(args):
    """Do what the flags say."""
    from sharpdro.device import select_device
    from sharpdro.networks.build import load_trained
    from sharpdro.networks.export import export_network

    select_device("CPU")
    trained = load_trained(args.checkpoint)
    check = export_network(trained, args.output, args.format, args.batch_size)
    print(printable(describe(args, trained, check)))


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        parser = create_parser()
        args = parser.parse_args(argv)
        settle_output(parser, args)
        export(args)

    return run_program(NAME, work, "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
