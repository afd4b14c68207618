"""scripts/publish_runs.py on directories made by hand."""

import importlib.util
import json
import re
import shutil

from made_up_runs import run_report, write_run
from running import ROOT

SPEC = importlib.util.spec_from_file_location("publish", ROOT / "scripts" / "publish_runs.py")
publish = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(publish)


def write_finished(log_dir, **settings):
    """With all tables that are copied."""
    folder = write_run(log_dir, 0.5, **settings)
    for table in ("test.csv", "train.csv"):
        (folder / table).write_text("epoch\n1\n")
    return folder


def record(folder, part, name, value):
    """In settings.json."""
    content = json.loads((folder / "settings.json").read_text())
    content.setdefault(part, {})[name] = value
    (folder / "settings.json").write_text(json.dumps(content))


def test_copies_are_small_and_give_the_same_report(tmp_path, capsys):
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        folder = write_run(tmp_path / "logs", accuracy, method="sharpdro", seed=seed)
        (folder / "test.csv").write_text(f"epoch,severity,loss,accuracy,count\n{seed},0,,,\n")
        (folder / "train.csv").write_text(
            "epoch,step,weight_0,weight_1\n1,100,.5,.5\n1,150,.6,.4\n2,100,.7,.3\n2,150,.8,.2\n"
        )
        content = json.loads((folder / "settings.json").read_text())
        words = "/home/me/bin/python3.11 main.py --desc a/b --data_dir '/home/my files/x'"
        content["environment"]["command"] = f"{words} --log_dir=/home/me/logs/"
        content["settings"] |= {"data_dir": "/home/my files/x", "log_dir": "/home/me/logs"}
        content["environment"]["directory"] = "/home/me"
        (folder / "settings.json").write_text(json.dumps(content))
        (folder / "last.ckpt").write_text("large")
    (folder / "stage1").mkdir()
    (folder / "stage1" / "alignment.csv").write_text("severity,count\n")
    unfinished = write_run(tmp_path / "logs", 0.1, finished=False)
    output = tmp_path / "results"
    assert publish.main([str(tmp_path / "logs"), "-o", str(output)]) == 0
    assert "2 finished runs copied" in capsys.readouterr().out
    (output / "stale").mkdir()
    (output / "stale" / "summary.json").write_text("{}")
    assert publish.main([str(tmp_path / "logs"), "-o", str(output)]) == 0
    assert re.search("also has others, which reports count, too: stale$", capsys.readouterr().out)
    shutil.rmtree(output / "stale")
    copy = output / folder.name
    assert (copy / "train.csv").read_text() == (
        "epoch,step,weight_0,weight_1\n1,150,.6,.4\n2,150,.8,.2\n"
    )
    assert not (output / unfinished.name).exists()
    names = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    tables = {"train.csv", "val.csv", "test.csv", "stage1/alignment.csv"}
    assert names == {"settings.json", "summary.json", *tables}
    for name in names - {"settings.json", "train.csv"}:
        assert (copy / name).read_text() == (folder / name).read_text()
    text = (copy / "settings.json").read_text()
    content = json.loads(text)
    assert "/home" not in text and content["settings"]["data_dir"] == "x"
    command = "python3.11 main.py --desc a/b --data_dir x --log_dir=logs"
    assert content["environment"]["command"] == command
    (unfinished / "settings.json").unlink()
    before, _ = run_report(capsys, tmp_path / "logs")
    after, errors = run_report(capsys, output)
    assert before[:-1] == after[:-1] and not errors  # the last line names the folder


def test_runs_that_their_copies_would_not_tell_apart_are_refused(tmp_path, capsys):
    logs, output = tmp_path / "logs", tmp_path / "results"
    for seed, name in enumerate("ab"):
        folder = write_run(logs, 0.5, seed=seed, pretrained=f"/home/{name}/best.ckpt")
    assert publish.main([str(logs), "-o", str(output)]) == 2
    error = capsys.readouterr().err
    assert f"{folder} differ in --pretrained, /home/a/best.ckpt and /home/b/best.ckpt" in error
    assert error.count("\n") == 1 and not output.exists()


def test_copies_of_runs_from_other_weights_are_told_apart(tmp_path, capsys):
    """By the checksums of their files, of whose paths the last part is kept; in two calls."""
    output = tmp_path / "results"
    for seed, name in enumerate("ab"):
        logs = tmp_path / name
        folder = write_finished(logs, seed=seed, pretrained=f"/home/{name}/best.ckpt")
        record(folder, "data", "pretrained_crc32", f"0000000{name}")
        folder.rename(folder.with_name(f"run_{seed}"))
        assert publish.main([str(logs), "-o", str(output)]) == 0
    capsys.readouterr()
    rows, _ = run_report(capsys, output)
    for name in "ab":
        assert sum(line.startswith(f"erm pretrained_crc32=0000000{name} ") for line in rows) == 1


def test_copy_of_another_run_of_the_same_name_is_not_replaced(tmp_path, capsys):
    output = tmp_path / "results"
    for day in ("Monday", "Tuesday"):
        record(write_finished(tmp_path / day), "environment", "started", day)
    for day, code in (("Monday", 0), ("Tuesday", 2), ("Monday", 0)):
        assert publish.main([str(tmp_path / day), "-o", str(output)]) == code
        content = json.loads((output / "run0" / "settings.json").read_text())
        assert content["environment"]["started"] == "Monday"
    error = capsys.readouterr().err
    assert f"{output / 'run0'} is the copy of another run, started Monday, not Tuesday" in error


def test_what_reports_leave_out_is_not_copied(tmp_path, capsys):
    output = tmp_path / "results"
    for method in ("erm", "unheard_of"):
        folder = write_finished(tmp_path / "logs", method=method)
    assert publish.main([str(tmp_path / "logs"), "-o", str(output)]) == 0
    found = capsys.readouterr()
    assert f"left out: {folder}" in found.err and "1 finished runs copied" in found.out
    assert [path.name for path in output.iterdir()] == ["run0"]


def test_copies_of_runs_by_other_lists_are_told_apart(tmp_path, capsys):
    for seed in (0, 1):
        folder = write_finished(tmp_path / "logs", seed=seed, num_per_class=None)
        (folder / "imagenet30_filelist").mkdir()
        (folder / "imagenet30_filelist" / "imagenet30_val.txt").write_text(str(seed))
    output = tmp_path / "results"
    assert publish.main([str(tmp_path / "logs"), "-o", str(output)]) == 0
    capsys.readouterr()
    before, _ = run_report(capsys, tmp_path / "logs")
    after, _ = run_report(capsys, output)
    assert sum(line.startswith("erm lists=") for line in after) == 2
    assert before[:-1] == after[:-1]


def test_without_finished_runs(tmp_path, capsys):
    write_run(tmp_path / "logs", 0.1, finished=False)
    assert publish.main([str(tmp_path / "logs"), "-o", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert "no finished run lies there" in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_runs_are_not_overwritten_by_their_copies(tmp_path, capsys):
    folder = write_run(tmp_path, 0.5)
    before = (folder / "settings.json").read_text()
    assert publish.main([str(tmp_path), "-o", f"{tmp_path}/x/.."]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert (folder / "settings.json").read_text() == before
