"""Tables as text, Markdown, LaTeX and CSV."""

from corruptions.command_line import one_line
from sharpdro.report import calibration
from sharpdro.report.differences import Differences
from sharpdro.report.experiments import TABLE_SETTINGS
from sharpdro.report.tables import Table
from sharpdro.run_folder.csv_table import csv_text
from sharpdro.text_tables import aligned, markdown_lines, markdown_text

CSV_COLUMNS = [*TABLE_SETTINGS, "method", "label", "state", "seeds", "num_seeds", "severity"]
CSV_COLUMNS += ["mean", "std", "is_best", *calibration.CSV_COLUMNS]
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def as_text(table: Table) -> str:
    """For a terminal; the best numbers have a star."""
    lines = [[*table.heads[:2], *(f"{column} " for column in table.columns)]]
    for row in table.rows:
        numbers = (f"{row.cell(c)}{'*' if c in row.best else ' '}" for c in table.columns)
        lines.append([*row.first_cells, *numbers])
    shared = [table.shared] if table.shared else []
    parts = [table.title, *shared, *aligned(lines, 2), *table.remarks]
    return "\n".join(map(one_line, parts))


def differences_as_text(differences: Differences) -> str:
    """For a terminal."""
    lines = aligned([differences.heads, *differences.lines], 2)
    parts = [differences.title, differences.shared, *lines, differences.remark]
    return "\n".join(one_line(part) for part in parts if part)


def as_markdown(table: Table) -> str:
    """For a README; the best numbers are bold."""
    rows = []
    for row in table.rows:
        numbers = (f"**{row.cell(c)}**" if c in row.best else row.cell(c) for c in table.columns)
        rows.append([*row.first_cells, *numbers])
    lines = markdown_lines(table.heads, rows, 2)
    title, shared, *remarks = map(markdown_text, (table.title, table.shared, *table.remarks))
    parts = [f"### {title}", shared, "\n".join(lines), "\n\n".join(remarks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def differences_as_markdown(differences: Differences) -> str:
    """For a README."""
    lines = markdown_lines(differences.heads, differences.lines, 2)
    about = differences.title, differences.shared, differences.remark
    title, shared, remark = map(markdown_text, about)
    parts = [f"### {title}", shared, "\n".join(lines), remark]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_latex(table: Table) -> str:
    """For a paper; the best numbers are bold; needs the package booktabs."""
    about = [line for line in (table.title, table.shared, *table.remarks) if line]
    lines = [f"% {one_line(line)}" for line in about]
    lines += [rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(map(_escape, table.heads)) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_escape(text) for text in row.first_cells]
        for column in table.columns:
            text = row.cell(column, r"$\pm$")
            cells.append(rf"\textbf{{{text}}}" if column in row.best else text)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escape(text):
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def as_csv(tables: list[Table], epoch: str) -> str:
    """All tables, a line for each accuracy, with what else was measured there.

    Six significant digits, in percent but for NLL, which is in nats.

    Args:
        tables: of `tables.make_tables`.
        epoch: best or last, as there.
    """
    lines = []
    for table in tables:
        for row in table.rows:
            seeds = " ".join(map(str, row.experiment.seeds))
            about = [row.experiment.method, row.label, row.state or "finished", seeds]
            for column in table.columns:
                numbers = [row.means[column], row.stds.get(column), int(column in row.best)]
                count = len(row.experiment.runs)
                further = calibration.csv_cells(row.experiment, column, epoch)
                lines.append([*table.key, *about, count, column, *numbers, *further])
    return csv_text(CSV_COLUMNS, lines)
