"""What one checkpoint achieves on several corruptions, in a table that grows as it is measured."""

import csv
from collections.abc import Callable
from pathlib import Path

from sharpdro.run_log import EVALUATION_COLUMNS, Table
from sharpdro.scores import Score
from sharpdro.summary import evaluation_rows, numbers_of

COLUMNS = [EVALUATION_COLUMNS[0], "corruption", *EVALUATION_COLUMNS[1:]]


def read_measurements(path: Path) -> dict[str, dict[str, dict]]:
    """The finished corruptions of a table of COLUMNS.

    Returns:
        {corruption: {"0" … "S", "mean", "worst": {loss, accuracy, count}}}; empty without a file.
    """
    found: dict[str, dict[str, dict]] = {}
    if not path.exists():
        return found
    with open(path, encoding="utf-8", newline="") as file:
        whole = [line for line in file if line.endswith("\n")]
    for row in csv.DictReader(whole):
        found.setdefault(row["corruption"], {})[row["severity"]] = numbers_of(row)
    return {name: scores for name, scores in found.items() if "worst" in scores}


def measure_corruptions(
    path: Path,
    epoch: int,
    corruptions: list[str],
    measure: Callable[[str], list[Score]],
) -> dict[str, dict[str, dict]]:
    """Measure corruption after corruption, but for those that the table has already.

    Args:
        path: the table.
        epoch: of the checkpoint.
        corruptions: names.
        measure: the scores of a corruption at severities 0 … S.

    Returns:
        As `read_measurements`, for these corruptions.
    """
    done = read_measurements(path)
    table = Table(path, COLUMNS, keep=lambda line: line.split(",")[1] in done)
    for name in corruptions:
        if name not in done:
            rows = evaluation_rows(epoch, measure(name))
            table.append([{**row, "corruption": name} for row in rows])
    found = read_measurements(path)
    return {name: found[name] for name in corruptions}
