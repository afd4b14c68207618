"""scripts/report.py on directories made by hand."""

import html
import html.parser
import json
import math
import re
import shutil
import subprocess
import sys
import warnings

import pytest
from made_up_runs import report, run_report, write_run
from running import ROOT
from running import rows as csv_rows

from sharpdro.command_line.settings import parse, recorded
from sharpdro.drawing import severity_colours
from sharpdro.methods.specs import METHOD_SETTINGS, OWN_SETTINGS

ENDS = ("worst: ", "runs of", "test images", "for reference", "best of", "no best")


def rows_of(lines):
    """The first table's rows: method, and all that follows."""
    start = next(i for i, line in enumerate(lines) if line.startswith("method"))
    rows = {}
    for line in lines[start + 1 :]:
        if not line or line.startswith(
            ("worst: ", "runs of", "test images", "for reference", "best")
        ):
            break
        label, *cells = re.split(r"  +", line)
        rows[label] = cells
    return rows


def tables_of(log_dir):
    """The tables of runs with which nothing is wrong, without the program around them."""
    runs, remarks = report.read_runs([log_dir])
    experiments, more = report.experiments_of(runs)
    assert not remarks + more
    return report.make_tables(experiments, "best")


def table_rows(log_dir):
    return csv_rows(log_dir / "report" / "tables.csv")


def test_mean_and_deviation_over_seeds(capsys, tmp_path):
    for seed, accuracy in ((10, 0.5), (2, 0.6), (3, 0.64)):
        write_run(tmp_path, accuracy, seed=seed)
    lines, _ = run_report(capsys, tmp_path)
    # Mean of 50, 60, 64 is 58; deviations 8, 2, 6: the root of 104 / 2.
    assert rows_of(lines)["erm"] == [
        *("2 3 10", "58.0 ± 7.2", "29.0 ± 3.6", "43.5 ± 5.4", "29.0 ± 3.6")
    ]
    first = table_rows(tmp_path)[0]
    assert (first["severity"], first["mean"], first["num_seeds"]) == ("0", "58", "3")
    assert float(first["std"]) == pytest.approx(52**0.5, abs=1e-4) and first["is_best"] == "0"
    assert rows_of(run_report(capsys, tmp_path, "--epoch", "last")[0])["erm"][1] == "1.0 ± 0.0"


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({}, {"total_epoch": 3}, ["erm", "erm total_epoch=3"]),
        ({}, {"desc": "other"}, ["erm", "erm desc=other"]),
        ({}, {"seed": 1, "eval_every": 199}, ["erm", "erm eval_every=199"]),
        ({}, {"seed": 1, "eval_every": 200}, ["erm", "erm eval_every=last"]),
        (
            {"eval_every": 200},
            {"eval_every": 100, "total_epoch": 100},
            ["erm", "erm total_epoch=100"],
        ),
        ({}, {"desc": "other", "sampler": "balanced"}, ["erm", "erm sampler=balanced"]),
        ({"lr": 0.3}, {"lr": 0.2}, ["erm lr=0.2", "erm lr=0.3"]),
        (
            {"method": "sharpdro", "seed": 1},  # from before there was such a setting
            {"method": "sharpdro", "sampler": "balanced"},
            ["sharpdro", "sharpdro sampler=balanced"],
        ),
        ({}, {"method": "sam", "total_epoch": 9}, ["erm", "sam total_epoch=9"]),
        ({}, {"method": "sam", "rho": 0.05}, ["erm", "sam"]),
        (
            {"method": "my_module:MyStep", "method_settings": "power=2"},
            {"method": "my_module:MyStep"},
            ["my_module:MyStep", "my_module:MyStep method_settings=power=2"],
        ),
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
    assert list(rows_of(lines)) == labels and not any("±" in line for line in lines[1:])


def test_references_are_told_and_never_the_best(capsys, tmp_path):
    write_run(tmp_path, 0.9, severity_law="worst", desc="run-worst")
    write_run(tmp_path, 0.5, method="sam")
    write_run(tmp_path, 0.4)
    lines, _ = run_report(capsys, tmp_path)
    rows = rows_of(lines)
    assert list(rows) == ["erm", "sam", "erm severity_law=worst"]  # references come last
    assert [cells[1] for cells in rows.values()] == ["40.0", "50.0*", "90.0"]
    (remark,) = (line for line in lines if line.startswith("for reference, not for comparison: "))
    assert "erm severity_law=worst trained on the same images" in remark
    assert remark in (tmp_path / "report" / "tables.md").read_text()


def test_other_seeds_and_places_are(capsys, tmp_path):
    write_run(tmp_path, 0.5, data_dir="a", rho=0.05, method="sam")
    write_run(tmp_path, 0.7, data_dir="b", method="sam", seed=1)  # rho is the default
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert list(rows) == ["sam"] and rows["sam"][0] == "0 1"


def change_settings(folder, **facts):
    """Change what settings.json tells besides the settings."""
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def images(first, foreign=0):
    return {"images_crc32": {"test": [first, "b"]}, "foreign_arrays": foreign}


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        (
            {"environment": {"processes": 2}},
            {"environment": {"processes": 8}},
            ["erm processes=2", "erm processes=8"],
        ),
        (
            {},  # from before there were several
            {"environment": {"processes": 1}, "resumed": [{"processes": 1}, {"processes": 2}]},
            ["erm", "erm processes=1, 2"],
        ),
        (
            {"data": {"pretrained_crc32": "01234567"}},
            {"data": {"pretrained_crc32": "89abcdef"}},
            ["erm pretrained_crc32=01234567", "erm pretrained_crc32=89abcdef"],
        ),
        ({"data": images("a")}, {"data": images("a", foreign=3)}, ["erm", "erm foreign_arrays=3"]),
        (
            {"resumed": [{"changed": {"threads": 1}}]},
            {"resumed": [{"changed": {"on_nan": "skip"}}, {}]},
            ["erm", "erm on_nan=skip"],
        ),
    ],
)
def test_runs_of_other_circumstances_are_not_averaged(capsys, tmp_path, first, second, labels):
    for seed, facts in enumerate((first, second)):
        change_settings(write_run(tmp_path, 0.5, seed=seed), **facts)
    lines, _ = run_report(capsys, tmp_path)
    assert list(rows_of(lines)) == labels and not any("±" in line for line in lines[1:])


def test_runs_measured_on_other_test_images_are_not_averaged(capsys, tmp_path):
    for seed, first in enumerate("aac"):
        change_settings(write_run(tmp_path, 0.5, seed=seed), data=images(first))
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert [cells[0] for cells in rows.values()] in (["0 1", "2"], ["2", "0 1"])
    assert all(re.fullmatch(r"erm test_images=[0-9a-f]{8}", label) for label in rows)


