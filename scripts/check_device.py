#!/usr/bin/env python3
"""Check that training computes on this device what it should; prints a table to send back.

Exit code 0: no check has failed; 1: some have.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import argparse
import tempfile
import textwrap
from collections.abc import Iterator

from corruptions.command_line import Parser, one_line
from device_checks import comparisons, together
from device_checks.results import FAIL, PASS, SKIPPED, Check, Options, cells
from sharpdro.device import DEVICE_TARGETS
from sharpdro.doctor import probe
from sharpdro.doctor.examination import look_at_packages, look_at_processor, look_at_python
from sharpdro.doctor.findings import Findings
from sharpdro.errors import RunError
from sharpdro.methods.specs import METHODS
from sharpdro.program import run_program

ORACLE = Path(__file__).resolve().parents[1] / "tests" / "oracle.py"
HEAD = ("check", "result", "difference", "tolerance")
WIDTHS = (36, 7, 10, 9, 0)
# Methods that have state of every kind, for what need not be tried with all.
REPRESENTATIVES = ("sharpdro", "irm")
# Each part: what it checks, and why its tolerance is what it is.
PARTS = {
    "formulas": (
        "every method's step on a small network against NumPy",
        "three steps in float32 for float64; a CPU differs by 5e-5, other devices sum otherwise",
    ),
    "cpu": (
        "every method's step of WideResNet-10-1 against a CPU",
        "float32's rounding, which three steps amplify where it changes an activation's sign; a "
        "CPU's AVX2 and SSE4.1 kernels, which a check of the CPU compares, differ by up to 5e-2",
    ),
    "amp": (
        "every --amp_level with its loss scale, and steps that overflow",
        "O0 as formulas; else products of 10 bits, with which a CPU differs by 6e-3; overflow: "
        "such a step leaves all as it was",
    ),
    "resume": (
        "the same run again, and one resumed from its checkpoint",
        "equal bits, as mindspore.set_deterministic(True) promises them",
    ),
    "processes": (
        "two processes that share batches against one",
        "float32 sums in another order; CPUs differ by 1e-7",
    ),
    "times": ("steps and input", ""),
}


def create_parser() -> Parser:
    """The flags."""
    parts = "\n".join(f"  {name:10} {about}" for name, (about, _) in PARTS.items())
    parser = Parser(
        prog="check_device.py",
        description=f"{__doc__}\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    text = f"what to check: {', '.join(PARTS)} (default: all)"
    add("parts", nargs="*", metavar="PART", help=text)
    text = "what to check; auto takes Ascend or GPU where there is one (default: %(default)s)"
    add("--device_target", choices=DEVICE_TARGETS, default="auto", help=text)
    text = f"methods to check, of {', '.join(METHODS)} (default: all)"
    add("--method", nargs="+", choices=METHODS, default=[*METHODS], metavar="NAME", help=text)
    text = "the formulas in NumPy (default: tests/oracle.py)"
    add("--oracle", type=Path, default=ORACLE, metavar="FILE", help=text)
    return parser


def parse(argv) -> argparse.Namespace:
    """The command line as settings; ends the program on bad usage."""
    parser = create_parser()
    args = parser.parse_args(argv)
    for name in args.parts:
        if name not in PARTS:
            parser.error(f"no part {name!r}: choose from {', '.join(PARTS)}")
    if not args.oracle.is_file():
        parser.error(f"--oracle {args.oracle} is not a file: name tests/oracle.py of a clone")
    return args


def checks_of(part: str, options: Options, num_devices: int) -> Iterator[Check]:
    """The rows of a part, each as soon as it is there."""
    chosen = tuple(name for name in REPRESENTATIVES if name in options.methods)
    chosen = chosen or options.methods[:1]
    if part == "formulas":
        yield from comparisons.from_worker("device_checks.formulas:check", part, options)
    elif part == "amp":
        yield from comparisons.from_worker("device_checks.formulas:check_levels", part, options)
    elif part == "cpu":
        yield from comparisons.check_cpu(options)
    elif part == "resume":
        yield from comparisons.check_resumed(options, chosen)
    elif part == "processes" and options.device != "CPU" and num_devices < together.PROCESSES:
        yield Check(part, SKIPPED, note=f"there is one {options.device}")
    elif part == "processes":
        yield from together.check(options, chosen)
    else:
        yield from comparisons.from_worker("device_checks.times:check", part, options)
        if options.device != "CPU":
            function = "device_checks.times:check_deterministic"
            yield from comparisons.from_worker(function, part, options)


def print_line(texts) -> None:
    """One line of the table."""
    line = "  ".join(text.ljust(width) for text, width in zip(texts, WIDTHS))
    print(one_line(line.rstrip()), flush=True)


def print_part(part: str) -> None:
    """What stands above the rows of a part."""
    about, why = PARTS[part]
    print(f"\n{part}: {about}")
    if why:
        print("\n".join(textwrap.wrap(f"tolerance: {why}", 100)))
    print_line(HEAD)


def ask_device(target: str) -> probe.Answer:
    """What is to be checked.

    Raises:
        RunError: there is none, or MindSpore does not work.
    """
    answer = probe.ask(target)
    if answer.failure:
        raise RunError(f"MindSpore fails ({answer.failure}): python -m sharpdro.doctor says more")
    if target not in ("auto", answer.known["device"]):
        raise RunError(
            f"--device_target {target}: MindSpore finds no {target} here: python -m "
            f"sharpdro.doctor says what is missing"
        )
    return answer


def describe(answer: probe.Answer) -> list[str]:
    """Versions, processor and device."""
    found, known = Findings(), answer.known
    for look_at in (look_at_python, look_at_packages, look_at_processor):
        look_at(found)
    number = known["devices"].get(known["device"], 1)
    name = known["name"] if known["name"] != known["device"] else "no name of its own"
    found.add("device", f"{number} {known['device']}, {name}")
    return found.fact_lines()


def check(args) -> int:
    """Make all checks; returns the exit code."""
    answer = ask_device(args.device_target)
    print("\n".join(describe(answer)), flush=True)
    device = answer.known["device"]
    states = []
    with tempfile.TemporaryDirectory(prefix="sharpdro.") as folder:
        options = Options(device, tuple(args.method), args.oracle.absolute(), Path(folder))
        for part in [name for name in PARTS if name in (args.parts or PARTS)]:
            print_part(part)
            for row in checks_of(part, options, answer.known["devices"].get(device, 0)):
                print_line(cells(row))
                states.append(row.state)
    counts = ", ".join(f"{states.count(state)} {state}" for state in (PASS, FAIL, SKIPPED))
    print(f"\nchecks on {device}: {counts}")
    return 1 if FAIL in states else 0


def main(argv=None) -> int:
    """Run the program; returns its exit code."""
    args = parse(argv)
    return run_program("check_device.py", lambda: check(args), "name the PARTs that are missing")


if __name__ == "__main__":
    sys.exit(main())
