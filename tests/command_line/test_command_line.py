"""Bad usage and bad states: one line, exit code 2."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT, TINY, assert_refused

from corruptions import STANDARD
from corruptions.command_line import Parser
from sharpdro.command_line.flags import create_parser
from sharpdro.command_line.settings import evaluation_settings, of_checkpoint, parse
from sharpdro.errors import RunError

BAD_VALUES = {
    "--dataset": ["mnist"],
    "--desc": ["", "a/b", "..", "a\x1b[2J", "a\rb"],
    "--threads": ["0", "-1", "x"],
    "--seed": ["-1", "x", "4294967296"],
    "--device_target": ["TPU"],
    "--cpu_kernels": ["fast"],
    "--mode": ["eager"],
    "--corruption": ["rain"],
    "--num_per_class": ["0", "-3", "1.5"],
    "--side": ["7", "1025", "x"],
    "--num_severity": ["0", "6", "two"],
    "--num_val": ["-1"],
    "--num_test": ["-1"],
    "--num_workers": ["-1"],
    "--model": ["vgg"],
    "--severity_law": ["best"],
    "--depth": ["11", "4", "x"],
    "--widen_factor": ["0"],
    "--method": ["adam"],
    "--rho": ["-0.1", "nan", "inf", "x"],
    "--step_size": ["-1", "nan"],
    "--absent_groups": ["drop"],
    "--group_adjustment": ["-1", "inf"],
    "--ood_score": ["mahalanobis"],
    "--irm_lambda": ["-1", "nan"],
    "--irm_warmup": ["-1", "1.5"],
    "--vrex_beta": ["-1", "nan"],
    "--vrex_warmup": ["-1"],
    "--jtt_epochs": ["0"],
    "--jtt_upweight": ["0", "2.5"],
    "--eiil_epochs": ["0"],
    "--eiil_steps": ["0"],
    "--eiil_lr": ["0", "nan"],
    "--sampler": ["weighted"],
    "--total_epoch": ["0", "1.5"],
    "--batch_size": ["0"],
    "--lr": ["0", "-1", "nan", "inf"],
    "--scheduler": ["linear", ""],
    "--warmup_epochs": ["-1", "1.5"],
    "--clip_grad": ["0", "-1", "nan", "inf"],
    "--on_nan": ["ignore"],
    "--amp_level": ["O1", "fp16"],
    "--momentum": ["1", "-0.1"],
    "--weight_decay": ["-1", "nan"],
    "--eval_batch_size": ["0"],
    "--eval_every": ["0"],
    "--best_metric": ["median"],
    "--log_train": ["0"],
    "--save_step": ["-1"],
    "--on_rows": ["my_module", "a b:c", ":f"],
}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            "--total_epochs 5",
            "unrecognized arguments: --total_epochs 5: did you mean --total_epoch?",
        ),
        ("--epochs 5", "did you mean --total_epoch?"),
        ("-lr 1 --Log-Dir x", "did you mean --lr, --log_dir?"),
        ("--num_test=5 --num_tests=5", "did you mean --num_test?"),
        ("--nonsense", "unrecognized arguments: --nonsense (see main.py --help)"),
        ("-n4000 --nonsense", "unrecognized arguments: --nonsense (see main.py --help)"),
        ("-d CIFAR-10", "'CIFAR-10', did you mean cifar10? (choose from synthetic, cifar10, "),
        ("-c fog gauss_noise", "'gauss_noise', did you mean gaussian_noise? (choose from "),
        ("--method SharpDRO", "'SharpDRO', did you mean sharpdro? (choose from sharpdro, erm"),
        ("-m resnet-18", "'resnet-18', did you mean resnet18? (choose from wideresnet, "),
        ("-d mnist", "invalid choice: 'mnist' (choose from synthetic, cifar10, "),
    ],
)
def test_what_is_mistyped_gets_the_name_that_was_meant(capsys, flags, expected):
    with pytest.raises(SystemExit) as stop:
        create_parser().parse_args(flags.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and expected in error


def test_where_files_are_written_has_an_earlier_spelling():
    parser = Parser(prog="x")
    parser.add_file_output(default=Path("a.png"), metavar="PNG", help="where to write")
    outputs = [parser.parse_args(words).output for words in ([], ["-o", "b"], ["--output", "b"])]
    assert outputs == [Path("a.png"), Path("b"), Path("b")]
    assert "--output PNG" in parser.format_help() and "-o " not in parser.format_help()


def test_a_corruption_that_is_not_registered_here_is_asked_for():
    """Its checkpoint can be measured all the same, and its method's name does not matter."""
    given = {"eval_only": True, "checkpoint": Path("run/best.ckpt")}
    trained = {"dataset": "cifar10", "corruption": "rain", "method": "mine", "desc": "x"}
    with pytest.raises(RunError, match="corruption rain, which is not registered here: .* with -c"):
        of_checkpoint(evaluation_settings(given), trained)
    settings = of_checkpoint(evaluation_settings({**given, "corruption": ["fog"]}), trained)
    assert settings.corruption == ("fog",) and settings.desc == "x_rain_mine_best"


