"""Tables as text, Markdown, LaTeX and CSV."""

import csv
import io

from sharpdro.report.runs import TABLE_SETTINGS
from sharpdro.report.tables import Overview, Table

CSV_COLUMNS = [
    *TABLE_SETTINGS,
    *("method", "label", "state", "seeds", "num_seeds", "severity", "mean", "std", "is_best"),
]
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
    return "\n".join([table.title, table.shared, *aligned(lines, 2), *table.remarks])


def overview_as_text(overview: Overview) -> str:
    """For a terminal."""
    lines = aligned([overview.heads, *overview.lines], 1)
    return "\n".join([f"{overview.column} over severities", *lines, overview.remark]).rstrip()


def aligned(lines: list[list[str]], num_left: int) -> list[str]:
    """Cells under one another, all but the first ones to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        "  ".join(
            text.ljust(width) if i < num_left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]


def as_markdown(table: Table) -> str:
    """For a README; the best numbers are bold."""
    rows = []
    for row in table.rows:
        numbers = (f"**{row.cell(c)}**" if c in row.best else row.cell(c) for c in table.columns)
        rows.append([*row.first_cells, *numbers])
    lines = _markdown(table.heads, rows, 2)
    parts = [f"### {table.title}", table.shared, "\n".join(lines), "\n\n".join(table.remarks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def overview_as_markdown(overview: Overview) -> str:
    """For a README; the best numbers have a star."""
    lines = _markdown(overview.heads, overview.lines, 1)
    parts = [f"### {overview.column} over severities", "\n".join(lines), overview.remark]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(heads, rows, num_left):
    ruler = ["---"] * num_left + ["---:"] * (len(heads) - num_left)
    lines = [heads, ruler, *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in x)} |" for x in lines]


def as_latex(table: Table) -> str:
    """For a paper; the best numbers are bold; needs the package booktabs."""
    about = [line for line in (table.title, table.shared, *table.remarks) if line]
    lines = [f"% {line}" for line in about]
    lines += [rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(table.heads) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_escape(text) for text in row.first_cells]
        for column in table.columns:
            text = row.cell(column, r"$\pm$")
            cells.append(rf"\textbf{{{text}}}" if column in row.best else text)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escape(text):
    return "".join(_LATEX.get(character, character) for character in text)


def as_csv(tables: list[Table]) -> str:
    """All tables, a line for each number: percent, six significant digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for row in table.rows:
            seeds = " ".join(map(str, row.experiment.seeds))
            about = [row.experiment.method, row.label, row.state or "finished", seeds]
            for column in table.columns:
                std = f"{row.stds[column]:.6g}" if row.stds else ""
                numbers = [f"{row.means[column]:.6g}", std, int(column in row.best)]
                count = len(row.experiment.runs)
                writer.writerow([*table.key, *about, count, column, *numbers])
    return text.getvalue()
