"""What runs survive: kills at random moments, full and read-only disks, others at the same work.

Run by `bash scripts/test.sh --faults`; FAULTS_SEED=N in the environment chooses other moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_cifar
import pytest
from running import NAME, ROOT, TINY, check_equal, same_weights, wait_until, weights

from corruptions.storage import manifest

pytestmark = pytest.mark.faults

KILLS = 20
LONG = (*TINY, "--step_size", "0.5", "--total_epoch", "50", "--eval_every", "1", "--log_train", "2")
LONG += ("--save_logits",)
RUN = NAME.format(method="sharpdro")
FULL = "No space left on device"


@pytest.fixture
def chance():
    return random.Random(int(os.environ.get("FAULTS_SEED", "0")))


def start(*command):
    """A program of this project, and later what it has to say on stderr."""
    command = [sys.executable, *map(str, command)]
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    return subprocess.Popen(command, start_new_session=True, **how)


def train(data_dir, logs, *flags):
    return start("main.py", *LONG, "--data_dir", data_dir, "--log_dir", logs, *flags)


def finish(process, code=0):
    """Wait for a program's end; returns what it said on stderr."""
    _, error = process.communicate(timeout=300)
    assert process.returncode == code, error
    return error


def partial_checkpoints(folder):
    return list(folder.glob(".*.partial.*"))


def count_lines(table):
    return table.read_text().count("\n") if table.exists() else 0


def wait_for_a_moment(process, folder, chance, earliest):
    """Soon after the start, in the middle of a step, or while a checkpoint is written."""
    kind = chance.choice(["starting", "training", "training", "saving", "saving"])
    if kind == "starting":
        time.sleep(chance.uniform(earliest, 8))
    elif kind == "saving":
        while process.poll() is None and not partial_checkpoints(folder):
            pass
    else:
        lines = count_lines(folder / "train.csv") + chance.randrange(1, 5)
        wait_until(process, lambda: count_lines(folder / "train.csv") >= lines)
        time.sleep(chance.uniform(0, 0.1))


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    logs = tmp_path_factory.mktemp("undisturbed")
    finish(train(data_dir, logs))
    return logs / RUN


def test_training_killed_and_stopped_at_random_moments(data_dir, tmp_path, undisturbed, chance):
    """It ends with the weights and tables of the undisturbed run."""
    stops = {signal.SIGINT: 130, signal.SIGTERM: 143}
    halves = 0
    for number in [signal.SIGKILL] * KILLS + [*stops] * 3:
        process = train(data_dir, tmp_path, "--resume")
        # Python itself has to be there for a program to answer signals.
        wait_for_a_moment(process, tmp_path / RUN, chance, 3.0 if number in stops else 0.0)
        process.send_signal(number)
        error = finish(process, stops.get(number, -number))
        assert number == signal.SIGKILL or error.count("\n") == 1, error
        halves += bool(partial_checkpoints(tmp_path / RUN))
    assert halves > 0  # checkpoints were left half-written
    assert not (tmp_path / RUN / "summary.json").read_text().count('"finished": true')
    finish(train(data_dir, tmp_path, "--resume"))
    check_equal(tmp_path / RUN, undisturbed)
    names = {path.name for path in undisturbed.iterdir()}
    assert {path.name for path in (tmp_path / RUN).iterdir()} == names


def arrays(folder):
    return {path.relative_to(folder): path for path in folder.rglob("*.npy")}


def test_data_preparation_killed_at_random_moments(tmp_path, chance):
    for name in ("undisturbed", "killed"):
        fake_cifar.write_cifar10(tmp_path / name, per_class=200)
    whole, killed = tmp_path / "undisturbed" / "CIFAR-10-C", tmp_path / "killed" / "CIFAR-10-C"

    def generate(name, *names):
        flags = ["-d", "cifar10", "--data_dir", tmp_path / name, "-c", "glass_blur", "fog"]
        return start("-m", "corruptions.generate", *flags)

    began = time.monotonic()
    finish(generate("undisturbed"))
    seconds = time.monotonic() - began
    expected = {name: path.read_bytes() for name, path in arrays(whole).items()}
    for _ in range(KILLS):
        process = generate("killed")
        time.sleep(chance.uniform(0, seconds / 3))
        process.kill()
        process.wait()
        for name, path in arrays(killed).items():
            assert path.read_bytes() == expected[name], path
        deadline = time.monotonic() + 20
        while sessions := members(process.pid):
            assert time.monotonic() < deadline, sessions  # workers outlive their program
            time.sleep(0.1)
    finish(generate("killed"))
    assert {name: path.read_bytes() for name, path in arrays(killed).items()} == expected
    assert list(manifest.verify(killed)) == [] and not list(killed.rglob("*.partial"))


