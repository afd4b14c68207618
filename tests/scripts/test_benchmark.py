"""scripts/benchmark.py: its arithmetic on made-up times, and its quickest part as users call it."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from running import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark
from benchmarks.floor import spent_by_kind
from benchmarks.made_up import made_up_batch, write_cifar10
from benchmarks.measuring import Peer, Row, environment, in_turns, ratio
from dataset.prepare_dataset import read_clean
from dataset.specs import CIFAR10
from models import create_model


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


def test_one_part_from_command_to_json(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "split", "--rounds", "2"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "a.json")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "split of 50,000 labels" in done.stdout
    content = json.loads((tmp_path / "a.json").read_text())
    (row,) = content["parts"]["split"]
    assert row["judged"] == np.median(row["values"]) and row["unit"] == "ms"
    assert content["environment"]["cores"] and "mindspore" in content["environment"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["splits"], "no part 'splits': choose from step, floor"),
        (["split", "--rounds", "0"], "--rounds: 0 is not a whole number >= 1"),
        (["split", "--data_dir", "nowhere"], "--data_dir nowhere is not a folder"),
        (["split", "--json", "nowhere/a.json"], "there is no folder nowhere"),
        (["split", "--depth", "17"], "--depth 17 is not 6k + 4"),
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


def test_every_part_is_there():
    for module, what in benchmark.PARTS.values():
        assert importlib.util.find_spec(f"benchmarks.{module}") and what