def test_runs_that_did_not_record_their_images_are_averaged_with_a_remark(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    for seed in (1, 2):
        change_settings(write_run(tmp_path, 0.5, seed=seed), data=images("a"))
    lines, _ = run_report(capsys, tmp_path)
    assert [cells[0] for cells in rows_of(lines).values()] == ["0 1 2"]
    assert "test images not recorded, so not compared: erm (seed 0)" in lines
    # Where there are several it may be, it is none of them.
    change_settings(write_run(tmp_path, 0.5, seed=4), data=images("c"))
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert sorted(cells[0] for cells in rows.values()) == ["0", "1 2", "4"]


def test_kernels_threads_do_not_tell_runs_apart_but_unknown_settings_do(capsys, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, 0.5, seed=seed, threads=seed + 1)
    write_run(tmp_path, 0.5, seed=2, threads=1, of_a_later_version="x")
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert [cells[0] for cells in rows.values()] == ["0 1", "2"]
    assert list(rows) == ["erm", "erm of_a_later_version=x"]


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


def test_runs_evaluated_once_are_averaged_whatever_the_number(capsys, tmp_path):
    write_run(tmp_path, 0.5, eval_every=200)
    write_run(tmp_path, 0.7, eval_every=300, seed=1)
    lines, _ = run_report(capsys, tmp_path)
    assert rows_of(lines).keys() == {"erm"} and "eval_every=last" in "".join(lines)
    assert rows_of(lines)["erm"][0] == "0 1"


def test_the_same_run_twice_counts_once(capsys, tmp_path):
    folder = write_run(tmp_path, 0.5)
    copy = tmp_path / "zcopy"
    shutil.copytree(folder, copy)
    lines, errors = run_report(capsys, tmp_path)
    assert rows_of(lines)["erm"][:2] == ["0", "50.0"]
    assert errors == f"left out, the same settings and seed as {folder}: {copy}\n"


def test_the_same_folder_twice_counts_once(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    lines, errors = run_report(capsys, tmp_path, f"{tmp_path}/../{tmp_path.name}")
    assert rows_of(lines)["erm"][:2] == ["0", "50.0"] and errors == ""


def test_run_without_settings_is_named(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    lost = write_run(tmp_path, 0.7, seed=1)
    (lost / "settings.json").unlink()
    (lost / "test.csv").write_text("epoch\n")
    for _ in range(2):  # the second time the folder report/ with its tables lies there, too
        lines, errors = run_report(capsys, tmp_path)
        assert rows_of(lines)["erm"][:2] == ["0", "50.0"]
        assert errors == f"left out, settings.json is missing: {lost}\n"


def test_a_place_that_cannot_be_written_is_named_before_anything_is_read(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        assert report.main([str(tmp_path), "-o", str(output)]) == 2
        found = capsys.readouterr()
        assert found.out == "" and found.err.count("\n") == 1
        assert found.err.startswith(f"report.py: error: {output}: it is not a folder, so nothing")
        assert found.err.endswith("use another one with -o\n")


def test_every_text_says_what_its_numbers_are(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    for given, epoch in (((), "best (by validation)"), (("--epoch", "last"), "last")):
        lines, _ = run_report(capsys, tmp_path, *given)
        about = f"Test accuracy in percent at the {epoch} epoch, mean ± standard deviation"
        assert lines[0].startswith(about) and lines[0].endswith("* marks the best of a column")
        for suffix in ("md", "tex"):
            assert about in (tmp_path / "report" / f"tables.{suffix}").read_text().splitlines()[0]


def test_many_seeds_are_counted(capsys, tmp_path):
    for seed in range(6):
        write_run(tmp_path, 0.5, seed=seed)
    assert rows_of(run_report(capsys, tmp_path)[0])["erm"][0] == "6 seeds"
    assert table_rows(tmp_path)[0]["seeds"] == "0 1 2 3 4 5"


def test_several_log_directories(capsys, tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.7, seed=1)
    lines, _ = run_report(capsys, tmp_path / "a", str(tmp_path / "b"), "-o", str(tmp_path / "c"))
    assert rows_of(lines)["erm"][0] == "0 1" and (tmp_path / "c" / "report.html").exists()


def test_best_in_bold_in_every_format(capsys, tmp_path):
    """Of finished rows; those that are equal share it."""
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sam", model="a_b")
    write_run(tmp_path, 0.6, method="groupdro")
    write_run(tmp_path, 0.9, method="irm", finished=False)
    lines, _ = run_report(capsys, tmp_path)
    rows = rows_of(lines)
    assert rows["erm"][1] == "50.0" and rows["sam model=a_b"][1] == rows["groupdro"][1] == "60.0*"
    assert rows["irm (unfinished, 2/200)"][1] == "90.0"
    markdown = (tmp_path / "report" / "tables.md").read_text()
    assert "| sam model=a_b | 0 | **60.0** |" in markdown and "| erm | 0 | 50.0 |" in markdown
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"sam model=a\_b & 0 & \textbf{60.0} &" in latex and r"erm & 0 & 50.0 &" in latex
    best = {(r["label"], r["is_best"]) for r in table_rows(tmp_path) if r["severity"] == "0"}
    assert best == {("erm", "0"), ("sam model=a_b", "1"), ("groupdro", "1"), ("irm", "0")}
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<b>60.0</b>") == 2 and "<b>90.0</b>" not in page


def test_numbers_that_look_alike_are_marked_alike(capsys, tmp_path):
    for method, accuracy in (("erm", 0.66604), ("sam", 0.66596), ("irm", 0.66549)):
        write_run(tmp_path, accuracy, method=method)
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert [rows[method][1] for method in ("erm", "sam", "irm")] == ["66.6*", "66.6*", "66.5"]
    best = [row["is_best"] for row in table_rows(tmp_path) if row["severity"] == "0"]
    assert best == ["1", "1", "0"]


def test_the_best_is_one_of_the_rows_with_the_most_seeds(capsys, tmp_path):
    """On seed 0 ERM is ahead of IRM, though its mean over two seeds is lower."""
    for seed, erm, sam in ((0, 0.6, 0.5), (1, 0.5, 0.5)):
        write_run(tmp_path, erm, seed=seed)
        write_run(tmp_path, sam, seed=seed, method="sam")
    write_run(tmp_path, 0.59, method="irm")
    lines, _ = run_report(capsys, tmp_path)
    rows = rows_of(lines)
    assert [rows[m][1] for m in ("erm", "sam", "irm")] == ["55.0 ± 7.1*", "50.0 ± 0.0", "59.0"]
    assert "best of each column: among the rows with seeds 0 1" in lines
    write_run(tmp_path, 0.7, method="irm", seed=1)
    lines, _ = run_report(capsys, tmp_path)
    assert rows_of(lines)["irm"][1] == "64.5 ± 7.8*" and not any(
        x.startswith("best") for x in lines
    )
    write_run(tmp_path, 0.9, method="sam", seed=2)
    lines, _ = run_report(capsys, tmp_path)
    assert "no best is marked: rows differ in their seeds or their test images" in lines
    assert not any("*" in line for line in lines[1:])


def test_rows_on_other_test_images_are_not_compared(capsys, tmp_path):
    for method, first in (("erm", "a"), ("sam", "a"), ("irm", "c")):
        accuracy = {"erm": 0.5, "sam": 0.6, "irm": 0.7}[method]
        change_settings(write_run(tmp_path, accuracy, method=method), data=images(first))
    erm = next(label for label in rows_of(run_report(capsys, tmp_path)[0]) if "erm" in label)
    lines, _ = run_report(capsys, tmp_path, "--compare_to", erm)
    assert "no best is marked: rows differ in their seeds or their test images" in lines
    assert not any("*" in line for line in lines[1:])
    start = next(i for i, line in enumerate(lines) if ": difference to erm" in line)
    differences = [re.split(r"  +", line) for line in lines[start + 2 : start + 4]]
    assert [cells[1:3] for cells in sorted(differences)] == [
        ["other test images", "–"],
        ["0", "+10.0"],
    ]


def test_none_is_best_where_all_are_alike(capsys, tmp_path):
    for method in ("erm", "sam"):
        write_run(tmp_path, 0.5, method=method)
    rows = rows_of(run_report(capsys, tmp_path)[0])
    assert rows["erm"] == rows["sam"] == ["0", "50.0", "25.0", "37.5", "25.0"]


def test_unfinished_runs_stand_alone(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.9, seed=1, finished=False)
    write_run(tmp_path, 0.7, seed=2, finished=False)
    lines, _ = run_report(capsys, tmp_path)
    assert [line.split("  ")[0] for line in lines if line.startswith("erm")] == [
        *("erm", "erm (unfinished, 2/200)", "erm (unfinished, 2/200)")
    ]
    states = {(row["seeds"], row["state"]) for row in table_rows(tmp_path)}
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


def overview_of(lines, title):
    """The cells of an overview's columns but the seeds, by label; the heads by "method"."""
    start = next(i for i in range(lines.index(title), len(lines)) if lines[i][:6] == "method")
    cells = []
    for line in lines[start:]:
        cells.append(re.split("  +", line.strip()))
        if len(cells[-1]) != len(cells[0]):
            break
    return {label: numbers for label, _seeds, *numbers in cells[:-1]}


def test_a_table_for_each_corruption_and_one_over_all(capsys, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, 0.5, corruption="fog", seed=seed)
    write_run(tmp_path, 0.6, corruption="fog", method="sam")
    write_run(tmp_path, 0.8, corruption="snow")
    write_run(tmp_path, 0.9, corruption="snow", method="sam", finished=False)
    lines, _ = run_report(capsys, tmp_path)
    titles = [line for line in lines if line.endswith("severities 0 to 1")]
    assert titles == [
        "synthetic, fog, severities 0 to 1",
        "synthetic, snow, severities 0 to 1",
        "synthetic, mean over severities 0 to 1",
        "synthetic, worst of severities 0 to 1",
    ]
    # On snow no run with SAM is finished, so that only ERM has an average.
    assert overview_of(lines, titles[3]) == {
        "method": ["fog", "snow", "average"],
        "erm": ["25.0 ± 0.0", "40.0", "32.5"],
        "sam": ["30.0", "–", "–"],
    }
    markdown = (tmp_path / "report" / "tables.md").read_text()
    assert f"### {titles[3]}" in markdown
    assert "| erm | 1–2 seeds | 25.0 ± 0.0 | 40.0 | 32.5 |\n| sam | 0 | 30.0 | – | – |" in markdown
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"erm & 1–2 seeds & 25.0 $\pm$ 0.0 & 40.0 & 32.5 \\" in latex
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h2>synthetic, worst of severities 0 to 1</h2>" in page and "1–2 seeds" in page


def test_overview_marks_what_its_tables_mark(capsys, tmp_path):
    """Oracles come last, and are no best; averages over the same seeds have a deviation."""
    for corruption, gain in (("gaussian_noise", 0.0), ("snow", 0.2)):
        for seed, more in ((0, 0.0), (1, 0.1)):
            accuracies = {"erm": 0.3 + more, "sam": 0.3 + gain + more}
            for method, accuracy in accuracies.items():
                how = {"method": method, "corruption": corruption, "seed": seed}
                write_run(tmp_path, accuracy + (0.2 - gain) * (method == "erm"), **how)
        write_run(tmp_path, 0.9, corruption=corruption, severity_law="worst")
    lines, _ = run_report(capsys, tmp_path)
    title = "synthetic, worst of severities 0 to 1"
    # Halves of what was given are at the worst severity: 25 and 30, 15 and 20 on the first.
    assert overview_of(lines, title) == {
        "method": ["gaussian_noise", "snow", "average"],
        "erm": ["27.5 ± 3.5*", "17.5 ± 3.5", "22.5 ± 3.5"],
        "sam": ["17.5 ± 3.5", "27.5 ± 3.5*", "22.5 ± 3.5"],
        "erm severity_law=worst": ["45.0", "45.0", "45.0"],
    }
    remarks = lines[lines.index(title) :]
    assert "best of a corruption: as in its own table" in remarks
    assert any(line.startswith("for reference, not for comparison: ") for line in remarks)
    markdown = (tmp_path / "report" / "tables.md").read_text()
    assert "| erm | 0 1 | **27.5 ± 3.5** | 17.5 ± 3.5 | 22.5 ± 3.5 |" in markdown
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"method & seeds & gaussian\_noise & snow & average \\" in latex
    assert r"\textbf{27.5 $\pm$ 3.5}" in latex
    write_run(tmp_path, 0.3, method="sam", corruption="snow", seed=2)
    cells = overview_of(run_report(capsys, tmp_path)[0], title)
    assert cells["erm"][2] == "22.5 ± 3.5" and "±" not in cells["sam"][2]


def test_settings_of_a_method_are_always_told(capsys, tmp_path):
    """Also where it is the only row that has them; others where rows differ, or above all."""
    write_run(tmp_path, 0.5, lr=0.3)
    write_run(tmp_path, 0.6, lr=0.3, method="sharpdro", rho=0.5, step_size=0.01, is_adaptive=True)
    lines, _ = run_report(capsys, tmp_path)
    assert list(rows_of(lines)) == ["erm", "sharpdro is_adaptive=True rho=0.5"]
    assert lines[3] == "lr=0.3"
    write_run(tmp_path / "b", 0.6, method="sam", rho=0.5)
    lines, _ = run_report(capsys, tmp_path / "b")
    assert list(rows_of(lines)) == ["sam rho=0.5"] and lines[3].startswith("method")


def test_long_labels_leave_room_for_the_picture(pictures, tmp_path):
    """matplotlib warns, and draws nothing, where a legend takes the whole width."""
    for number in range(8):
        desc = f"{number}" + "a long description " * 3 + "x" * 90
        write_run(tmp_path, 0.5, desc=desc, method="groupdro", step_size=0.5, lr=1 / (3 + number))
    (table,) = tables_of(tmp_path)
    for draw in report.pictures.pictures_of(table, "best").values():
        figure = draw()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.draw_without_rendering()
        inches = [panel.get_window_extent().width / figure.dpi for panel in figure.axes]
        assert min(inches) > 1.5
        for legend in figure.legends:
            assert legend.get_window_extent().height < figure.bbox.height


def test_legend_names_the_curves_of_all_panels(pictures, tmp_path):
    write_run(tmp_path, 0.5, method="groupdro")
    training = write_run(tmp_path, 0.5, method="eiil") / "train.csv"
    training.write_text(training.read_text().replace("weight_", "inferred_weight_"))
    (table,) = tables_of(tmp_path)
    (legend,) = report.pictures.pictures_of(table, "best")["weights"]().legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "0",
        "1",
        "inferred 0",
        "inferred 1",
    ]


def test_overview_joins_by_settings_not_by_labels(capsys, tmp_path):
    """Each of the two rhos is the only one in its table, and so is each learning rate."""
    for corruption, rho, lr in (("fog", 0.05, 0.1), ("snow", 0.5, 0.2)):
        write_run(tmp_path, 0.5, corruption=corruption, method="sam", rho=rho)
        write_run(tmp_path, 0.5, corruption=corruption, lr=lr)
        write_run(tmp_path, 0.5, corruption=corruption, method="vrex", vrex_beta=3.0)
    cells = overview_of(run_report(capsys, tmp_path)[0], "synthetic, worst of severities 0 to 1")
    rows = ["erm", "erm lr=0.2", "sam", "sam rho=0.5", "vrex vrex_beta=3.0"]
    assert list(cells)[1:] == rows
    assert [cells[row][2] for row in rows] == ["–", "–", "–", "–", "25.0"]


def test_overview_keeps_rows_apart_that_differ_in_test_images_alone(capsys, tmp_path):
    for seed, first, accuracy in ((0, "a", 0.5), (1, "c", 0.6)):
        folder = write_run(tmp_path, accuracy, corruption="fog", seed=seed)
        change_settings(folder, data=images(first))
    write_run(tmp_path, 0.7, corruption="snow")
    cells = overview_of(run_report(capsys, tmp_path)[0], "synthetic, worst of severities 0 to 1")
    heads, *rows = cells.values()
    assert heads == ["fog", "snow", "average"] and all(x.startswith("erm") for x in [*cells][1:])
    assert sorted(rows) == [["25.0", "–", "–"], ["30.0", "–", "–"], ["–", "35.0", "–"]]


def test_no_average_over_datasets_or_numbers_of_severities(capsys, tmp_path):
    for dataset in ("cifar10", "cifar100"):
        for corruption in ("fog", "snow"):
            write_run(tmp_path, 0.5, dataset=dataset, corruption=corruption)
    write_run(tmp_path, 0.9, dataset="cifar10", corruption="fog", num_severity=2)
    lines, _ = run_report(capsys, tmp_path)
    assert [line for line in lines[1:] if " over severities " in line] == [
        f"{dataset}, mean over severities 0 to 1" for dataset in ("cifar10", "cifar100")
    ]
    overviews = (i for i, line in enumerate(lines) if line.split()[-1:] == ["average"])
    assert [lines[i + 1].split()[-1] for i in overviews] == ["37.5", "25.0", "37.5", "25.0"]


def test_photographs_of_frost_belong_to_the_corruption(capsys, tmp_path):
    """main.py takes --frost_dir for frost alone: it would part frost from all the others."""
    write_run(tmp_path, 0.5, corruption="fog")
    write_run(tmp_path, 0.7, corruption="frost", frost_dir="photos")
    lines, _ = run_report(capsys, tmp_path)
    title = "synthetic, worst of severities 0 to 1"
    assert overview_of(lines, title)["erm"] == ["25.0", "35.0", "30.0"]
    assert "frost: frost_dir=photos" in lines
    write_run(tmp_path, 0.9, corruption="frost")
    cells = overview_of(run_report(capsys, tmp_path)[0], title)
    rows = [("erm", ["25.0", "45.0*", "35.0"]), ("erm frost_dir=photos", ["–", "35.0", "–"])]
    assert list(cells.items())[1:] == rows


# In what runs that are averaged may differ: the seed, where and how they were run. The method and
# its variant have tests of their own.
FREE = {
    *(
        "seed",
        "data_dir",
        "log_dir",
        "num_workers",
        "device_target",
        "show_progress",
        "tensorboard",
    ),
    *("resume", "dry_run", "save_step", "filelist_dir", "method", "distribution_agnostic"),
    "threads",
}
FREE |= {"save_logits", "on_rows", "eval_only"}  # the latter of runs that are no trainings


def all_settings():
    """What main.py records, by name: a method that has the setting, and its value."""
    found = {}
    for method in ("erm", "sam", "groupdro", "irm", "vrex", "jtt", "eiil"):
        settings = recorded(parse(["--method", method]))
        found = {**{name: (method, value) for name, value in settings.items()}, **found}
    settings = recorded(parse(["--method", "sharpdro", "--distribution_agnostic"]))
    return {"ood_score": ("sharpdro", settings["ood_score"]), **found}


SETTINGS = {name: found for name, found in all_settings().items() if name not in FREE}


def write_two(folder, name, **others):
    """Runs of two seeds that differ in one setting alone; `others` are those of the second."""
    method, value = SETTINGS[name]
    other = {"dataset": "cifar10", "corruption": "fog", "num_severity": 2}.get(name, "other")
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, (int, float)) and name != "num_severity":
        other = value + 1
    same = {"method": method, "distribution_agnostic": name == "ood_score"}
    write_run(folder, 0.5, **same)
    write_run(folder, 0.7, **same, **{"seed": 1, **others, name: other})


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_runs_that_differ_in_one_setting_are_not_averaged(tmp_path, name):
    write_two(tmp_path, name)
    tables = tables_of(tmp_path)
    rows = [row for table in tables for row in table.rows]
    assert len(rows) == 2 and not any(row.stds for row in rows)
    if name in ("dataset", "corruption", "num_severity"):
        assert len(tables) == 2
    else:
        assert len(tables) == 1 and any(f" {name}=" in row.label for row in rows)


@pytest.mark.parametrize(
    "name", sorted(SETTINGS.keys() - {"dataset", "corruption", "num_severity", "frost_dir"})
)
def test_nor_are_they_over_corruptions(tmp_path, name):
    write_two(tmp_path, name, corruption="fog")
    mean, worst = report.make_overviews(tables_of(tmp_path))
    for overview in (mean, worst):
        labels = {row.label for row in overview.rows}
        assert len(labels) == 2 and f" {name}=" in "".join(labels)
        assert [row.cell("average") for row in overview.rows] == ["–", "–"]


def test_words_of_earlier_versions_do_not_part_runs(tmp_path):
    write_run(tmp_path, 0.5, data_sink=True, scheduler=True)
    write_run(tmp_path, 0.7, seed=1)
    ((row,),) = (table.rows for table in tables_of(tmp_path))
    assert row.stds


def test_settings_that_are_compared():
    """So that the tests above cannot become empty."""
    assert {"num_test", "lr", "rho", "jtt_epochs", "ood_score", "sampler"} < SETTINGS.keys()
    assert SETTINGS.keys() > METHOD_SETTINGS - {OWN_SETTINGS} and len(SETTINGS) > 30


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("summary", lambda c: c.pop("total_epoch"), "'total_epoch' is missing"),
        ("summary", lambda c: c["best"]["test"].pop("1"), "best epoch: severity 1 is missing"),
        ("summary", lambda c: c["last"]["test"].update({"2": {}}), "there is no severity '2'"),
        ("summary", lambda c: c["best"]["test"]["0"].update(accuracy="0.5"), "not supported"),
        (
            "summary",
            lambda c: c["best"]["test"]["0"].update(accuracy=math.nan),
            "best epoch: nan is no accuracy",
        ),
        (
            "summary",
            lambda c: c["best"]["test"]["0"].update(accuracy=True),
            "best epoch: True is no accuracy",
        ),
        ("summary", lambda c: c["last"]["test"]["0"].update(ece=1.5), "last epoch: ece is 1.5"),
        ("summary", lambda c: c["best"]["test"]["1"].update(loss=math.inf), "loss is inf"),
        ("summary", lambda c: c["best"]["test"]["1"].update(loss="1"), "bad operand type"),
        ("settings", lambda c: c["environment"].update(processes="x"), "processes is 'x'"),
        ("settings", lambda c: c.update(resumed=3), "must be an iterable"),
        ("settings", lambda c: c.update(data={"foreign_arrays": []}), "foreign_arrays is []"),
        ("settings", lambda c: c.update(data={"images_crc32": {"test": 3}}), "not iterable"),
        ("summary", lambda c: c.update(finished="no"), "finished is 'no'"),
        ("settings", lambda c: c["settings"].pop("seed"), "'seed' is missing"),
        ("settings", lambda c: c["settings"].update(seed="0"), "seed is '0'"),
        ("settings", lambda c: c["settings"].update(eval_every="1"), "eval_every is '1'"),
        ("settings", lambda c: c["settings"].update(method="x/y"), "unknown method 'x/y'"),
        (
            "settings",
            lambda c: c["settings"].update(corruption="../x"),
            "unknown corruption '../x'",
        ),
        ("settings", lambda c: c["settings"].update(dataset=["x"]), "unhashable"),
        ("settings", lambda c: c.update(settings=[]), "no attribute"),
    ],
)
def test_a_broken_run_is_named_with_its_file(tmp_path, name, change, text):
    folder = write_run(tmp_path, 0.5)
    path = write_run(tmp_path, 0.7, seed=1, finished=False) / f"{name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    runs, (remark,) = report.read_runs([tmp_path])
    assert [run.folder for run in runs] == [folder]
    assert remark.startswith(f"left out, cannot be read: {path}: ") and text in remark


def test_a_run_of_what_is_not_registered_here_is_not_called_broken(tmp_path):
    folder = write_run(tmp_path, 0.5, dataset="mine")
    runs, (remark,) = report.read_runs([tmp_path])
    assert not runs and remark.startswith(f"left out: {folder} has the dataset 'mine', which is ")
    assert "register the dataset in dataset/specs.py" in remark


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("val.csv", lambda t: t.replace("severity", "sev"), ": there is no column severity"),
        ("val.csv", lambda t: t + "2,0\n", ": line 10: 2 cells instead of 5"),
        (
            "val.csv",
            lambda t: t + "2,0,1,x,9\n",
            ": line 10: could not convert string to float: 'x'",
        ),
        ("val.csv", lambda t: t + "2,7,1,1,9\n", ": line 10: there is no severity '7'"),
        ("val.csv", lambda t: t.splitlines()[0] + "\n", ": no epoch is in it"),
        ("val.csv", None, ": there is no such file"),
        ("train.csv", lambda t: "x\n" + t, ": line 2: 4 cells instead of 1"),
        ("train.csv", lambda t: t + "\n", ": line 6: 2 cells instead of 4"),
        ("train.csv", lambda t: t + "0,1,1\n", ": line 6: epochs and steps count from 1"),
        ("train.csv", lambda t: t.replace("weight", "w"), ": there are no group weights"),
        ("train.csv", None, ": there is no such file"),
    ],
)
def test_broken_curves_cost_nothing_but_themselves(tmp_path, name, change, text):
    """The results of a finished run, its other curves and those of the other run stay."""
    paths = [write_run(tmp_path, 0.5, method="sharpdro", seed=s) / name for s in (0, 1)]
    for number, path in enumerate(paths, 1):
        path.unlink() if change is None else path.write_text(change(path.read_text()))
        runs, remarks = report.read_runs([tmp_path])
        assert remarks == [f"no curves from {path}{text}" for path in paths[:number]]
        (table,) = report.make_tables(report.experiments_of(runs)[0], "best")
        assert table.rows[0].first_cells == ["sharpdro", "0 1"]
        drawn = {"accuracy", "curves", "weights"}
        if number == 2:
            drawn.remove({"val.csv": "curves", "train.csv": "weights"}[name])
        assert report.pictures.pictures_of(table, "best").keys() == drawn


