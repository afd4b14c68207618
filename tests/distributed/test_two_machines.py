"""Two network namespaces joined by a cable: two machines, as far as MindSpore can tell.

They share a log directory. Needs root and Linux's `ip`, and is skipped elsewhere.
"""

import os
import re
import shutil
import signal
import subprocess

import pytest
from running import (
    NAME,
    ROOT,
    TINY,
    begun_second_epoch,
    check_equal,
    script_environment,
    wait_until,
)

pytestmark = pytest.mark.faults

MASTER = "10.213.77.1"
RUN = NAME.format(method="sharpdro")
FLAGS = ("--total_epoch", "20", "--log_train", "1", "--resume", "--no-show_progress")
ADVICE = "the same command with --resume goes on after"
STOPPED = f"distributed.sh: stopped: {ADVICE} what is saved\n"
LOST = (
    "error: the processes have lost one another: see to the network between the machines; "
    f"{ADVICE} the last finished epoch\n"
)
NETWORK = """
    netns add {0}
    netns add {1}
    link add {0} type veth peer name {1}
    link set {0} netns {0}
    link set {1} netns {1}
    -n {0} address add 10.213.77.1/24 dev {0}
    -n {1} address add 10.213.77.2/24 dev {1}
    -n {0} link set {0} up
    -n {1} link set {1} up
    -n {0} link set lo up
    -n {1} link set lo up
"""


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True).returncode == 0


def command_of(num_processes, data_dir, logs):
    script = str(ROOT / "scripts" / "distributed.sh")
    folders = ["--data_dir", str(data_dir), "--log_dir", str(logs)]
    return ["bash", script, str(num_processes), *TINY, *FLAGS, *folders]


class Machines:
    """Two of them, until they are taken down."""

    def __init__(self):
        self.names = [f"sd{os.getpid() % 10**6}{side}" for side in "ab"]
        self.is_up = all(
            ip(*line.split()) for line in NETWORK.format(*self.names).strip().splitlines()
        )

    def take_down(self):
        for name in self.names:
            ip("netns", "delete", name)

    def cut_cable(self):
        assert ip("-n", self.names[1], "link", "set", self.names[1], "down")

    def mend_cable(self):
        assert ip("-n", self.names[1], "link", "set", self.names[1], "up")

    def start(self, data_dir, logs):
        """The same command on both: a process on each."""
        command = command_of(1, data_dir, logs)
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return [
            subprocess.Popen(
                ["ip", "netns", "exec", name, *command],
                env=script_environment(MACHINES="2", MASTER=MASTER, MACHINE=str(number)),
                start_new_session=True,
                **how,
            )
            for number, name in enumerate(self.names)
        ]


@pytest.fixture(scope="module")
def machines():
    made = Machines()
    if shutil.which("ip") and made.is_up:
        yield made
    made.take_down()
    if not made.is_up:
        pytest.skip("network namespaces cannot be made here: needs root, and iproute2's `ip`")


def finish(processes):
    """Wait for both; returns exit codes, and what each said on stdout and on stderr."""
    said = [process.communicate(timeout=300) for process in processes]
    return [process.returncode for process in processes], said


@pytest.fixture(scope="module")
def undisturbed(machines, data_dir, tmp_path_factory):
    logs = tmp_path_factory.mktemp("undisturbed")
    codes, said = finish(machines.start(data_dir, logs))
    assert codes == [0, 0], said
    return logs / RUN


def start_training(machines, data_dir, logs):
    """Both in their second epoch."""
    processes = machines.start(data_dir, logs)
    table = logs / RUN / "train.csv"
    wait_until(processes[0], lambda: begun_second_epoch(table))
    return processes


def check_resumed(machines, data_dir, logs, undisturbed):
    codes, said = finish(machines.start(data_dir, logs))
    assert codes == [0, 0], said
    check_equal(logs / RUN, undisturbed)


def test_two_machines_come_to_what_two_processes_of_one_do(
    machines, data_dir, undisturbed, tmp_path
):
    alone = command_of(2, data_dir, tmp_path)
    how = {"env": script_environment(), "capture_output": True}
    assert subprocess.run(alone, **how).returncode == 0
    check_equal(tmp_path / RUN, undisturbed)


@pytest.mark.parametrize("side", [0, 1])
def test_stopping_one_machine_stops_both_and_saves(machines, data_dir, tmp_path, undisturbed, side):
    processes = start_training(machines, data_dir, tmp_path)
    processes[side].send_signal(signal.SIGTERM)
    codes, said = finish(processes)
    assert codes == [143, 143] and [error for _, error in said] == [STOPPED] * 2, said
    log = (tmp_path / RUN / "log.txt").read_text()
    assert re.search(r"stopped in epoch \d+ after step \d+, which is saved", log)
    check_resumed(machines, data_dir, tmp_path, undisturbed)


def test_cut_cable_ends_both(machines, data_dir, tmp_path, undisturbed):
    processes = start_training(machines, data_dir, tmp_path)
    machines.cut_cable()
    try:
        codes, said = finish(processes)
    finally:
        machines.mend_cable()
    assert codes == [1, 1] and [error for _, error in said] == [LOST] * 2, said
    check_resumed(machines, data_dir, tmp_path, undisturbed)


@pytest.mark.parametrize("side", [0, 1])
def test_killed_machine_ends_the_other(machines, data_dir, tmp_path, undisturbed, side):
    processes = start_training(machines, data_dir, tmp_path)
    os.killpg(processes[side].pid, signal.SIGKILL)
    codes, said = finish(processes)
    assert codes[side] == -signal.SIGKILL and codes[1 - side] == 1, said
    error = said[1 - side][1]
    assert error.count("\n") == 1 and error.startswith("error: ") and ADVICE in error, said
    check_resumed(machines, data_dir, tmp_path, undisturbed)
