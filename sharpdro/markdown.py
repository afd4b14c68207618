"""Tables in Markdown."""

from collections.abc import Iterable


def table_lines(heads: list[str], rows: Iterable[list[str]], num_left: int) -> list[str]:
    """The lines of a table: all columns but the first `num_left` ones have their cells right."""
    ruler = ["---"] * num_left + ["---:"] * (len(heads) - num_left)
    return [f"| {' | '.join(map(_escape, cells))} |" for cells in (heads, ruler, *rows)]


def _escape(cell: str) -> str:
    """A cell as it is to be seen; a backslash before a | would take the effect of its own."""
    return cell.replace("\\", "\\\\").replace("|", "\\|")