# Switches take no value; paths are tried in test_bad_states and in test_datasets.py.
NO_BAD_VALUE = {
    *("--help", "--resume", "--eval_only", "--augment_data", "--is_adaptive", "--show_progress"),
    *("--distribution_agnostic", "--save_last", "--save_best", "--tensorboard"),
    "--save_logits",
    *("--dry_run", "--distributed", "--local_perturbation"),
    *("--log_dir", "--data_dir", "--checkpoint", "--frost_dir"),
    *("--filelist_dir", "--pretrained", "--published", "--config", "--method_settings"),
}


def test_every_flag_is_tried():
    names = [
        max((s for s in action.option_strings if not s.startswith("--no-")), key=len)
        for action in create_parser()._actions
    ]
    assert set(names) == BAD_VALUES.keys() | NO_BAD_VALUE


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, values in BAD_VALUES.items() for value in values]
)
def test_bad_value_is_refused_in_one_line(capsys, tmp_path, flag, value):
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "data")]
    assert_refused(capsys, [*own, f"{flag}={value}"], flag)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--unknown", "unrecognized arguments: --unknown"),
        (
            "--cpu_kernels onednn --amp_level auto",
            "--amp_level auto does not go with --cpu_kernels onednn",
        ),
        (
            "--distributed --mode pynative",
            "--mode pynative is for debugging and does not go with --distributed: leave one",
        ),
        ("--eval_only --checkpoint x.ckpt --mode graph", "--mode does not go with --eval_only"),
        ("--total 3", "unrecognized arguments: --total 3"),
        (
            "--method sam --distribution_agnostic",
            "--distribution_agnostic does not apply to --method sam",
        ),
        (
            "--distribution_agnostic --step_size 1",
            "--step_size does not apply to --method sharpdro",
        ),
        ("--distribution_agnostic --absent_groups keep", "--absent_groups does not apply"),
        ("--ood_score loss", "leave it out, or add --distribution_agnostic"),
        ("--distribution_agnostic --sampler balanced", "--sampler balanced needs severity labels"),
        ("--method jtt --sampler balanced", "--sampler balanced needs severity labels"),
        ("--method irm --absent_groups keep", "--absent_groups does not apply to --method irm"),
        ("--method sam --step_size 1", "--step_size does not apply to --method sam"),
        ("--method groupdro --rho 1", "--rho does not apply to --method groupdro"),
        ("--method vrex --irm_lambda 1", "--irm_lambda does not apply to --method vrex"),
        ("--jtt_epochs 3", "--jtt_epochs does not apply to --method sharpdro"),
        ("--method jtt --eiil_steps 3", "--eiil_steps does not apply to --method jtt"),
        (
            "--method jtt --jtt_epochs 3 --total_epoch 2",
            "--jtt_epochs 3 is more than --total_epoch 2",
        ),
        ("--warmup_epochs 5 --total_epoch 5", "--warmup_epochs 5 leaves nothing of --total_epoch"),
        ("--no-scheduler cosine", "argument --no-scheduler: takes no value, not 'cosine'"),
        ("--eval_only", "--eval_only needs --checkpoint"),
        ("--checkpoint x.ckpt", "--checkpoint needs --eval_only"),
        ("--eval_only --checkpoint x.ckpt -m resnet18", "--model does not go with --eval_only"),
        ("-c fog snow", "-c snow fog: a network is trained with one corruption"),
        ("--eval_only --checkpoint x.ckpt --lr 1", "--lr does not go with --eval_only"),
        ("--eval_only --checkpoint x.ckpt", "checkpoint x.ckpt does not exist"),
        ("--method erm --rho 0.1", "--rho does not apply to --method erm"),
        ("--method erm --is_adaptive", "--is_adaptive does not apply to --method erm"),
        ("-m resnet18 --depth 10", "--depth applies to -m wideresnet only"),
        ("-m resnet50 --widen_factor 2", "--widen_factor applies to -m wideresnet only"),
        ("-n 501", "-n 501 is too large: class 0 has 500 images"),
        ("-n 20 -b 300", "-b 300 is more than the 180 training images"),
        ("--frost_dir x", "--frost_dir goes with frost alone: leave it out"),
        ("--published x", "--published needs --eval_only"),
        ("--distributed", "--distributed needs MindSpore's launcher: scripts/distributed.sh N"),
        ("--local_perturbation", "--local_perturbation needs --distributed"),
        (
            "--method groupdro --distributed --local_perturbation",
            "--local_perturbation does not apply to --method groupdro",
        ),
        ("-c frost --frost_dir x", "x/frost1.png is missing: --frost_dir needs frost1.png"),
    ],
)
def test_what_does_not_go_together(capsys, tmp_path, flags, text):
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "data")]
    assert_refused(capsys, [*own, *flags.split()], text)
    assert not (tmp_path / "logs").exists()


