"""Text and tables in Markdown; what is quoted in them may come from files and hold anything."""

from collections.abc import Iterable

from corruptions.command_line import one_line

_SPECIAL = "\\|<`[]"


def table_lines(heads: list[str], rows: Iterable[list[str]], num_left: int) -> list[str]:
    """The lines of a table: all columns but the first `num_left` ones have their cells right."""
    ruler = ["---"] * num_left + ["---:"] * (len(heads) - num_left)
    return [f"| {' | '.join(map(markdown_text, cells))} |" for cells in (heads, ruler, *rows)]


def markdown_text(text: str) -> str:
    """A text of one line as it is to be seen: no links, code or HTML, no ends of cells."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in one_line(text))
