"""The result tables of the documents are those of the published runs, in scripts/results/."""

import json
import re

import pytest
from made_up_runs import report
from running import ROOT

RESULTS = ROOT / "scripts" / "results"
TABLES = sorted({path.parents[1].name for path in RESULTS.glob("*/*/summary.json")})
DOCUMENTS = {name: ROOT / name for name in ("README.md", "README_CN.md")}
DOCUMENTS["scripts/results/README.md"] = RESULTS / "README.md"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """By folder of published runs the lines of its tables, as report.py writes them."""
    lines = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "can_draw", lambda: False)  # which takes seconds
        for name in TABLES:
            output = tmp_path_factory.mktemp(name)
            assert report.main([str(RESULTS / name), "-o", str(output)]) == 0
            lines[name] = (output / "tables.md").read_text().splitlines()
    return lines


def result_tables(text):
    """The lines of tables whose rows are methods with seeds."""
    tables = re.findall(r"^\| method \| seeds \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    return [table.splitlines() for table in tables]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_row_is_that_of_published_runs(name, rebuilt):
    lines = {line for of_folder in rebuilt.values() for line in of_folder}
    tables = result_tables(DOCUMENTS[name].read_text(encoding="utf-8"))
    assert tables
    for row in (row for table in tables for row in table):
        assert row in lines, f"{name}: python scripts/report.py says otherwise: {row}"


@pytest.mark.parametrize("name", TABLES)
def test_every_published_row_is_shown(name, rebuilt):
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert not [row for row in rebuilt[name] if row.startswith("|") and row not in text]


def test_published_files_are_small_and_tell_where_they_ran():
    files = [path for name in TABLES for path in (RESULTS / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if "report" not in path.parts) < 3e6
    for path in (path for path in files if path.name == "settings.json"):
        environment = json.loads(path.read_text())["environment"]
        assert re.fullmatch("[0-9a-f]{40}", environment["git_commit"])
        assert not re.search("/(work|home|root|tmp)/", path.read_text()), path
