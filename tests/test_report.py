"""scripts/report.py on directories made by hand."""

import csv
import html.parser
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("report", ROOT / "scripts" / "report.py")
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)

EPOCHS = (1, 2)


def write_run(log_dir, accuracy, finished=True, commit="a" * 40, **settings):
    """A run of two severities: `accuracy` at 0, half of it at 1; 0.01 at the last epoch."""
    log_dir.mkdir(exist_ok=True)
    settings = {"method": "erm", "seed": 0, "desc": "run", "num_severity": 1, **settings}
    folder = log_dir / f"run{len(list(log_dir.iterdir()))}"
    folder.mkdir()
    content = {"settings": settings, "environment": {"git_commit": commit}}
    (folder / "settings.json").write_text(json.dumps(content))
    values = {"0": accuracy, "1": accuracy / 2, "mean": 0.75 * accuracy, "worst": accuracy / 2}
    best = {"epoch": 1, "test": {k: {"accuracy": v} for k, v in values.items()}}
    last = {"epoch": 2, "test": {k: {"accuracy": 0.01} for k in values}}
    summary = {"finished": finished, "total_epoch": 200, "best": best, "last": last}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [f"{e},{s},1,{v * e / 2},9" for e in EPOCHS for s, v in values.items()]
    (folder / "val.csv").write_text(
        "epoch,severity,loss,accuracy,count\n" + "\n".join(lines) + "\n"
    )
    if settings["method"] in ("sharpdro", "groupdro"):
        lines = [
            f"{e},{step},{1 - e * step / 10},{e * step / 10}" for e in EPOCHS for step in (1, 2)
        ]
        text = "epoch,step,weight_0,weight_1\n" + "\n".join(lines) + "\n2,"  # torn by a kill
        (folder / "train.csv").write_text(text)
    return folder


def run_report(capsys, log_dir, *flags):
    """Lines of the terminal, errors."""
    assert report.main([str(log_dir), *flags]) == 0
    found = capsys.readouterr()
    return found.out.splitlines(), found.err


def rows_of(lines):
    """The first table's rows: method, and all that follows."""
    start = next(i for i, line in enumerate(lines) if line.startswith("method"))
    rows = {}
    for line in lines[start + 1 :]:
        if not line or line.startswith("runs of"):
            break
        label, *cells = re.split(r"  +", line)
        rows[label] = cells
    return rows


def read_csv(log_dir):
    with open(log_dir / "report" / "tables.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_mean_and_deviation_over_seeds(capsys, tmp_path):
    for seed, accuracy in ((10, 0.5), (2, 0.6), (3, 0.64)):
        write_run(tmp_path, accuracy, seed=seed)
    lines, _ = run_report(capsys, tmp_path)
    # Mean of 50, 60, 64 is 58; deviations 8, 2, 6: the root of 104 / 2.
    assert rows_of(lines)["erm"] == [
        *("2 3 10", "58.0 ± 7.2", "29.0 ± 3.6", "43.5 ± 5.4", "29.0 ± 3.6")
    ]
    first = read_csv(tmp_path)[0]
    assert (first["severity"], first["mean"], first["num_seeds"]) == ("0", "58", "3")
    assert float(first["std"]) == pytest.approx(52**0.5, abs=1e-4) and first["is_best"] == "0"
    assert rows_of(run_report(capsys, tmp_path, "--epoch", "last")[0])["erm"][1] == "1.0 ± 0.0"


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({}, {"total_epoch": 3}, ["erm", "erm total_epoch=3"]),
        ({}, {"desc": "other"}, ["erm", "erm desc=other"]),
        ({"lr": 0.3}, {"lr": 0.2}, ["erm lr=0.2", "erm lr=0.3"]),
        (
            {"method": "sharpdro", "seed": 1},  # from before there was such a setting
            {"method": "sharpdro", "sampler": "balanced"},
            ["sharpdro", "sharpdro sampler=balanced"],
        ),
        ({}, {"method": "sam", "total_epoch": 9}, ["erm", "sam total_epoch=9"]),
        ({}, {"method": "sam", "rho": 0.05}, ["erm", "sam"]),
        (
            {"method": "sharpdro", "distribution_agnostic": True},
            {"method": "sharpdro", "distribution_agnostic": False, "seed": 4},
            ["sharpdro", "sharpdro_agnostic"],
        ),
    ],
)
def test_different_experiments_are_not_averaged(capsys, tmp_path, first, second, labels):
    write_run(tmp_path, 0.5, **first)
    write_run(tmp_path, 0.7, **second)
    lines, _ = run_report(capsys, tmp_path)
    assert list(rows_of(lines)) == labels and not any("±" in line for line in lines)


