"""--config FILE: a run's settings, or flags, from a file."""

import json
from dataclasses import replace

import fake_folder
import pytest
from running import assert_refused

from sharpdro.command_line.settings import parse, recorded

CHANGED = (
    *("-d", "cifar100", "-c", "fog", "-n", "40", "--num_severity", "3", "--depth", "16"),
    *("--augment_data", "--no-scheduler", "--no-save_best", "--lr", "1e-05", "--seed", "7"),
    *("--method", "sharpdro", "--rho", "0.25", "--is_adaptive", "--absent_groups", "keep"),
    *("--desc=x y", "--threads", "3", "--total_epoch", "5", "--log_dir", "-logs"),
)


@pytest.fixture
def write(tmp_path):
    """Writes a file; returns the flag that names it."""

    def write(content):
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return "--config", str(path)

    return write


def test_settings_of_a_run_come_back(write):
    """All of settings.json, null and off included; what a run records besides is no flag."""
    args = parse([f"{word}" for word in CHANGED[:-2]] + ["--log_dir=-logs"])
    file = write({"settings": recorded(args), "environment": {"python": "3"}, "data": {}})
    assert parse([*file]) == args
    resumed = parse(["--resume", "--dry_run", "--log_dir", "other", *file])
    assert (resumed.resume, resumed.dry_run, str(resumed.log_dir)) == (True, True, "other")
    assert resumed.rho == 0.25
    started = recorded(args) | {"resume": True, "dry_run": True, "data_sink": False}
    assert parse([*write({"settings": started})]) == args


def test_settings_of_a_run_on_own_data_come_back(write, tmp_path):
    data_dir = fake_folder.write_folder(tmp_path / "photographs")
    args = parse(["-d", "folder", "--data_dir", str(data_dir), "-n", "4", "--side", "32"])
    assert args.class_names and args == replace(args, fingerprint=None)
    file = write({"settings": recorded(args) | {"fingerprint": "00000000-00000000"}})
    assert parse([*file]) == args


def test_side_that_a_run_on_arrays_found_is_no_flag(write, tmp_path):
    fake_folder.write_arrays(tmp_path / "arrays")
    args = parse(["-d", "arrays", "--data_dir", str(tmp_path / "arrays")])
    assert args.side == 16 and parse([*write({"settings": recorded(args)})]) == args


def test_lists_that_a_run_has_kept_are_its_lists(write, tmp_path):
    kept = tmp_path / "imagenet30_filelist"
    by_lists = {"dataset": "imagenet30", "num_per_class": None, "filelist_dir": "moved/since"}
    write_lists = [kept, tmp_path / "others"]
    for folder in write_lists:
        folder.mkdir()
        (folder / "imagenet30_val.txt").write_text("")
    file = write({"settings": by_lists})
    assert parse([*file]).filelist_dir == kept
    assert parse([*file, "--filelist_dir", str(tmp_path / "others")]).filelist_dir != kept
    drawn = {"dataset": "imagenet30", "num_per_class": 20}  # anew by -n, as the run has
    assert parse([*write({"settings": drawn})]).filelist_dir is None


@pytest.mark.parametrize(("old", "new"), [(True, "step"), (False, "none")])
def test_schedules_of_earlier_versions(write, old, new):
    assert parse([*write({"settings": {"scheduler": old}})]).scheduler == new


def test_settings_of_an_evaluation_come_back(write):
    args = parse(["--eval_only", "--checkpoint", "x.ckpt", "-c", "snow", "fog", "--seed", "3"])
    facts = {"epoch": 3, "trained_with": {"lr": 0.1}, "checkpoint_crc32": "00"}
    assert parse([*write({"settings": recorded(args) | facts})]) == args


def test_command_line_wins_in_any_order(write):
    file = write({"lr": 0.5, "corruption": "fog", "save_best": False, "method": "sam", "rho": 1})
    for flags in (["--lr", "0.25", *file], [*file, "--lr", "0.25"]):
        args = parse([*flags, "-c", "snow", "--save_best"])
        assert (args.lr, args.corruption, args.save_best) == (0.25, ("snow",), True)
        assert (args.method, args.rho) == ("sam", 1.0)


def test_method_of_the_command_line_replaces_both_flags_of_the_file(write):
    file = write({"method": "sharpdro", "distribution_agnostic": True, "lr": 0.5})
    assert parse([*file]).distribution_agnostic
    args = parse([*file, "--method", "sharpdro"])
    assert (args.distribution_agnostic, args.lr) == (False, 0.5)