def members(session):
    """Processes that a program has started, if they are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder, size):
        self.folder = folder
        folder.mkdir()
        if mount("-t", "tmpfs", "-o", f"size={size}", "none", folder):
            pytest.skip("file systems cannot be mounted here: needs root and a kernel's leave")

    def remount(self, options):
        assert mount("-o", f"remount,{options}", self.folder) == 0

    def fill(self):
        """Leave no room."""
        with open(self.folder / "filler", "ab", buffering=0) as file:
            for size in (10**6, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def make_room(self):
        (self.folder / "filler").unlink()


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], stderr=subprocess.DEVNULL).returncode


@pytest.fixture
def disk(tmp_path):
    made = []

    def make(size):
        made.append(Disk(tmp_path / f"disk{len(made)}", size))
        return made[-1]

    yield make
    for each in made:
        subprocess.run(["umount", each.folder], check=True)


def refused(process, *texts):
    """Check that a program ends with one line that holds the texts, and with no traceback."""
    error = finish(process, 2)
    assert error.count("\n") == 1 and all(text in error for text in texts), error


def test_no_room_for_checkpoints(data_dir, disk, undisturbed):
    size = (undisturbed / "last.ckpt").stat().st_size
    logs = disk(3 * size)  # best, last, the one before: not the one that is being written besides
    refused(train(data_dir, logs.folder), ".ckpt cannot be written", FULL)
    folder = logs.folder / RUN
    assert not partial_checkpoints(folder) and (folder / "last.ckpt").exists()
    refused(train(data_dir, logs.folder, "--resume"), ".ckpt cannot be written", FULL)
    logs.remount(f"size={10 * size}")
    finish(train(data_dir, logs.folder, "--resume"))
    check_equal(folder, undisturbed)


def test_no_room_for_anything_any_more(data_dir, disk, undisturbed):
    logs = disk("40m")
    folder = logs.folder / RUN
    process = train(data_dir, logs.folder)
    wait_until(process, lambda: count_lines(folder / "train.csv") > 10)
    logs.fill()
    refused(process, str(folder), FULL)
    refused(train(data_dir, logs.folder, "--resume"), str(folder), FULL)
    logs.make_room()
    finish(train(data_dir, logs.folder, "--resume"))
    check_equal(folder, undisturbed)


def test_no_room_for_arrays(data_dir, disk, tmp_path, undisturbed):
    data = disk("200m")
    fake_cifar.write_cifar10(data.folder, per_class=100)
    flags = ["-d", "cifar10", "--data_dir", data.folder, "-c", "glass_blur"]
    process = start("-m", "corruptions.generate", *flags)
    folder = data.folder / "CIFAR-10-C"
    wait_until(process, lambda: list(folder.rglob(".*.npy.partial")))
    data.fill()
    refused(process, str(folder), FULL)
    assert not list(folder.rglob("*.partial"))
    data.make_room()
    finish(start("-m", "corruptions.generate", *flags))
    assert list(manifest.verify(folder)) == [] and len(arrays(folder)) == 2 * (5 + 5)
    data.remount("ro")
    refused(start("-m", "corruptions.generate", *flags, "fog"), str(data.folder))


def test_complete_data_may_be_read_only(data_dir, disk, tmp_path, undisturbed):
    data = disk("40m")
    subprocess.run(["cp", "-r", *data_dir.iterdir(), data.folder], check=True)
    data.remount("ro")
    finish(train(data.folder, tmp_path / "logs"))
    check_equal(tmp_path / "logs" / RUN, undisturbed)


def test_two_runs_of_the_same_name_at_once(data_dir, tmp_path, undisturbed):
    """One of them goes on, whichever; the other one touches nothing.

    Without --resume the other one is refused before it asks for the lock, if it comes later.
    """
    at_work, there = "another process is at work in", "exists already: add --resume"
    for flags, refusals in (((), (at_work, there)), (("--resume",), (at_work,))):
        logs = tmp_path / str(len(flags))
        both = [train(data_dir, logs, *flags) for _ in range(2)]
        errors = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 2], errors
        assert any(refusal in "".join(errors) for refusal in refusals), errors
        check_equal(logs / RUN, undisturbed)


def test_two_runs_that_prepare_the_same_data(tmp_path, undisturbed):
    data, names = tmp_path / "data", ("one", "two")
    fake_cifar.write_cifar10(data)
    both = [train(data, tmp_path / name) for name in names]
    for process in both:
        finish(process)
    for name in names:
        check_equal(tmp_path / name / RUN, undisturbed)
    assert list(manifest.verify(data / "CIFAR-10-C")) == []


def test_damaged_checkpoints_are_noticed(undisturbed, tmp_path, chance):
    """Cut off, or with a bit flipped, anywhere."""
    from sharpdro.errors import RunError
    from sharpdro.run_folder.checkpoint import load

    good = (undisturbed / "last.ckpt").read_bytes()
    before, path = weights(undisturbed), tmp_path / "last.ckpt"
    for _ in range(200):
        place = chance.randrange(len(good))
        flipped = bytes([good[place] ^ (1 << chance.randrange(8))])
        path.write_bytes(chance.choice([good[:place], good[:place] + flipped + good[place + 1 :]]))
        try:
            load(path)
        except RunError:
            continue
        assert same_weights(weights(tmp_path), before), place
