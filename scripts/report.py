#!/usr/bin/env python3
"""Put together what runs left: test accuracy per severity, mean ± std over seeds, and pictures.

Runs are averaged only if nothing but their seeds differ (and where and how they were run). Beside
the method stand its own settings, where they are not the default, and the others in which the runs
of a table differ. Runs that are not finished have lines of their own and take no part in averages.
Prints the tables and writes report.html, which has everything, tables.md, tables.csv, tables.tex
and the pictures.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()


from corruptions.command_line import Parser, one_line
from corruptions.interrupts import interruptible
from corruptions.storage.files import check_writable, write_atomically
from sharpdro.drawing import NO_PICTURES, as_svg, can_draw, save_png
from sharpdro.errors import RunError
from sharpdro.program import run_program
from sharpdro.report import formats, page, pictures
from sharpdro.report.calibration import make_calibration_tables
from sharpdro.report.differences import make_differences
from sharpdro.report.experiments import experiments_of
from sharpdro.report.overviews import make_overviews
from sharpdro.report.runs import read_runs
from sharpdro.report.tables import make_tables

_ABOUT = "Test accuracy in percent at the {} epoch, mean ± standard deviation over seeds"
ABOUT = {"best": _ABOUT.format("best (by validation)"), "last": _ABOUT.format("last")}


def create_parser():
    parser = Parser(prog="report.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = "the --log_dir of the runs, or several"
    add("log_dirs", type=Path, nargs="+", metavar="LOG_DIR", help=text)
    text = "the epoch of the highest validation accuracy, or the last (default: best)"
    add("--epoch", choices=("best", "last"), default="best", help=text)
    text = (
        "also print each row's differences to the row of this label, as it stands in the table, "
        "with confidence intervals over seeds"
    )
    add("--compare_to", metavar="LABEL", help=text)
    text = "folder for what is written (default: report/ in the first LOG_DIR)"
    add("-o", "--output", type=Path, metavar="DIR", help=text)
    return parser


def report(log_dirs, epoch, output, compare_to=None):
    """Read, print, write."""
    for folder in log_dirs:
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder: name the --log_dir of your runs")
        if (folder / "settings.json").exists():
            raise RunError(f"{folder} is a run itself: name the folder that it lies in")
    log_dirs = list({folder.resolve(): folder for folder in log_dirs}.values())
    output = output or log_dirs[0] / "report"
    try:
        check_writable(output)
    except OSError as error:
        raise RunError(f"{output}: {error.strerror} with -o") from error
    runs, remarks = read_runs(log_dirs)
    experiments, left_out = experiments_of(runs)
    remarks = remarks + left_out
    for line in remarks:
        print(one_line(line), file=sys.stderr)
    if not experiments:
        raise RunError(f"{' '.join(map(str, log_dirs))}: no run that was evaluated lies there")
    tables = make_tables(experiments, epoch)
    overviews = make_overviews(tables)
    differences = [] if compare_to is None else make_differences(tables, compare_to, epoch)
    further = make_calibration_tables(tables, epoch)
    texts = [formats.as_text(table) for table in [*tables, *overviews]]
    texts += [formats.differences_as_text(each) for each in differences]
    texts += [formats.as_text(table) for table in further]
    about = ABOUT[epoch]
    print("\n\n".join([f"{about}; * marks the best of a column", *texts]))
    write_tables(output, tables, overviews, differences, further, about, epoch)
    notes = [f"{about}; the best of a column is bold.", *remarks]
    images = draw_all(output, tables, epoch, notes)
    text = page.make_page(
        "SharpDRO runs", notes, tables, images, overviews, differences, runs, further
    )
    write_atomically(output / "report.html", text)
    print(f"\nwritten to {output}" + ("" if can_draw() else f" ({NO_PICTURES})"))


def write_tables(output, tables, overviews, differences, further, about, epoch):
    """Write all but the pictures and the page."""
    output.mkdir(parents=True, exist_ok=True)
    markdown = [formats.as_markdown(table) for table in [*tables, *overviews]]
    markdown += map(formats.differences_as_markdown, differences)
    markdown += map(formats.as_markdown, further)
    write_atomically(output / "tables.md", "\n".join([f"{about}.\n", *markdown]))
    write_atomically(output / "tables.csv", formats.as_csv(tables, epoch))
    latex = [f"% {about}", *map(formats.as_latex, [*tables, *overviews, *further])]
    write_atomically(output / "tables.tex", "\n".join(latex))


def draw_all(output, tables, epoch, notes):
    """As `draw`, for all tables; says which pictures in the folder are of something else."""
    images = [{} for _ in tables]
    if can_draw():
        images = [draw(output, table, epoch, notes) for table in tables]
    else:
        notes.append(NO_PICTURES)
    pairs = zip(tables, images, strict=True)
    drawn = {picture_of(output, table, name) for table, made in pairs for name in made}
    others = sorted(path.name for path in set(output.glob("*.png")) - drawn)
    if others:
        line = f"not from this report, although in {output}: {' '.join(others)}"
        print(one_line(line), file=sys.stderr)
    return images


def picture_of(output, table, name):
    """Path of a table's picture."""
    return output / f"{'_'.join(map(str, table.key))}_{name}.png"


def draw(output, table, epoch, notes):
    """Write a table's pictures; returns them as SVG, by name. Adds to the notes what failed."""
    images = {}
    for name, make in pictures.pictures_of(table, epoch).items():
        path = picture_of(output, table, name)
        try:
            figure = make()
            save_png(figure, path)
            images[name] = as_svg(figure)
        except OSError:  # there is no use in going on where nothing can be written
            raise
        except Exception as error:  # whatever matplotlib says: the page matters more
            path.unlink(missing_ok=True)  # that of an earlier report
            notes.append(f"not drawn: {path.name} ({error!r})")
            print(one_line(notes[-1]), file=sys.stderr)
    return images


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args = create_parser().parse_args(argv)
        with interruptible():
            report(args.log_dirs, args.epoch, args.output, args.compare_to)

    return run_program("report.py", work, "the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
