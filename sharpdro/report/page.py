"""One page with everything: tables and pictures, readable without a network."""

import base64
import html

from sharpdro.report.overviews import Overview
from sharpdro.report.runs import Run
from sharpdro.report.tables import Table

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-top: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 11rem;
  overflow-wrap: anywhere; position: sticky; left: 0; background: Canvas; }
.text { text-align: left; }
tr.unfinished { font-style: italic; }
p.shared, li { color: color-mix(in srgb, currentColor 75%, transparent); font-size: .9rem;
  overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
img { background: #fff; max-width: none; }
@media (max-width: 40rem) {
  th:first-child, td:first-child { min-width: 7rem; font-size: .8rem; }
  th, td { padding: .3rem; } figure img { max-width: 100%; height: auto; }
}
"""
CAPTIONS = {
    "accuracy": "Test accuracy over severity; bars are one standard deviation over seeds, dotted "
    "lines are runs that are not finished.",
    "curves": "Validation accuracy over training, by severity (means over seeds).",
    "weights": "Group weights over training (means over seeds): a severity of weight 0 plays no "
    "part in the worst case.",
}


def make_page(
    title: str,
    notes: list[str],
    tables: list[Table],
    pictures: list[dict[str, bytes]],
    overviews: list[Overview],
    runs: list[Run],
    further: list[Table],
) -> str:
    """The page as HTML.

    Args:
        title: its heading.
        notes: lines on what the numbers are, and on what is left out.
        tables: of `tables.make_tables`.
        pictures: for each table its pictures as SVG, by name.
        overviews: of `overviews.make_overviews`.
        runs: all that were read.
        further: tables that belong to those of the same key.
    """
    parts = [f"<h1>{_(title)}</h1>", _list(notes)]
    for overview in overviews:
        parts += [f"<h2>{_(overview.title)}</h2>", _shared(overview.shared)]
        parts += [_table(overview.heads, overview.lines, 1), _shared(overview.remark)]
    for table, drawn in zip(tables, pictures):
        parts += [f"<h2>{_(table.title)}</h2>", _shared(table.shared)]
        parts += [_result_table(table), _list(table.remarks)]
        for other in (other for other in further if other.key == table.key):
            parts += [f"<h3>{_(other.title)}</h3>", _result_table(other), _list(other.remarks)]
        parts += [_figure(f"{table.title}: {CAPTIONS[n]}", svg) for n, svg in drawn.items()]
    parts += ["<h2>Runs</h2>", _run_table(runs)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _(text) -> str:
    return html.escape(str(text))


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{_(line)}</li>' for line in lines)}</ul>" if lines else ""


def _shared(text: str) -> str:
    return f'<p class="shared">{_(text)}</p>' if text else ""


def _table(heads, lines, num_text) -> str:
    return _rows(heads, [("", [_(cell) for cell in line]) for line in lines], num_text)


def _result_table(table: Table) -> str:
    lines = []
    for row in table.rows:
        numbers = (_(row.cell(column)) for column in table.columns)
        marked = (f"<b>{n}</b>" if c in row.best else n for c, n in zip(table.columns, numbers))
        kind = "unfinished" if row.state else ""
        lines.append((kind, [*(_(cell) for cell in row.first_cells), *marked]))
    return _rows(table.heads, lines, 2)


def _run_table(runs: list[Run]) -> str:
    heads = ["directory", "state", "best epoch", "commit"]
    lines = []
    for run in runs:
        state = "finished" if run.is_finished else f"unfinished, epoch {run.epoch}"
        best = run.summary["best"].get("epoch", "") if run.summary else ""
        cells = [run.folder, state, best, run.commit[:7]]
        lines.append(("" if run.is_finished else "unfinished", [_(cell) for cell in cells]))
    return _rows(heads, lines, 2)


def _rows(heads, lines, num_text) -> str:
    def cells(tag, texts):
        kinds = (' class="text"' if i < num_text else "" for i in range(len(texts)))
        return "".join(f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, texts))

    body = "".join(f'<tr class="{kind}">{cells("td", texts)}</tr>\n' for kind, texts in lines)
    head = cells("th", [_(text) for text in heads])
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _figure(caption: str, svg: bytes) -> str:
    source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    text = _(caption)
    image = f'<div class="wide"><img alt="{text}" src="{source}"></div>'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
