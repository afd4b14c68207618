"""scripts/benchmark.py: its arithmetic on made-up times, and its parts in the smallest form."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from running import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark
from benchmarks import corruptions as corruptions_part
from benchmarks.floor import spent_by_kind
from benchmarks.made_up import made_up_batch, write_cifar10
from benchmarks.measuring import Options, Peer, Row, Workload, environment, in_turns, ratio
from dataset.prepare_dataset import read_clean
from dataset.specs import CIFAR10
from models import create_model
from sharpdro.errors import RunError


def test_turns_go_back_and_forth_and_ratios_pair_them():
    calls = []
    functions = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    times = in_turns(functions, 3)
    assert calls == list("abbaab") and times == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert ratio(times["b"], times["a"]) == (2, 0.75, 1.2)


@pytest.mark.parametrize(
    ("row", "judged", "is_met"),
    [
        (Row("x", "s", (1.0, 9.0, 2.0)), 2, None),
        (Row("x", "s", (1.0, 9.0, 2.0), at_most=2), 2, True),
        (Row("x", "s", (1.0, 9.0, 2.5), at_most=2), 2.5, False),
        (Row("x", "s", (1.0,), "y", (0.9, 0.94, 0.99), at_least=0.95), 0.94, False),
        (Row("x", "s", (1.0,), "y", (0.96,), at_least=0.95), 0.96, True),
    ],
)
def test_target_is_about_the_median_of_the_ratios_or_else_the_values(row, judged, is_met):
    assert (row.judged(), row.is_met()) == (judged, is_met)
    assert ("MISSED" in benchmark.cells(row)[-1]) == (is_met is False)


def test_onednn_lines_are_summed_by_kind():
    """Lines as oneDNN 3.10 prints them, shortened in the middle."""
    head = "onednn_verbose,v1,primitive,"
    text = "\n".join(
        [
            f"{head}info,template:operation,engine,primitive,implementation,exec_time",
            f"{head}exec,cpu,convolution,x64:gemm:jit,forward_training,src:f32,,alg,mb100,38.5",
            f"{head}exec,cpu,convolution,x64:gemm:jit,backward_data,src:f32,,alg,mb100,1.5",
            f"{head}exec,cpu,batch_normalization,ncsp_bnorm:any,backward,data:f32,,CH,mb1,13.25",
            f"{head}exec,cpu,matmul,gemm:jit:f32,undef,src:f32,,,100x64:64x10,0.08",
            "something else",
        ]
    )
    assert spent_by_kind(text) == {"convolution": 0.04, "batch_normalization": 0.01325}


def make_adder(start):
    os.environ.setdefault("ADDED", "0")
    return lambda: start + int(os.environ["ADDED"])


def test_peer_is_a_process_with_an_environment_of_its_own():
    with Peer(make_adder, 5, ADDED="2") as peer:
        assert (peer(), peer()) == (7, 7)
    assert "ADDED" not in os.environ
    with environment(ADDED="1"), environment(ADDED="2"):
        assert os.environ["ADDED"] == "2"
    assert "ADDED" not in os.environ


@pytest.mark.slow
def test_made_up_cifar_is_read_as_the_real_one(tmp_path):
    write_cifar10(tmp_path)
    for split, count in (("train", 50_000), ("test", 10_000)):
        images, labels = read_clean(CIFAR10, tmp_path)[split]
        assert images.shape == (count, 32, 32, 3) and (np.bincount(labels) == count // 10).all()
    images, labels, groups = made_up_batch(1000)
    assert images.dtype == np.uint8 and images.std() > 30 and labels.max() == 9
    assert 0.3 < (groups == 0).mean() < 0.43  # 36.8 % in training


def test_network_in_pytorch_is_the_same():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.pytorch import create_wide_resnet

    ours = create_model("wideresnet", 10, depth=16, widen_factor=2).trainable_params()
    theirs = create_wide_resnet(16, 2).parameters()
    assert sorted(p.shape for p in ours) == sorted(tuple(p.shape) for p in theirs)


def test_table_and_json(tmp_path, capsys, monkeypatch):
    row = Row("a batch", "ms", (1.0, 3.0, 2.0), "a step", (0.5, 0.75, 1.0), at_most=0.8)
    monkeypatch.setattr(benchmark, "measure_part", lambda name, options: [row])
    assert benchmark.main(["step", "evaluation", "--json", str(tmp_path / "a.json")]) == 0
    assert "evaluation: evaluation against the forward pass alone" in capsys.readouterr().out
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["parts"].keys() == {"step", "evaluation"}
    (written,) = content["parts"]["step"]
    assert (written["values"], written["judged"], written["is_met"]) == ([1, 3, 2], 0.75, True)
    assert content["environment"]["cores"] and "mindspore" in content["environment"]
    cells = "a batch", "2 ms", "1.5–2.5", "3", "0.750 of a step", "0.625–0.875", "≤ 0.8 met"
    assert tuple(benchmark.cells(row)) == cells


def test_a_part_that_fails_does_not_end_the_others(tmp_path, capsys, monkeypatch):
    row = Row("a batch", "ms", (1.0,))

    def measure_part(name, options):
        if name == "step":
            raise RunError("part step failed, see above")
        return [row]

    monkeypatch.setattr(benchmark, "measure_part", measure_part)
    assert benchmark.main(["step", "evaluation", "--json", str(tmp_path / "a.json")]) == 1
    assert capsys.readouterr().err == "benchmark.py: part step failed, see above\n"
    assert json.loads((tmp_path / "a.json").read_text())["parts"].keys() == {"evaluation"}


STOPPED = """
import subprocess, sys, tempfile, types
sys.path[:0] = {paths!r}
from sharpdro.startup import start_program
if __name__ == "__main__":
    start_program()