def test_broken_curves_are_told(pictures, capsys, tmp_path):
    path = write_run(tmp_path, 0.5) / "val.csv"
    path.write_text("epoch,sev,loss,accuracy,count\n1,0,1,1,9\n")
    _, error = run_report(capsys, tmp_path)
    assert error == f"no curves from {path}: there is no column severity\n"
    page = (tmp_path / "report" / "report.html").read_text()
    assert html.escape(error.strip()) in page and Page(page).images == 1


def test_a_broken_train_csv_of_a_run_on_its_way(capsys, tmp_path):
    """It is then as far as its summary says."""
    folder = write_run(tmp_path, 0.5, finished=False)
    (folder / "train.csv").write_text("epoch,step\n3,1\nx\n")
    lines, error = run_report(capsys, tmp_path)
    assert list(rows_of(lines)) == ["erm (unfinished, 2/200)"]
    assert error == f"no curves from {folder}/train.csv: line 3: 1 cells instead of 2\n"


def test_a_picture_that_fails_costs_nothing_else(pictures, capsys, monkeypatch, tmp_path):
    """Tables are on disk before the first picture; a picture of an earlier report goes."""
    write_run(tmp_path, 0.5)
    run_report(capsys, tmp_path)

    def fail(rows):
        assert (tmp_path / "report" / "tables.tex").exists()
        raise ValueError("no & picture")

    for path in (tmp_path / "report").glob("tables.*"):
        path.unlink()
    monkeypatch.setattr(report.pictures, "draw_curves", fail)
    _, error = run_report(capsys, tmp_path)
    assert error == (
        "not drawn: synthetic_gaussian_noise_1_curves.png (ValueError('no & picture'))\n"
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert Page(page).images == 1 and html.escape(error.strip()) in page
    assert [path.stem for path in (tmp_path / "report").glob("*.png")] == [
        "synthetic_gaussian_noise_1_accuracy"
    ]


def test_pictures_of_an_earlier_report_are_told(pictures, capsys, tmp_path):
    write_run(tmp_path / "logs", 0.5)
    write_run(tmp_path / "more", 0.5, corruption="fog")
    write_run(tmp_path / "more", 0.6, corruption="frost")
    output = tmp_path / "report"
    assert run_report(capsys, tmp_path / "more", "-o", str(output))[1] == ""
    _, error = run_report(capsys, tmp_path / "logs", "-o", str(output))
    names = (f"synthetic_{c}_1_{p}.png" for c in ("fog", "frost") for p in ("accuracy", "curves"))
    assert error == f"not from this report, although in {output}: {' '.join(names)}\n"
    assert len(list(output.glob("*.png"))) == 6


def texts_of(figure):
    """What is to be read in a figure, and whether it is taken for formulas."""
    from matplotlib.text import Text

    return {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}


def test_labels_are_drawn_as_they_are(pictures, capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, model=r"a_$\foo$")
    _, error = run_report(capsys, tmp_path)
    assert not error and len(list((tmp_path / "report").glob("*.png"))) == 2
    found, _ = report.experiments_of(report.read_runs([tmp_path])[0])
    (table,) = report.make_tables(found, "best")
    figures = {n: draw() for n, draw in report.pictures.pictures_of(table, "best").items()}
    assert texts_of(figures["accuracy"])[r"erm model=a_$\foo$"] is False
    assert texts_of(figures["curves"])[r"erm model=a_$\foo$"] is False


def test_commits_that_differ_are_told(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sam", commit="b" * 40)
    lines, _ = run_report(capsys, tmp_path)
    assert "runs of different commits: aaaaaaa (erm), bbbbbbb (sam)" in lines
    resumed = [{"git_commit": "a" * 40}, {"git_commit": "c" * 40}]
    change_settings(write_run(tmp_path, 0.5, seed=1), resumed=resumed)
    lines, _ = run_report(capsys, tmp_path)
    assert "runs of different commits: aaaaaaa (erm), bbbbbbb (sam), ccccccc (erm)" in lines


@pytest.mark.parametrize(
    ("commits", "remark"),
    [
        (
            ("a" * 40, "a" * 40 + "-dirty"),
            "runs of different commits: aaaaaaa (erm), aaaaaaa-dirty",
        ),
        (
            [f"v0.1.0-{n}-g{digit * 40}" for n, digit in enumerate("ab")],
            "runs of different commits: aaaaaaa (erm), bbbbbbb (sam)",
        ),
        (["a" * 40, f"v0.1-3-g{'a' * 40}"], None),
        (
            ["a" * 40 + "-dirty"] * 2,
            "runs of a program with changes that no commit has: aaaaaaa-dirty (erm, sam)",
        ),
    ],
    ids=["one changed", "after a tag", "the same", "all changed"],
)
def test_changed_programs_and_commits_after_a_tag_are_told_apart(capsys, tmp_path, commits, remark):
    for method, commit in zip(("erm", "sam"), commits):
        write_run(tmp_path, 0.5, method=method, commit=commit)
    lines, _ = run_report(capsys, tmp_path)
    found = [line for line in lines if line.startswith("runs of ")]
    assert len(found) == (remark is not None) and all(line.startswith(remark) for line in found)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: None, "is not a folder: name the --log_dir"),
        (lambda folder: folder.mkdir(), "no run that was evaluated lies there"),
        (lambda folder: write_run(folder.parent, 0.5).rename(folder), "logs is a run itself"),
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
        if tag not in ("meta", "img", "input", "wbr"):
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith("data:"):
                self.references.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_needs_nothing_else_and_escapes(pictures, capsys, tmp_path):
    write_run(tmp_path, 0.5, model="<b>&|x")
    write_run(tmp_path, 0.6, method="sharpdro")
    run_report(capsys, tmp_path)
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert not page.open and not page.references and page.images == 3
    assert "erm model=&lt;b&gt;&amp;|x" in text and "<b>&|x" not in text
    assert "erm model=\\<b>&\\|x |" in (tmp_path / "report" / "tables.md").read_text()
    names = sorted(path.name for path in (tmp_path / "report").glob("*.png"))
    assert names == [
        f"synthetic_gaussian_noise_1_{name}.png" for name in ("accuracy", "curves", "weights")
    ]


def test_page_has_what_matters_where_a_narrow_screen_shows_it(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.6, method="sam", rho=0.5)
    write_run(tmp_path, 0.7, method="sam", rho=0.5, total_epoch=3, finished=False)
    run_report(capsys, tmp_path, "--compare_to", "erm")
    text = (tmp_path / "report" / "report.html").read_text()
    tables = re.findall(r"<table>(.*?)</table>(?:</div><ol.*?>(.*?)</ol>)?", text, re.DOTALL)
    (results, settings), (differences, _), _ = tables
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in results.split("</tr>")[:4]]
    assert cells == [
        ["method", "mean", "worst", "0", "1", "seeds"],
        ["erm", "37.5", "25.0", "50.0", "25.0", "0"],
        ["sam<sup>1</sup>", *("<b>45.0</b>", "<b>30.0</b>", "<b>60.0</b>", "<b>30.0</b>"), "0"],
        ["sam<sup>2</sup> (unfinished, 2/200)", "52.5", "35.0", "70.0", "35.0", "0"],
    ]
    assert settings == "<li>sam rho=0.5</li><li>sam rho=0.5 total_epoch=3</li>"
    assert re.findall(r"<t[hd].*?>(.*?)</t[hd]>", differences)[:3] == ["method", "mean", "worst"]


