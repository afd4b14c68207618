#!/usr/bin/env python3
"""Put together what runs left: test accuracy per severity, mean ± std over seeds, and pictures.

Runs are averaged only if nothing but their seeds differ (and where and how they were run); settings
in which the runs of a table differ stand beside the method where they are not the default. Runs
that are not finished have lines of their own and take no part in averages. Prints the tables and
writes report.html, which has everything, tables.md, tables.csv, tables.tex and the pictures.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from corruptions.command_line import Parser
from sharpdro.drawing import NO_PICTURES, as_svg, can_draw, save_png
from sharpdro.errors import RunError
from sharpdro.program import run_program
from sharpdro.report import formats, page, pictures
from sharpdro.report.runs import experiments_of, read_runs
from sharpdro.report.tables import make_overviews, make_tables
from sharpdro.run_log import write_atomically


def create_parser():
    parser = Parser(prog="report.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    text = "the --log_dir of the runs, or several"
    add("log_dirs", type=Path, nargs="+", metavar="LOG_DIR", help=text)
    text = "the epoch of the highest validation accuracy, or the last (default: best)"
    add("--epoch", choices=("best", "last"), default="best", help=text)
    text = "folder for what is written (default: report/ in the first LOG_DIR)"
    add("-o", "--output", type=Path, metavar="DIR", help=text)
    return parser


def report(log_dirs, epoch, output):
    """Read, print, write."""
    for folder in log_dirs:
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder: name the --log_dir of your runs")
    runs, remarks = read_runs(log_dirs)
    experiments, more = experiments_of(runs)
    for line in (remarks := remarks + more):
        print(line, file=sys.stderr)
    if not experiments:
        raise RunError(f"{' '.join(map(str, log_dirs))}: no run that was evaluated lies there")
    tables, overviews = make_tables(experiments, epoch), None
    overviews = make_overviews(tables)
    texts = [formats.as_text(table) for table in tables]
    print("\n\n".join(texts + [formats.overview_as_text(overview) for overview in overviews]))
    write(output or log_dirs[0] / "report", tables, overviews, runs, remarks, epoch)


def write(output, tables, overviews, runs, remarks, epoch):
    """Write everything; the page comes last."""
    output.mkdir(parents=True, exist_ok=True)
    drawn = [{} for _ in tables]
    if can_draw():
        drawn = [pictures.draw_pictures(table, epoch) for table in tables]
    for table, figures in zip(tables, drawn):
        for name, figure in figures.items():
            save_png(figure, output / f"{'_'.join(map(str, table.key))}_{name}.png")
    markdown = [*map(formats.as_markdown, tables), *map(formats.overview_as_markdown, overviews)]
    write_atomically(output / "tables.md", "\n".join(markdown))
    write_atomically(output / "tables.csv", formats.as_csv(tables))
    write_atomically(output / "tables.tex", "\n".join(map(formats.as_latex, tables)))
    notes = [f"Test accuracy in percent at the {epoch} epoch, ± standard deviation over seeds."]
    notes += remarks + ([] if any(drawn) else [NO_PICTURES])
    images = [{n: as_svg(f) for n, f in figures.items()} for figures in drawn]
    text = page.make_page("SharpDRO runs", notes, tables, images, overviews, runs)
    write_atomically(output / "report.html", text)
    print(f"\nwritten to {output}" + ("" if any(drawn) else f" ({NO_PICTURES})"))


def main(argv=None):
    """Run the program; returns its exit code."""
    args = create_parser().parse_args(argv)
    return run_program(
        "report.py",
        lambda: report(args.log_dirs, args.epoch, args.output),
        "the same command begins anew",
    )


if __name__ == "__main__":
    sys.exit(main())