def test_another_method_or_network_leaves_behind_what_it_does_not_have(write):
    file = write({"method": "sharpdro", "rho": 0.5, "step_size": 0.25, "is_adaptive": True})
    assert parse([*file, "--method", "erm"]).method == "erm"
    sam, groupdro = (parse([*file, "--method", name]) for name in ("sam", "groupdro"))
    assert (sam.rho, sam.is_adaptive, groupdro.step_size) == (0.5, True, 0.25)
    agnostic = parse([*file, "--distribution_agnostic"])
    assert (agnostic.method, agnostic.rho) == ("sharpdro", 0.5)
    local = write({"method": "sam", "distributed": True, "local_perturbation": True})
    assert parse([*local]).local_perturbation
    assert not parse([*local, "--method", "erm"]).local_perturbation
    own = write({"method": "a:B", "method_settings": "scale=2"})
    assert parse([*own, "--method", "sam"]).method_settings is None
    network = write({"model": "wideresnet", "depth": 16, "widen_factor": 4})
    assert parse([*network, "-m", "resnet18"]).depth is None
    assert parse([*network, "-m", "wideresnet"]).depth == 16


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"learning_rate": 1}, "there is no flag 'learning_rate': see --help"),
        ({"total_epochs": 1}, "there is no flag 'total_epochs': did you mean total_epoch?"),
        ({"config": "x"}, "there is no flag 'config'"),
        ('{"lr": 1, "seed": 1, "lr": 2}', "config.json cannot be read (it names 'lr' twice)"),
        ({"lr": "fast"}, "argument --lr: 'fast' is not a number > 0"),
        ({"lr": -1}, "argument --lr: -1 is not a number > 0"),
        ({"lr": True}, "lr is True: give its value"),
        ({"lr": [0.1]}, "lr is [0.1]: give its value"),
        ({"lr": {"at": 1}}, "lr is {'at': 1}: give its value"),
        ({"augment_data": "yes"}, "augment_data is 'yes': give true or false"),
        ({"scheduler": "linear"}, "argument --scheduler/--no-scheduler: invalid choice"),
        ({"augment_data": 1}, "augment_data is 1: give true or false"),
        ({"corruption": ["--resume"]}, "corruption is ['--resume']: give its value"),
        ({"corruption": []}, "corruption is []: give its value"),
        ({"corruption": ["rain"]}, "argument -c/--corruption: invalid choice: 'rain'"),
        ({"method": "sam", "step_size": 1}, "--step_size does not apply to --method sam"),
        ({"method": "sam", "step_size": 1}, "config.json has it: use a copy without)"),
        ({"checkpoint": "x.ckpt"}, "--checkpoint needs --eval_only"),
        ({"settings": 3}, "config.json cannot be read (it holds no JSON object of flags)"),
        ([1], "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_setting_is_refused(write, content, text, capsys):
    assert_refused(capsys, write(content), text, "config.json")


def test_flags_that_do_not_go_with_the_file_are_refused(write, tmp_path, capsys):
    file = write({"method": "sharpdro", "model": "resnet18", "eval_only": False})
    text = "--depth applies to -m wideresnet only, not to -m resnet18: leave it out"
    assert "has it" not in assert_refused(capsys, [*file, "--depth", "16"], text)
    by_file = write({"frost_dir": "x", "model": "wideresnet", "depth": 16})
    text = "--frost_dir goes with frost alone: leave it out"
    assert_refused(capsys, [*by_file, "-m", "resnet18"], text, "config.json has it: use a copy w")
    other = write({"method": "erm", "total_epoch": 1})
    assert "has it" not in assert_refused(capsys, [*other, "--step_size", "1"], "--method erm")
    assert "has it" not in assert_refused(capsys, [*other, "--method", "jtt"], "--total_epoch 1")
    file = write({"method": "sharpdro", "model": "resnet18", "eval_only": False})
    several = [*file, "-c", "fog", "snow"]
    assert "has it" not in assert_refused(capsys, several, "several go with --eval_only")
    error = assert_refused(capsys, [*file, "--step_size", "1", "--method", "erm"], "does not apply")
    assert "has it" not in error
    error = assert_refused(capsys, [*file, "--frost_dir", "x"], "--frost_dir goes with frost alone")
    assert "has it" not in error
    wrong = [*write({"method": "nosuch"}), "--distribution_agnostic"]
    assert_refused(capsys, wrong, "config.json: argument --method: invalid choice: 'nosuch'")
    assert_refused(capsys, ["--config", tmp_path / "no.json"], "no.json", "No such file")
    assert_refused(capsys, ["--config", tmp_path], "cannot be read", "it is a folder")