import benchmark
def measure(options):
    tempfile.mkdtemp()
    code = "import time; print('begun', flush=True); time.sleep(100)"
    subprocess.run([sys.executable, "-c", code])
sys.modules["benchmarks.steps"] = types.SimpleNamespace(measure=measure)
if __name__ == "__main__":
    sys.exit(benchmark.main(["step"]))
"""


def test_sigterm_ends_it_in_one_line(tmp_path):
    """And its part, with what that has started, and what both have written for a while."""
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED.format(paths=[str(ROOT), str(ROOT / "scripts")]))
    (tmp_path / "tmp").mkdir()
    where = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(program)], env=where, **pipes)
    while "begun" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)  # stdout is open while any of them lives
    assert process.returncode == 143
    assert errors == "benchmark.py: terminated: --json has the finished parts\n"
    assert not list((tmp_path / "tmp").iterdir())


def test_corruptions_on_eight_images(tmp_path, monkeypatch):
    monkeypatch.setattr(corruptions_part, "SIZES", {"cifar": (32, 8)})
    monkeypatch.setattr(corruptions_part, "CORRUPTIONS", ("fog", "contrast"))
    rows = list(corruptions_part.measure(Options(Workload("wideresnet", 10, 1, 10), 2, tmp_path)))
    assert [row.what for row in rows[::3]] == ["fog 32×32", "contrast 32×32"]
    assert all(len(row.values) == 2 and min(row.values) > 0 for row in rows)
    assert rows[2].against == "one core" and len(rows[2].ratios) == 2


@pytest.mark.slow
@pytest.mark.parametrize("part", benchmark.PARTS)
def test_every_part_from_command_to_json(tmp_path, part):
    """With the smallest network, once."""
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), part, "--rounds", "1"]
    command += ["--depth", "10", "--widen_factor", "1", "-b", "20", "--json", "a.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["parts"][part]
    assert rows or "PyTorch is not installed" in done.stderr
    for row in rows:
        assert row["what"] in done.stdout and min(row["values"]) > 0 and len(row["values"]) == 1


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["steps"], "invalid choice: 'steps', did you mean step? (choose from step, floor"),
        (["step", "--rounds", "0"], "--rounds: 0 is not a whole number >= 1"),
        (["step", "--data_dir", "nowhere"], "--data_dir nowhere is not a folder"),
        (["step", "--json", "nowhere/a.json"], "there is no folder nowhere"),
        (["step", "--depth", "17"], "--depth 17 is not 6k + 4"),
    ],
)
def test_bad_usage(flags, text, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    try:
        code = benchmark.main(flags)
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert code == 2 and text in captured.err and "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())
