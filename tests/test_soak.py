"""A soak: runs of random methods and flags, killed and stopped at random moments.

Each is compared with its undisturbed twin.

Run by `bash scripts/test.sh --faults`. In the environment, SOAK_RUNS=200 does as many (eight unless
given; some two minutes each), and FAULTS_SEED=N draws others.
"""

import os
import random
import signal

import pytest
from running import TINY, check_equal
from test_faults import finish, start, wait_for_a_moment
from test_interrupts import wait_until_held

pytestmark = pytest.mark.faults

STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ALWAYS = (*TINY, "--total_epoch", "8", "--desc", "soak", "--no-show_progress")
METHODS = {
    "erm": [],
    "sam": [["--rho", "0.2"]],
    "groupdro": [["--sampler", "balanced"], ["--step_size", "0.5"]],
    "irm": [["--irm_lambda", "2", "--irm_warmup", "5"]],
    "vrex": [["--vrex_beta", "2", "--vrex_warmup", "5"]],
    "jtt": [["--jtt_epochs", "2"]],
    "eiil": [["--eiil_steps", "20"]],
    "sharpdro": [
        ["--step_size", "0.5"],
        ["--distribution_agnostic"],
        ["--distribution_agnostic", "--ood_score", "kurtosis"],
    ],
}
FLAGS = [
    ["--num_severity", "3"],
    ["--severity_law", "uniform"],
    ["--sampler", "replacement"],
    ["--augment_data"],
    ["--no-scheduler"],
    ["--eval_every", "1"],
    ["--eval_every", "3"],
    ["--log_train", "1"],
    ["--log_train", "3"],
    ["--save_step", "2"],
    ["--no-save_best"],
    ["--best_metric", "mean"],
    ["--weight_decay", "0"],
    ["--momentum", "0"],
    ["--seed", "5"],
    ["-b", "16"],
    ["-c", "jpeg_compression"],
    ["--cpu_kernels", "onednn"],
]


def draw_flags(chance):
    method = chance.choice(sorted(METHODS))
    flags = ["--method", method, *chance.choice([[], *METHODS[method]])]
    for choice in chance.sample(FLAGS, chance.randrange(4)):
        if choice[0] not in flags:
            flags += choice
    return flags


def disturb(process, folder, chance):
    """Kill or stop a run at a random moment, unless it is through before."""
    number = chance.choice([signal.SIGKILL, signal.SIGKILL, *STOPS])
    try:
        if number != signal.SIGKILL:
            wait_until_held(process)  # before, there is nobody to answer
        wait_for_a_moment(process, folder, chance, earliest=0.0)
    except AssertionError:
        return finish(process)  # it was faster
    process.send_signal(number)
    process.wait(300)
    return finish(process, STOPS.get(number, -number) if process.returncode else 0)


@pytest.mark.parametrize("number", range(int(os.environ.get("SOAK_RUNS", "8"))))
def test_disturbed_run_comes_to_what_its_twin_does(data_dir, tmp_path, number):
    chance = random.Random(1000 * int(os.environ.get("FAULTS_SEED", "0")) + number)
    flags = (*ALWAYS, *draw_flags(chance), "--data_dir", data_dir)
    print(*flags)
    finish(start("main.py", *flags, "--log_dir", tmp_path / "twin"))
    (twin,) = (tmp_path / "twin").iterdir()
    folder = tmp_path / "disturbed" / twin.name
    command = ("main.py", *flags, "--log_dir", folder.parent, "--resume")
    for _ in range(chance.randrange(1, 4)):
        disturb(start(*command), folder, chance)
    finish(start(*command))
    check_equal(folder, twin)