@pytest.mark.parametrize("count", [1, 2, 6])
def test_colours_of_severities_can_be_seen_on_white(count):
    """Contrast as the Web Content Accessibility Guidelines define it: 3 for graphics."""
    pytest.importorskip("matplotlib")
    colours = severity_colours(count)
    assert len({*colours}) == count
    for *channels, _ in colours:
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear))
        assert 1.05 / (luminance + 0.05) >= 3


def test_a_single_evaluation_is_no_curve(tmp_path):
    for seed in (0, 1):
        table = write_run(tmp_path, 0.5, seed=seed, method="groupdro") / "val.csv"
        table.write_text("".join(table.read_text().splitlines(True)[:5]))  # of epoch 1
    (table,) = tables_of(tmp_path)
    assert list(report.pictures.pictures_of(table, "best")) == ["accuracy", "weights"]


def test_curves_are_means_over_seeds(tmp_path):
    from sharpdro.report import curves, runs

    for seed, accuracy in ((0, 0.4), (1, 0.8)):
        write_run(tmp_path, accuracy, seed=seed, method="groupdro")
    found, remarks = runs.read_runs([tmp_path])
    assert not remarks
    times, values = curves.mean_curves([run.validation for run in found])["1"]
    assert times == [1, 2] and values == pytest.approx([15, 30])
    times, values = curves.mean_curves([run.weights for run in found])["1"]
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