def test_other_seeds_and_places_are(capsys, tmp_path):
    write_run(tmp_path, 0.5, data_dir="a", rho=0.05, method="sam")
    write_run(tmp_path, 0.7, data_dir="b", method="sam", seed=1)  # rho is the default
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert list(rows) == ["sam"] and rows["sam"][0] == "0 1"


def test_lists_that_were_given_are_compared(capsys, tmp_path):
    """Those that a run has drawn itself differ with its seed."""
    for seed, text in ((0, "a"), (1, "a"), (2, "b")):
        for n in (None, 20):
            folder = write_run(tmp_path, 0.5, seed=seed, num_per_class=n, desc=str(n))
            (folder / "imagenet30_filelist").mkdir()
            (folder / "imagenet30_filelist" / "imagenet30_val.txt").write_text(text)
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert sorted((cells[0], "lists=" in label) for label, cells in rows.items()) == [
        *(("0 1", True), ("0 1 2", False), ("2", True))
    ]


def test_the_same_run_twice_counts_once(capsys, tmp_path):
    folder = write_run(tmp_path, 0.5)
    copy = tmp_path / "zcopy"
    shutil.copytree(folder, copy)
    lines, errors = run_report(capsys, tmp_path)
    assert rows_of(lines)["erm"][:2] == ["0", "50.0"]
    assert errors == f"left out, the same settings and seed as {folder}: {copy}\n"


def test_many_seeds_are_counted(capsys, tmp_path):
    for seed in range(6):
        write_run(tmp_path, 0.5, seed=seed)
    assert rows_of(run_report(capsys, tmp_path)[0])["erm"][0] == "6 seeds"
    assert read_csv(tmp_path)[0]["seeds"] == "0 1 2 3 4 5"


def test_several_log_directories(capsys, tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.7, seed=1)
    lines, _ = run_report(capsys, tmp_path / "a", str(tmp_path / "b"), "-o", str(tmp_path / "c"))
    assert rows_of(lines)["erm"][0] == "0 1" and (tmp_path / "c" / "report.html").exists()


def test_best_in_bold_in_every_format(capsys, tmp_path):
    """Of finished rows; those that are equal share it."""
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sam", desc="a_b")
    write_run(tmp_path, 0.6, method="groupdro")
    write_run(tmp_path, 0.9, method="irm", finished=False)
    lines, _ = run_report(capsys, tmp_path)
    rows = rows_of(lines)
    assert rows["erm"][1] == "50.0" and rows["sam desc=a_b"][1] == rows["groupdro"][1] == "60.0*"
    assert rows["irm (unfinished, 2/200)"][1] == "90.0"
    markdown = (tmp_path / "report" / "tables.md").read_text()
    assert "| sam desc=a_b | 0 | **60.0** |" in markdown and "| erm | 0 | 50.0 |" in markdown
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"sam desc=a\_b & 0 & \textbf{60.0} &" in latex and r"erm & 0 & 50.0 &" in latex
    best = {(r["label"], r["is_best"]) for r in read_csv(tmp_path) if r["severity"] == "0"}
    assert best == {("erm", "0"), ("sam desc=a_b", "1"), ("groupdro", "1"), ("irm", "0")}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<b>60.0</b>") == 2 and "<b>90.0</b>" not in page


def test_unfinished_runs_stand_alone(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.9, seed=1, finished=False)
    write_run(tmp_path, 0.7, seed=2, finished=False)
    lines, _ = run_report(capsys, tmp_path)
    assert [line.split("  ")[0] for line in lines if line.startswith("erm")] == [
        *("erm", "erm (unfinished, 2/200)", "erm (unfinished, 2/200)")
    ]
    states = {(row["seeds"], row["state"]) for row in read_csv(tmp_path)}
    assert states == {("0", "finished"), ("1", "unfinished, 2/200"), ("2", "unfinished, 2/200")}


