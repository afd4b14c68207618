"""The result tables of the documents are those of the published runs, in scripts/results/."""

import json
import re

import pytest
from made_up_runs import report
from running import ROOT, rows

RESULTS = ROOT / "scripts" / "results"
TABLES = sorted({path.parents[1].name for path in RESULTS.glob("*/*/summary.json")})
DOCUMENTS = {name: ROOT / name for name in ("README.md", "README_CN.md")}
DOCUMENTS["scripts/results/README.md"] = RESULTS / "README.md"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """By folder of published runs its tables, as report.py writes them."""
    texts = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "can_draw", lambda: False)  # which takes seconds
        for name in TABLES:
            output = tmp_path_factory.mktemp(name)
            assert report.main([str(RESULTS / name), "-o", str(output)]) == 0
            texts[name] = (output / "tables.md").read_text()
    return texts


def result_tables(text):
    """The lines of tables whose rows are methods with seeds, but those over corruptions."""
    line = r"^\| method \| seeds \|(?!.*\| average \|).*\n(?:\|.*\n)+"
    tables = re.findall(line, text, re.MULTILINE)
    return [table.splitlines() for table in tables]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_those_of_published_runs(name, rebuilt):
    """Some rows may be left out; the others stand in the same order, under the same heads."""
    tables = result_tables(DOCUMENTS[name].read_text(encoding="utf-8"))
    assert tables
    published = [table for text in rebuilt.values() for table in result_tables(text)]
    for table in tables:
        lines = set(table)
        assert any([line for line in other if line in lines] == table for other in published), (
            f"{name}: python scripts/report.py says otherwise than {table}"
        )


@pytest.mark.parametrize("name", TABLES)
def test_every_published_row_is_shown(name, rebuilt):
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    tables = result_tables(rebuilt[name])
    assert tables and not [row for table in tables for row in table if row not in text]


def test_published_files_are_small_and_agree():
    runs = [path.parent for name in TABLES for path in (RESULTS / name).glob("*/summary.json")]
    files = [path for run in runs for path in run.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3e6
    for run in runs:
        settings, summary = (read_json(run / f"{n}.json") for n in ("settings", "summary"))
        assert re.fullmatch("[0-9a-f]{40}", settings["environment"]["git_commit"])
        words = [*settings["settings"].values(), *settings["environment"]["command"].split()]
        assert not [w for w in words if isinstance(w, str) and re.match(r"(--\w+=)?/", w)]
        table = {(int(row["epoch"]), row["severity"]): row for row in rows(run / "test.csv")}
        for which in ("best", "last"):
            for severity, scores in summary[which]["test"].items():
                row = table[summary[which]["epoch"], severity]
                for measure, value in scores.items():
                    assert float(row[measure]) == pytest.approx(value, abs=1e-5), (run, severity)


def read_json(path):
    return json.loads(path.read_text())


def test_group_weights_in_the_methods_document_are_those_of_published_runs():
    """Its table has the weights of two runs beside each other, and their losses below."""
    text = (ROOT / "sharpdro" / "methods" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (loss at )?(\d+) \|((?:[^|]*\|){13})$", text, re.MULTILINE)
    assert len(lines) == 6
    run = "{}_dsetcifar10_corrgaussian_noise_{}_seed0"
    runs = run.format("table1", "sharpdro"), run.format("table1-balanced", "groupdro")
    for is_loss, epoch, cells in lines:
        expected = []
        for folder in runs:
            of_run = rows(RESULTS / "table1" / folder / "train.csv")
            (row,) = (row for row in of_run if row["epoch"] == epoch)
            name = "loss" if is_loss else "weight"
            expected += [float(row[f"{name}_{severity}"]) for severity in range(6)]
        shown = [cell.strip() for cell in cells.split("|") if cell.strip()]
        assert shown == [as_shown(value, 2 if is_loss else 3) for value in expected]


def as_shown(value, decimals):
    """Without the zero before the point; what would be 0 otherwise by its order of magnitude."""
    text = f"{value:.{decimals}f}"
    return text.removeprefix("0") if float(text) else f"{value:.0e}".replace("e-0", "e-")