def test_differences_are_paired_by_seed(capsys, tmp_path):
    """By hand: differences 2, 4, 9 have mean 5, standard deviation √13, error √13/√3 = 2.0817.

    With two degrees of freedom t is 4.30265, so the half width is 8.957: [−4.0, 14.0].
    """
    for seed, erm, sam in ((0, 0.5, 0.52), (1, 0.7, 0.74), (2, 0.2, 0.29), (3, 0.3, None)):
        write_run(tmp_path, erm, seed=seed)
        if sam is not None:
            write_run(tmp_path, sam, seed=seed, method="sam")
    write_run(tmp_path, 0.4, seed=3, method="groupdro")
    write_run(tmp_path, 0.4, seed=9, method="irm")
    write_run(tmp_path, 0.4, seed=0, method="vrex", finished=False)
    lines, _ = run_report(capsys, tmp_path, "--compare_to", "erm")
    start = next(i for i, line in enumerate(lines) if line.endswith(": difference to erm"))
    cells = {label: rest for label, *rest in (re.split(r"  +", x) for x in lines[start + 2 :])}
    assert cells["sam"][:2] == ["0 1 2", "+5.0 [-4.0, 14.0]"]
    assert cells["groupdro"][:2] == ["3", "+10.0"]
    assert cells["irm"][0] == "none"
    assert "erm" not in cells and not any(label.startswith("vrex") for label in cells)
    assert "difference to erm" in (tmp_path / "report" / "report.html").read_text()
    assert report.main([str(tmp_path), "--compare_to", "ern"]) == 2
    error = capsys.readouterr().err
    expected = "invalid choice: 'ern', did you mean erm? (choose from erm, groupdro, irm, sam)"
    assert f"--compare_to: {expected}" in error


