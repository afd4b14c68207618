"""One page with everything: tables and pictures, readable without a network."""

import base64
import html

from sharpdro.report.differences import Differences
from sharpdro.report.overviews import AVERAGE, OverviewTable
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
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem;
  overflow-wrap: anywhere; position: sticky; left: 0; background: Canvas; }
.text { text-align: left; }
tr.unfinished { font-style: italic; }
p.shared, li { color: color-mix(in srgb, currentColor 75%, transparent); font-size: .9rem;
  overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
ol.settings { font-size: .9rem; margin: .5rem 0; padding-left: 1.5rem; overflow-wrap: anywhere; }
sup { line-height: 0; font-size: .7em; font-weight: normal; }
.picture { display: block; overflow-x: auto; cursor: zoom-in; }
.picture input { position: absolute; opacity: 0; }
.picture input:focus-visible + img { outline: 2px solid; }
.picture img { background: #fff; max-width: 100%; height: auto; vertical-align: top; }
.picture input:checked + img { max-width: none; cursor: zoom-out; }
.hint { display: none; }
@media (max-width: 62rem) { .hint { display: inline; } }
@media (max-width: 40rem) {
  th:first-child, td:first-child { min-width: 5.5rem; }
  th, td { padding: .3rem .25rem; font-size: .8rem; }
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
    overviews: list[OverviewTable],
    differences: list[Differences],
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
        differences: of `differences.make_differences`.
        runs: all that were read.
        further: tables that belong to those of the same key.
    """
    parts = [f"<h1>{_(title)}</h1>", _list(notes)]
    for table, drawn in zip(tables, pictures):
        parts += [f"<h2>{_(table.title)}</h2>", _shared(table.shared)]
        parts += [_result_table(table), _list(table.remarks)]
        for other in (other for other in further if other.key == table.key):
            parts += [f"<h3>{_(other.title)}</h3>", _result_table(other), _list(other.remarks)]
        parts += [_figure(f"{table.title}: {CAPTIONS[n]}", svg) for n, svg in drawn.items()]
    for table in overviews:
        parts += [f"<h2>{_(table.title)}</h2>", _shared(table.shared)]
        parts += [_result_table(table), _list(table.remarks)]
    for each in differences:
        parts += [f"<h2>{_(each.title)}</h2>", _shared(each.shared)]
        parts += [_difference_table(each.heads, each.lines), _shared(each.remark)]
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


class _Settings:
    """The settings that stand under a table, by number, so that the names in it are short."""

    def __init__(self):
        self._lines: list[str] = []

    def short(self, label: str) -> str:
        """A label, "method name=value …", as the method and the number of its settings' line."""
        method, _space, settings = label.partition(" ")
        name = _(method).replace("_", "_<wbr>")  # where a narrow column may break it
        if not settings:
            return name
        if label not in self._lines:
            self._lines.append(label)
        return f"{name}<sup>{self._lines.index(label) + 1}</sup>"

    def listed(self) -> str:
        """The lines, numbered."""
        lines = "".join(f"<li>{_(line)}</li>" for line in self._lines)
        return f'<ol class="settings">{lines}</ol>' if lines else ""


def _difference_table(heads: list[str], lines: list[list[str]]) -> str:
    """A table of texts, of which the first of a line is a label."""
    settings = _Settings()
    short = [("", [settings.short(first), *(_(cell) for cell in cells)]) for first, *cells in lines]
    heads = [_(head) for head in heads]
    return _rows(heads, short, {0, _column(heads, "seeds")}) + settings.listed()


def _result_table(table: Table) -> str:
    settings, lines = _Settings(), []
    for row in table.rows:
        numbers = (_(row.cell(column)) for column in table.columns)
        marked = (f"<b>{n}</b>" if c in row.best else n for c, n in zip(table.columns, numbers))
        state = f" ({_(row.state)})" if row.state else ""
        cells = [f"{settings.short(row.label)}{state}", _(row.first_cells[1]), *marked]
        lines.append(("unfinished" if row.state else "", cells))
    heads = [_(head) for head in table.heads]
    return _rows(heads, lines, {0, _column(heads, "seeds")}) + settings.listed()


def _run_table(runs: list[Run]) -> str:
    heads = ["directory", "state", "best epoch", "commit"]
    lines = []
    for run in runs:
        state = "finished" if run.is_finished else f"unfinished, epoch {run.epoch}"
        best = run.summary["best"].get("epoch", "") if run.summary else ""
        cells = [run.folder, state, best, " ".join(run.short_commits)]
        lines.append(("" if run.is_finished else "unfinished", [_(cell) for cell in cells]))
    return _rows(heads, lines, {0, 1})


def _column(heads: list[str], name: str) -> int:
    """The place of a column; -1 where there is none."""
    return heads.index(name) if name in heads else -1


def _rows(heads: list[str], lines: list[tuple[str, list[str]]], text: set[int]) -> str:
    """A table, with what matters most where a narrow screen shows it.

    Args:
        heads: of the columns, as HTML.
        lines: the class of each row, and its cells as HTML.
        text: the columns that hold text; the others hold numbers.
    """
    first = [0, *(_column(heads, name) for name in ("mean", "worst", AVERAGE) if name in heads)]
    last = [_column(heads, "seeds")] if len(first) > 1 and "seeds" in heads else []
    middle = [i for i in range(len(heads)) if i not in {*first, *last}]
    order = [*first, *middle, *last]

    def cells(tag, texts):
        kinds = dict.fromkeys(text, ' class="text"')
        return "".join(f"<{tag}{kinds.get(i, '')}>{texts[i]}</{tag}>" for i in order)

    body = "".join(f'<tr class="{kind}">{cells("td", texts)}</tr>\n' for kind, texts in lines)
    return f'<div class="wide"><table><tr>{cells("th", heads)}</tr>\n{body}</table></div>'


def _figure(caption: str, svg: bytes) -> str:
    """A picture as wide as there is room for; one click shows it at its full size."""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    text = _(caption)
    switch = '<input type="checkbox" aria-label="full size">'
    image = f'<label class="picture">{switch}<img alt="{text}" src="{source}"></label>'
    hint = '<span class="hint"> Tap the picture for its full size.</span>'
    return f"<figure>{image}<figcaption>{text}{hint}</figcaption></figure>"
