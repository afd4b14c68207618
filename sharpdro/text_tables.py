"""Tables for a terminal and in Markdown; what they quote may come from files and hold anything."""

from collections.abc import Iterable

from corruptions.command_line import one_line

_SPECIAL = "\\|<`[]"


def aligned(lines: list[list[str]], num_left: int) -> list[str]:
    """The lines of a table for a terminal: all columns but the first `num_left` ones right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        "  ".join(
            text.ljust(width) if i < num_left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]


def markdown_lines(heads: list[str], rows: Iterable[list[str]], num_left: int) -> list[str]:
    """The lines of a table in Markdown: all columns but the first `num_left` ones right."""
    ruler = ["---"] * num_left + ["---:"] * (len(heads) - num_left)
    return [f"| {' | '.join(map(markdown_text, cells))} |" for cells in (heads, ruler, *rows)]


def markdown_text(text: str) -> str:
    """A text of one line as it is to be seen: no links, code or HTML, no ends of cells."""
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in one_line(text))
