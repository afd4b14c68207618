"""The table of the common corruptions, with numbers worked out by hand."""

import csv
import io
import math
import re

import pytest

from corruptions import STANDARD
from sharpdro.evaluation.corruption_table import (
    COLUMNS,
    Errors,
    csv_table,
    errors_of,
    is_flat,
    markdown_table,
    table_row,
    text_table,
)


def made(clean, usual, **special):
    """Errors at severities 1 … 5, the usual ones except for some corruptions."""
    return Errors(clean, {name: special.get(name, usual) for name in STANDARD})


NETWORK = made(10.0, [20.0, 20.0, 30.0, 30.0, 40.0], fog=[10.0, 10.0, 15.0, 15.0, 20.0])
BASELINE = made(20.0, [40.0, 40.0, 50.0, 50.0, 60.0], fog=[20.0, 20.0, 25.0, 25.0, 50.0])


def test_columns_are_the_fifteen_in_their_usual_order():
    assert tuple(COLUMNS) == STANDARD and len(set(COLUMNS.values())) == 15


def test_without_a_baseline():
    row = table_row(NETWORK)
    # Σ = 140, a fifth of it 28; fog: Σ = 70, 14. Mean: (14 · 28 + 14) / 15 = 406 / 15.
    assert list(row) == ["clean", "mCE", *STANDARD]
    assert row["clean"] == 10 and row["fog"] == 14 and row["snow"] == 28
    assert row["mCE"] == pytest.approx(27.0666667)


def test_with_a_baseline():
    row = table_row(NETWORK, BASELINE)
    # 140 of 240 is 58.33 %, 70 of 140 is 50 %: (14 · 175/3 + 50) / 15 = 57.78. (Means of ratios
    # by severity would be 56.33 and 49.)
    assert list(row) == ["clean", "mCE", "rel. mCE", *STANDARD]
    assert row["snow"] == pytest.approx(58.3333333) and row["fog"] == pytest.approx(50)
    assert row["mCE"] == pytest.approx(57.7777778)
    # Above clean: 140 − 50 = 90 of 240 − 100 = 140; fog: 70 − 50 = 20 of 140 − 100 = 40.
    assert row["rel. mCE"] == pytest.approx((14 * 100 * 90 / 140 + 50) / 15)
    assert row["clean"] == 10


def test_the_baseline_against_itself():
    row = table_row(BASELINE, BASELINE)
    assert row.pop("clean") == 20 and set(row.values()) == {100.0}


def test_undefined_where_the_baseline_makes_no_error_more():
    flat = made(20.0, [40.0] * 5, fog=[20.0] * 5)
    assert is_flat(flat, "fog") and not is_flat(flat, "snow")
    row = table_row(NETWORK, flat)
    assert math.isnan(row["rel. mCE"]) and row["fog"] == pytest.approx(70)
    row = table_row(NETWORK, made(0.0, [40.0] * 5, fog=[0.0] * 5))
    assert math.isnan(row["fog"]) and math.isnan(row["mCE"]) and row["snow"] == pytest.approx(70)


def test_errors_from_accuracies():
    measured = {
        name: {str(s): {"accuracy": 0.9 - 0.1 * s - 0.01 * i * (s > 0)} for s in range(6)}
        for i, name in enumerate(STANDARD)
    }
    errors = errors_of(measured)
    assert errors.clean == pytest.approx(10)
    assert errors.corrupted["gaussian_noise"] == pytest.approx([20, 30, 40, 50, 60])
    assert errors.corrupted["impulse_noise"] == pytest.approx([22, 32, 42, 52, 62])


