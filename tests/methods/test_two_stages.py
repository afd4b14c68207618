"""JTT and EIIL in one command, and resumed in either stage."""

import subprocess
import sys
from functools import partial

import mindspore as ms
import numpy as np
import pytest
from running import (
    ERM,
    ROOT,
    TINY,
    begun_second_epoch,
    rows,
    same_weights,
    summary_without_seconds,
    wait_until,
    weights,
    without_speed,
)

from dataset.prepare_dataset import read_clean
from dataset.specs import CIFAR10
from models import create_model


def kept_of_first_stage(folder):
    table = rows(folder / "stage1" / "alignment.csv")
    return [int(row["count"]) for row in table], [float(list(row.values())[-1]) for row in table]


def test_jtt_in_one_command(run):
    """Stage 2 starts anew, once the errors of stage 1 are known."""
    folder = run("--method", "jtt", "--jtt_epochs", "1")
    first = rows(folder / "stage1" / "train.csv")
    assert len(first) == 1 and {row["epoch"] for row in rows(folder / "val.csv")} == {"2"}
    errors = rows(folder / "stage1" / "error_set.csv")
    counts, rates = kept_of_first_stage(folder)
    assert counts == [50, 50, 20] and len(errors) == 120
    for severity, rate in enumerate(rates):
        of_it = [int(row["is_error"]) for row in errors if int(row["severity"]) == severity]
        assert rate == pytest.approx(np.mean(of_it), abs=1e-5)
    assert "stage 2 of 2" in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_stage_1_is_the_beginning_of_erm_and_stage_2_all_of_it_without_repetition(run):
    jtt = ("--method", "jtt", "--jtt_epochs", "1")
    repeated, once, erm = run(*jtt), run(*jtt, "--jtt_upweight", "1"), run(*ERM)
    begun = without_speed(repeated / "stage1" / "train.csv")
    assert begun == without_speed(erm / "train.csv")[:1]
    assert same_weights(weights(once), weights(erm))
    assert not same_weights(weights(repeated), weights(erm))


def test_error_set_is_what_the_first_stage_gets_wrong(run):
    """Against a forward pass of the kept checkpoint by other code than the program's."""
    folder = run("--method", "jtt", "--jtt_epochs", "1")
    network = create_model("wideresnet", 10, depth=10, widen_factor=1).set_train(False)
    stored = ms.load_checkpoint(str(folder / "stage1" / "last.ckpt"))
    ms.load_param_into_net(network, stored)
    clean = read_clean(CIFAR10, run.data_dir)["train"][0]
    arrays = run.data_dir / "CIFAR-10-C" / "train"
    images = [clean, *(np.load(arrays / str(s) / "gaussian_noise.npy") for s in (1, 2))]
    table = rows(folder / "stage1" / "error_set.csv")
    batch = np.stack([images[int(row["severity"])][int(row["index"])] for row in table]) / 255
    normed = (batch - np.array(CIFAR10.mean)) / np.array(CIFAR10.std)
    logits = network(ms.Tensor(normed.transpose(0, 3, 1, 2).astype(np.float32))).asnumpy()
    wrong = logits.argmax(1) != [int(row["label"]) for row in table]
    margin = np.sort(logits, 1)[:, -1] - np.sort(logits, 1)[:, -2]
    found = np.array([int(row["is_error"]) for row in table])
    assert (found == wrong)[margin > 1e-3].all() and 0 < wrong.sum() < 120


@pytest.mark.slow
def test_killed_in_either_stage_resumes_to_the_same_bits(run, tmp_path):
    """SIGKILL in both stages of EIIL, each followed by --resume; against an undisturbed run."""
    flags = ["--method", "eiil", "--eiil_epochs", "3", "--total_epoch", "3", "--log_train", "1"]
    flags += ["--eiil_steps", "2000"]
    expected = run(*flags)
    command = [sys.executable, str(ROOT / "main.py"), *TINY, "--data_dir", str(run.data_dir)]
    command += [*flags, "--log_dir", str(tmp_path), "--resume"]
    folder = tmp_path / expected.name
    for table in (folder / "stage1" / "train.csv", folder / "train.csv"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(process, partial(begun_second_epoch, table))
        process.kill()
        process.wait()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    assert (folder / "log.txt").read_text().count("going on after epoch") == 2
    for name in ("val.csv", "test.csv"):
        for part in ("", "stage1"):
            assert (folder / part / name).read_bytes() == (expected / part / name).read_bytes()
    for part in ("", "stage1"):
        summaries = map(summary_without_seconds, (folder / part, expected / part))
        assert next(summaries) == next(summaries)
    for name in ("alignment.csv", "inferred_groups.csv"):
        assert (folder / "stage1" / name).read_bytes() == (expected / "stage1" / name).read_bytes()
    assert without_speed(folder / "train.csv") == without_speed(expected / "train.csv")
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(weights(folder, name), weights(expected, name)), name
    last = rows(folder / "train.csv")[-1]
    assert sum(float(last[f"inferred_weight_{g}"]) for g in (0, 1)) == pytest.approx(1, abs=1e-5)
    assert last["weight_0"] == ""