def test_bad_states(capsys, run, tmp_path):
    logs = ["--log_dir", str(tmp_path / "logs")]
    broken = tmp_path / "data"
    broken.mkdir()
    (broken / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    assert_refused(capsys, [*TINY, *logs, "--data_dir", str(broken)], "not the official archive")
    assert not (tmp_path / "logs").exists()
    if os.geteuid() == 0:
        return  # no folder is read-only to root
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    data = ["--data_dir", str(run.data_dir)]
    assert_refused(capsys, [*TINY, *data, "--log_dir", str(locked)], "no permission to write there")


def test_help_in_a_narrow_encoding():
    command = [sys.executable, str(ROOT / "main.py"), "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0 and b"--num_severity" in done.stdout


@pytest.mark.parametrize(
    "flags",
    [
        *("--lr 1e308", "--lr 1e-320", "--lr 1e-46", "--rho 1e300", "--rho 1e-46"),
        *("--weight_decay 1e300", "--weight_decay 1e-40", "--momentum 0.99999999999"),
        *("--step_size 3.5e38", "--group_adjustment 1e39"),
    ],
)
def test_numbers_that_float32_does_not_hold_are_refused(capsys, flags):
    """It would take them for 0, 1 or infinity."""
    flag, value = flags.split()
    text = f"argument {flag}: {value} is not a number"
    assert "in float32" in assert_refused(capsys, flags.split(), text)


def test_numbers_that_float32_holds_are_kept():
    flags = "--lr 1e-37 --rho 0 --weight_decay 3.4e38 --momentum 0.9999999"
    args = parse(flags.split())
    assert (args.lr, args.rho, args.weight_decay, args.momentum) == (1e-37, 0, 3.4e38, 0.9999999)


def test_schedules():
    spellings = ([], ["--scheduler"], ["--no-scheduler"], ["--scheduler", "cosine"])
    found = [parse([*flags, "--lr", "1"]).scheduler for flags in spellings]
    assert found == ["step", "step", "none", "cosine"]
    assert parse(["--scheduler", "cosine", "--no-scheduler"]).scheduler == "none"


def test_settings_are_complete_and_frozen():
    """None is left where a flag has no meaning, or has none by default."""
    args = parse(["--method", "erm", "--threads", "3", "-c", "fog"])
    unset = {name for name, value in vars(args).items() if value is None}
    of_own_data = {"side", "class_names", "fingerprint"}
    paths = {"checkpoint", "published", "filelist_dir", "frost_dir", "pretrained"}
    assert unset == paths | of_own_data | {"clip_grad", "method_settings", "on_rows"}
    assert (args.corruption, args.threads, args.num_per_class) == (("fog",), 3, 400)
    with pytest.raises(dataclasses.FrozenInstanceError):
        args.lr = 1.0
    evaluated = parse(["--eval_only", "--checkpoint", "x.ckpt", "-c", "standard"])
    assert evaluated.corruption == STANDARD and not hasattr(evaluated, "lr")


@pytest.mark.parametrize("flags", ["--method erm --rho 1", "-m resnet18 --depth 10", "--eval_only"])
def test_what_does_not_go_together_is_answered_without_mindspore(flags):
    code = f"import sys, main; code = main.main({flags.split()}); "
    code += "sys.exit(code + 10 * ('mindspore' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 2