def test_tables_without_the_row_to_compare_with_say_so(capsys, tmp_path):
    for corruption, finished in (("fog", True), ("snow", False)):
        own = {"corruption": corruption}
        write_run(tmp_path, 0.5, finished=finished, **own)
        write_run(tmp_path, 0.6, method="sam", **own)
    lines, _ = run_report(capsys, tmp_path, "--compare_to", "erm")
    assert "none: of its rows, finished are sam" in lines
    assert sum(": difference to erm" in line for line in lines) == 2


def test_there_is_nothing_to_compare_with_before_a_run_is_finished(capsys, tmp_path):
    write_run(tmp_path, 0.5, finished=False)
    assert report.main([str(tmp_path), "--compare_to", "erm"]) == 2
    assert "--compare_to erm: no run is finished: leave it out" in capsys.readouterr().err


def add_calibration(folder, nll, ece, worst_class):
    """At the best epoch: these at severity 0 and the mean, twice as much at 1, the worst."""
    path = folder / "summary.json"
    content = json.loads(path.read_text())
    for severity, factor in {"0": 1, "mean": 1, "1": 2, "worst": 2}.items():
        content["best"]["test"][severity] |= {
            **{"loss": factor * nll, "ece": factor * ece},
            **{"worst_class_accuracy": factor * worst_class, "count": 9},
        }
    path.write_text(json.dumps(content))


