"""--on_rows: the example of sharpdro/run_folder/README.md as written, with a stub of wandb."""

import re
import sys
import types

import pytest
from running import ROOT, assert_refused, rows

import main
from sharpdro.run_folder.tracker import Tracker

README = (ROOT / "sharpdro" / "run_folder" / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
FLAGS = (
    *("-d", "synthetic", "-n", "20", "--num_severity", "2", "-b", "40", "--total_epoch", "2"),
    *("--num_val", "6", "--num_test", "5", "--method", "jtt", "--jtt_epochs", "1"),
    *("--depth", "10", "--widen_factor", "1"),
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with modules."""
    (tmp_path / "tracking.py").write_text(EXAMPLE)
    (tmp_path / "bad_tracking.py").write_text("number = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("tracking", "bad_tracking"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


class Wandb(types.ModuleType):
    """What a tracker was told: {name: (settings, logged dictionaries)}."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = {}

    def init(self, project, name, config, reinit):
        logged = []
        self.runs[name] = config, logged
        return types.SimpleNamespace(log=logged.append)


@pytest.mark.slow
def test_tracker_has_what_the_tables_have(folder, monkeypatch):
    """Of both stages of jtt; and all of it again for a run that is resumed."""
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert main.main([*FLAGS, "--on_rows", "tracking:on_rows"]) == 0
    name = "run_dsetsynthetic_corrgaussian_noise_jtt_seed0"
    assert wandb.runs.keys() == {name, f"{name}/stage1"}
    settings, logged = wandb.runs[name]
    assert (settings["method"], settings["jtt_epochs"]) == ("jtt", 1)
    train = rows(folder / "logs" / name / "train.csv")
    losses = [row["train/loss"] for row in logged if "train/loss" in row]
    assert losses == [float(row["loss"]) for row in train] and len(losses) == 2
    found = {
        (row["epoch"], tag): value
        for row in logged
        for tag, value in row.items()
        if tag.startswith("test_accuracy/severity_")
    }
    assert found == {
        (int(row["epoch"]), f"test_accuracy/severity_{row['severity']}"): float(row["accuracy"])
        for row in rows(folder / "logs" / name / "test.csv")
        if row["severity"].isdecimal()
    }


def test_rows_are_handed_on_until_the_function_fails(folder):
    (folder / "bad_tracking.py").write_text(
        "calls = []\n\ndef note(*call):\n    calls.append(call)\n"
        "    if call[2] == 'val.csv':\n        raise ConnectionError('gone\\naway')\n"
    )
    said = []
    tracker = Tracker("bad_tracking:note", "run", {"lr": 0.1}, said.append)
    kept, added = [{"epoch": "1"}, {"epoch": "2"}], [{"epoch": "3"}]
    for table, new in (
        ("train.csv", kept),
        ("train.csv", added),
        ("test.csv", []),
        ("val.csv", added),
        ("test.csv", added),
    ):
        tracker(table, new)
    import bad_tracking

    assert bad_tracking.calls == [
        ("run", {"lr": 0.1}, "train.csv", kept),
        ("run", {"lr": 0.1}, "train.csv", added),
        ("run", {"lr": 0.1}, "val.csv", added),
    ]
    where = f"{folder / 'bad_tracking.py'}, line 6"
    assert said == [
        f"--on_rows bad_tracking:note raises ConnectionError: gone ({where}): the run goes on "
        f"without it"
    ]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("missing_tracking:f", "--on_rows missing_tracking:f: there is no module"),
        ("bad_tracking:other", "bad_tracking.py) has no other"),
        ("bad_tracking:number", "--on_rows bad_tracking:number is no function but of type int"),
        ("tracking", "argument --on_rows: 'tracking' is not of the form my_module:name"),
    ],
)
def test_what_is_no_function_is_refused(folder, place, text, capsys):
    assert_refused(capsys, [*FLAGS, "--on_rows", place], text)
    assert not (folder / "logs").exists()