def test_means_of_what_else_was_measured():
    """Over all but the clean images: 2, 20 % and an error of 70 %, but for one corruption."""
    usual = {"accuracy": 0.5, "loss": 2.0, "ece": 0.2, "worst_class_accuracy": 0.3}
    clean = {"accuracy": 1.0, "loss": 9.0, "ece": 0.9, "worst_class_accuracy": 0.9}
    measured = {n: {"0": clean, **{str(s): usual for s in range(1, 6)}} for n in STANDARD}
    measured["fog"] = {**measured["fog"], "5": {**usual, "loss": 77.0, "ece": 0.95}}
    row = table_row(errors_of(measured), NETWORK)
    assert list(row)[-4:] == ["jpeg_compression", "NLL", "ECE", "worst class"]
    assert row["NLL"] == pytest.approx(3) and row["ECE"] == pytest.approx(21)
    assert row["worst class"] == pytest.approx(70)
    head, line = (text.split() for text in text_table({"x": row}).splitlines()[1:])
    assert head[-4:] == ["NLL", "ECE", "worst", "class"] and line[-3:] == ["3.00", "21.0", "70.0"]
    cells = [line.split("|")[1:-1] for line in markdown_table({"x": row}).splitlines()]
    assert {len(line) for line in cells} == {1 + 3 + 15 + 3}
    assert cells[0][4].strip() == "Noise" and cells[2][4].strip() == "Gauss."
    # Of an earlier version.
    measured["snow"] = {**measured["snow"], "3": {"accuracy": 0.5, "loss": 2.0}}
    errors = errors_of(measured)
    assert errors.means["NLL"] == row["NLL"] and math.isnan(errors.means["ECE"])
    assert text_table({"x": table_row(errors)}).split()[-3:] == ["3.00", "–", "–"]


def test_the_best_are_marked():
    """1 of 3 in a column, two that are shown alike, and none where all is undefined."""
    a, b = table_row(made(10.0, [20.0] * 5)), table_row(made(10.04, [30.0] * 5, fog=[5.0] * 5))
    lines = text_table({"first": a, "second": b}).splitlines()
    assert lines[0].split() == ["Noise", "Blur", "Weather", "Digital"]
    assert lines[1].split()[:4] == ["clean", "mCE", "Gauss.", "Shot"]
    assert lines[2].split() == ["first", "10.0*", "20.0*", *["20.0*"] * 9, "20.0", *["20.0*"] * 5]
    assert lines[3].split() == ["second", "10.0*", "28.3", *["30.0"] * 9, "5.0*", *["30.0"] * 5]
    # Numbers stand under the ends of their titles, groups over the beginnings of theirs.
    assert lines[1].index("Gauss.") + 6 == lines[2].index("20.0*", lines[2].index("20.0*") + 1) + 4
    for group, title in (("Blur", "Defocus"), ("Weather", "Snow"), ("Digital", "Contrast")):
        assert abs(lines[0].index(group) - lines[1].index(title)) <= 2
    assert "*" not in text_table({"first": a})
    undefined = {**a, "fog": math.nan}
    assert text_table({"x": undefined, "y": undefined}).splitlines()[2].split()[12] == "–"


def test_markdown():
    a, b = table_row(made(10.0, [20.0] * 5)), table_row(made(9.0, [30.0] * 5))
    lines = markdown_table({"first": a, "second": b}).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert {len(line) for line in cells} == {18}
    assert cells[0][3] == "Noise" and cells[0][6] == "Blur" and cells[0][14] == "Digital"
    assert cells[2][:4] == ["", "clean", "mCE", "Gauss."]
    assert cells[3][:4] == ["first", "10.0", "**20.0**", "**20.0**"]
    assert cells[4][:4] == ["second", "**9.0**", "30.0", "30.0"]


def test_names_that_would_break_markdown():
    """A name is a run's --desc, in which all but a few characters may be."""
    lines = markdown_table({"a|b": table_row(NETWORK), "c\\|d": table_row(NETWORK)}).splitlines()
    assert lines[3].startswith(r"| a\|b | **10.0** |")
    assert lines[4].startswith(r"| c\\\|d | **10.0** |")
    # What is left of a line without its escaped characters has a | for each side of each cell.
    assert {re.sub(r"\\.", "", line).count("|") for line in lines} == {18 + 1}


def test_csv():
    rows = {"a, b": {**table_row(NETWORK), "frost": math.nan}, "c": table_row(NETWORK)}
    first, second = csv.DictReader(io.StringIO(csv_table(rows, {"checkpoint": ["x", "y"]})))
    assert first["name"] == "a, b" and first["checkpoint"] == "x" and second["checkpoint"] == "y"
    assert first["mCE"] == "27.0667" and first["frost"] == "" and second["frost"] == "28"


def test_titles_are_no_commands():
    title = "\x1b[2J<script>\n|"
    assert all(line.isprintable() for line in text_table({title: table_row(NETWORK)}).split("\n"))
    *_, row = markdown_table({title: table_row(NETWORK)}).splitlines()
    assert row.startswith(r"| \\x1b\[2J\<script>\\n\| |")