ROWS = ("mean", "worst")
CALIBRATION = "synthetic, gaussian_noise, severities 0 to 1: calibration and worst class"


def test_calibration_in_every_format(capsys, tmp_path):
    """By hand: 1.0 and 1.2 have mean 1.1 and deviation 0.2 / √2; percent for what is a share."""
    add_calibration(write_run(tmp_path, 0.5), 1.0, 0.1, 0.2)
    add_calibration(write_run(tmp_path, 0.6, seed=1), 1.2, 0.12, 0.1)
    for seed in (0, 1):
        add_calibration(write_run(tmp_path, 0.7, method="sam", seed=seed), 1.3, 0.05, 0.16)
    add_calibration(write_run(tmp_path, 0.9, method="irm", finished=False), 0.1, 0.01, 0.4)
    lines, _ = run_report(capsys, tmp_path)
    start = lines.index(CALIBRATION)
    rows = [re.split(r"  +", line) for line in lines[start + 1 : start + 5]]
    titles = [f"{name} ({row})" for name in ("NLL", "ECE", "worst class") for row in ROWS]
    assert rows[0] == ["method", "seeds", *titles]
    # The lowest of the first four is the best, the highest of the others.
    assert rows[1] == [
        *("erm", "0 1", "1.10 ± 0.14*", "2.20 ± 0.28*", "11.0 ± 1.4", "22.0 ± 2.8"),
        *("15.0 ± 7.1", "30.0 ± 14.1"),
    ]
    assert rows[2] == [
        *("sam", "0 1", "1.30 ± 0.00", "2.60 ± 0.00", "5.0 ± 0.0*", "10.0 ± 0.0*"),
        *("16.0 ± 0.0*", "32.0 ± 0.0*"),
    ]
    assert rows[3][0] == "irm (unfinished, 2/200)" and "*" not in "".join(rows[3])
    assert lines[start + 5].startswith("NLL: negative log-likelihood (the loss) in nats; ECE: exp")
    assert rows_of(lines)["erm"][1] == "55.0 ± 7.1"  # the accuracies still come first

    folder = tmp_path / "report"
    markdown = (folder / "tables.md").read_text()
    assert f"### {CALIBRATION}\n\n| method | seeds | NLL (mean) |" in markdown
    assert (
        "| erm | 0 1 | **1.10 ± 0.14** |" in markdown
        and "| **5.0 ± 0.0** | **10.0 ± 0.0** |" in markdown
    )
    latex = (folder / "tables.tex").read_text()
    assert r"erm & 0 1 & \textbf{1.10 $\pm$ 0.14} & " in latex and f"% {CALIBRATION}" in latex
    page = (folder / "report.html").read_text()
    assert f"<h3>{CALIBRATION}</h3>" in page and "<td><b>1.10 ± 0.14</b></td>" in page
    assert not Page(page).open
    (line,) = (r for r in table_rows(tmp_path) if r["label"] == "erm" and r["severity"] == "1")
    assert line["calibration_seeds"] == "0 1" and line["nll_mean"] == "2.2"
    assert float(line["nll_std"]) == pytest.approx(0.4 / 2**0.5, rel=1e-5)
    assert (line["ece_mean"], line["worst_class_mean"]) == ("22", "30")
    assert line["mean"] == "27.5"  # as ever


