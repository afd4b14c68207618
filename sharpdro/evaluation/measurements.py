"""What one checkpoint achieves on several corruptions, in a table that grows as it is measured."""

from collections.abc import Callable
from pathlib import Path

from sharpdro.errors import RunError
from sharpdro.evaluation.scores import Score
from sharpdro.evaluation.summary import EVALUATION_COLUMNS, evaluation_rows, is_complete, numbers_of
from sharpdro.run_folder.csv_table import Table
from sharpdro.run_folder.reading import read_rows

IMAGES = "images_crc32"
COLUMNS = [EVALUATION_COLUMNS[0], "corruption", *EVALUATION_COLUMNS[1:], IMAGES]


def read_measurements(path: Path) -> dict[str, dict[str, dict]]:
    """The finished corruptions of a table of COLUMNS.

    Returns:
        {corruption: {"0" … "S", "mean", "worst": {loss, accuracy, count, …, images_crc32}}};
        empty without a file.

    Raises:
        RunError: it is not such a table.
    """
    measured: dict[str, dict[str, dict]] = {}
    if not path.exists():
        return measured

    def convert(row):
        kept = {**numbers_of(row), IMAGES: row[IMAGES]} if IMAGES in row else None
        return row.get("corruption"), row["severity"], kept

    for name, severity, kept in read_rows(path, convert):
        if kept is not None:  # else of an earlier version, which is measured again
            measured.setdefault(name, {})[severity] = kept
    measured = {name: scores for name, scores in measured.items() if "worst" in scores}
    for name, scores in measured.items():
        if not is_complete(scores):
            raise RunError(
                f"{path} lacks severities of {name}: restore it, or delete {path.parent}"
            )
    return measured


def measure_corruptions(
    path: Path,
    epoch: int,
    corruptions: list[str],
    measure: Callable[[str], list[Score]],
    checksums: dict[str, str],
) -> dict[str, dict[str, dict]]:
    """Measure corruption after corruption, except those that the table has already.

    Args:
        path: the table.
        epoch: of the checkpoint.
        corruptions: names.
        measure: the scores of a corruption at severities 0 … S.
        checksums: of a corruption's images.

    Returns:
        As `read_measurements`, for these corruptions.

    Raises:
        RunError: a corruption was measured on other images.
    """
    done = read_measurements(path)
    for name in done.keys() & checksums.keys():
        if done[name]["worst"][IMAGES] != checksums[name]:
            raise RunError(
                f"{path} was measured on other images of {name} than those that are there now: "
                f"choose another --desc, or delete {path.parent}"
            )
    table = Table(path, COLUMNS, keep=lambda row: row.get("corruption") in done)
    for name in corruptions:
        if name not in done:
            rows = evaluation_rows(epoch, measure(name))
            labels = {"corruption": name, IMAGES: checksums[name]}
            table.append([{**row, **labels} for row in rows])
    measured = read_measurements(path)
    return {name: measured[name] for name in corruptions}