def test_what_cannot_be_read_is_named_and_left_out(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    (write_run(tmp_path, 0.9) / "settings.json").write_text("{}")
    (write_run(tmp_path, 0.9) / "summary.json").write_text("")
    (write_run(tmp_path, 0.9) / "summary.json").unlink()  # stopped before its first evaluation
    (tmp_path / "evaluation").mkdir()
    evaluation = {"settings": {"eval_only": True, "trained_with": {}}}
    (tmp_path / "evaluation" / "settings.json").write_text(json.dumps(evaluation))
    lines, errors = run_report(capsys, tmp_path)
    assert rows_of(lines).keys() == {"erm"} and rows_of(lines)["erm"][0] == "0"
    assert [line.split(":")[0] for line in errors.splitlines()] == [
        *["left out, cannot be read"] * 2,
        *("left out", "not evaluated yet"),
    ]


def test_a_table_for_each_corruption_and_one_over_all(capsys, tmp_path):
    write_run(tmp_path, 0.5, corruption="fog")
    write_run(tmp_path, 0.6, corruption="fog", method="sam")
    write_run(tmp_path, 0.8, corruption="snow", lr=0.3)
    lines, _ = run_report(capsys, tmp_path)
    titles = [line for line in lines if line.endswith("severities 0 to 1")]
    assert titles[:2] == [f"synthetic, {c}, severities 0 to 1" for c in ("fog", "snow")]
    start = lines.index("worst over severities")
    # snow was run with ERM alone, so that only ERM has an average.
    assert [re.split("  +", line) for line in lines[start + 1 : start + 6]] == [
        ["", "erm", "sam"],
        ["fog", "25.0", "30.0*"],
        ["snow", "40.0", "–"],
        ["average", "32.5", "–"],
        ["the lines differ also in lr"],
    ]
    markdown = (tmp_path / "report" / "tables.md").read_text()
    assert "### worst over severities" in markdown and "| snow | 40.0 | – |" in markdown
    assert "<th>sam</th>" in (tmp_path / "report" / "report.html").read_text()


def test_commits_that_differ_are_told(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sam", commit="b" * 40)
    lines, _ = run_report(capsys, tmp_path)
    assert "runs of different commits: aaaaaaa (erm), bbbbbbb (sam)" in lines


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: None, "is not a folder: name the --log_dir"),
        (lambda folder: folder.mkdir(), "no run that was evaluated lies there"),
    ],
)
def test_nothing_to_report(capsys, tmp_path, make, text):
    make(tmp_path / "logs")
    assert report.main([str(tmp_path / "logs")]) == 2
    error = capsys.readouterr().err
    assert text in error and error.startswith("report.py: error: ") and error.count("\n") == 1
    assert not (tmp_path / "logs" / "report").exists()


class Page(html.parser.HTMLParser):
    """Tags that are opened and closed in order, and what is asked for from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith("data:"):
                self.references.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_needs_nothing_else_and_escapes(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    write_run(tmp_path, 0.5, desc="<b>&|x")
    write_run(tmp_path, 0.6, method="sharpdro")
    run_report(capsys, tmp_path)
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert not page.open and not page.references and page.images == 3
    assert "erm desc=&lt;b&gt;&amp;|x" in text and "<b>&|x" not in text
    assert "erm desc=<b>&\\|x |" in (tmp_path / "report" / "tables.md").read_text()
    pictures = sorted(path.name for path in (tmp_path / "report").glob("*.png"))
    assert pictures == [
        f"synthetic_gaussian_noise_1_{name}.png" for name in ("accuracy", "curves", "weights")
    ]


def test_curves_are_means_over_seeds(tmp_path):
    from sharpdro.report import pictures, runs

    for seed, accuracy in ((0, 0.4), (1, 0.8)):
        write_run(tmp_path, accuracy, seed=seed, method="groupdro")
    (experiment,), _ = runs.experiments_of(runs.read_runs([tmp_path])[0])
    times, values = pictures.learning_curves(experiment)["1"]
    assert times == [1, 2] and values == pytest.approx([15, 30])
    times, values = pictures.weight_curves(experiment)["1"]
    assert times == [0.5, 1, 1.5, 2] and values == pytest.approx([0.1, 0.2, 0.2, 0.4])


def test_without_matplotlib(tmp_path):
    """The tables are written all the same, and how to get pictures is said."""
    write_run(tmp_path / "logs", 0.5)
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none')")
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), str(tmp_path / "logs")]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "pip install -r requirements-plots.txt" in done.stdout
    text = (tmp_path / "logs" / "report" / "report.html").read_text()
    assert "pip install -r requirements-plots.txt" in text and not Page(text).images
    assert not list((tmp_path / "logs" / "report").glob("*.png"))


def test_page_in_a_browser(capsys, tmp_path):
    """Headless Chromium loads it from disk, draws the pictures and has nothing to complain of."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium here")
    pytest.importorskip("matplotlib")
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sharpdro")
    run_report(capsys, tmp_path)
    page = tmp_path / "report" / "report.html"
    # What the page looks like to a script in it, written where --dump-dom shows it.
    probe = (
        "<script>addEventListener('load', () => { document.title = JSON.stringify([...document."
        "images].map(i => [i.complete, i.naturalWidth])) + ' ' + (document.documentElement."
        "scrollWidth <= innerWidth) })</script></body>"
    )
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", probe))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,800", "--dump-dom"]
    done = subprocess.run([*command, probed.as_uri()], capture_output=True, text=True, timeout=120)
    images, fits = re.search("<title>(.*) (true|false)</title>", done.stdout).groups()
    images = json.loads(images)
    assert len(images) == 3 and all(complete and width > 300 for complete, width in images)
    assert fits == "true"  # at a phone's width nothing but tables and pictures scrolls sideways
    assert "CONSOLE" not in done.stderr