def test_runs_that_lack_calibration_are_not_in_its_table(capsys, tmp_path):
    write_run(tmp_path, 0.5)  # of an earlier version
    add_calibration(write_run(tmp_path, 0.6, seed=1), 1.2, 0.12, 0.1)
    write_run(tmp_path, 0.7, method="sam")
    write_run(tmp_path, 0.7, corruption="snow")
    lines, _ = run_report(capsys, tmp_path)
    assert rows_of(lines)["erm"][0] == "0 1"
    assert [line for line in lines if line.endswith("worst class")] == [CALIBRATION]
    start = lines.index(CALIBRATION)
    assert re.split(r"  +", lines[start + 2])[:3] == ["erm", "1", "1.20"]
    assert lines[start + 3].startswith("NLL: ")
    found = {(r["label"], r["corruption"]): r["calibration_seeds"] for r in table_rows(tmp_path)}
    assert set(found.items()) == {
        *((("erm", "gaussian_noise"), "1"), (("sam", "gaussian_noise"), "")),
        (("erm", "snow"), ""),
    }
    # At the last epoch nobody has it.
    lines, _ = run_report(capsys, tmp_path, "--epoch", "last")
    assert not any("calibration" in line for line in lines)


EVIL = "x\n\\input{/etc/passwd}\r\x1b[2J|<script>alert(1)</script>[a](http://b)`c`$\u2028y"


def test_texts_of_files_are_no_commands_in_any_output(capsys, tmp_path):
    """As a label, as what all runs share, as a commit and in an overview."""
    for corruption in ("fog", "snow"):
        for seed, commit in enumerate(("\n\\end|", "\n<b>`\r|")):
            write_run(tmp_path, 0.5, commit=commit, seed=seed, corruption=corruption, shared=EVIL)
        write_run(tmp_path, 0.5, desc=EVIL, corruption=corruption, shared=EVIL)
    lines, errors = run_report(capsys, tmp_path)
    text = "\n".join(lines)
    assert "desc=x\\n\\input{/etc/passwd}\\r\\x1b[2J|<script>" in text
    assert all(line.isprintable() for line in [*lines, *errors.splitlines()])
    folder = tmp_path / "report"
    latex = (folder / "tables.tex").read_text().split("\n")
    assert any(r"desc=x\textbackslash{}n\textbackslash{}input\{/etc/passwd\}" in x for x in latex)
    for line in latex:
        assert line.isprintable()
        assert line.startswith("%") or not re.search(r"\\input|\\end(?!\{tabular\})", line), line
    markdown = (folder / "tables.md").read_text().split("\n")
    assert any(r"\<script>" in line for line in markdown)
    for line in markdown:
        assert line.isprintable() and not re.search(r"(?<!\\)[<`\[]", line), line
    heads = [line for line in markdown if line.startswith("| method")]
    rows = [line for line in markdown if line.startswith("| erm")]
    cells = {len(re.split(r"(?<!\\)\|", line)) for line in [*heads, *rows]}
    assert len(heads) == 4 and len(rows) == 8 and len(cells) == 2
    page = (folder / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_the_column_worst_is_explained_in_every_format(capsys, tmp_path):
    """Two seeds whose worst severities differ: the mean of both, not the lowest of the means."""
    for seed, accuracies in ((0, (0.2, 0.8)), (1, (0.6, 0.4))):
        folder = write_run(tmp_path, 0.5, seed=seed)
        summary = json.loads((folder / "summary.json").read_text())
        test = summary["best"]["test"]
        for name, accuracy in zip(("0", "1", "worst"), (*accuracies, min(accuracies))):
            test[name]["accuracy"] = accuracy
        (folder / "summary.json").write_text(json.dumps(summary))
    lines, _ = run_report(capsys, tmp_path)
    assert rows_of(lines)["erm"][-1] == "30.0 ± 14.1" and rows_of(lines)["erm"][1][:4] == "40.0"
    sentence = "worst: the mean over seeds of each seed's worst severity"
    assert sentence in lines
    for suffix in ("md", "tex"):
        assert sentence in (tmp_path / "report" / f"tables.{suffix}").read_text()
    page_text = html.unescape((tmp_path / "report" / "report.html").read_text())
    assert sentence in page_text
