"""The operators of --cpu_kernels onednn against float64 NumPy, and how they are built."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running import ERM, ROOT, TINY, assert_refused, check_equal, evaluated_rows, rows

import main
from models import layers as stock
from sharpdro.cpu_kernels import build
from sharpdro.errors import RunError

ONEDNN = (*ERM, "--cpu_kernels", "onednn", "--save_step", "1")


@pytest.fixture(scope="module")
def library():
    try:
        return build.build_library()
    except RunError as error:
        pytest.skip(str(error))


def call(library, name, inputs, shapes, dtype="float32"):
    """Call an operator as MindSpore does; returns its exit code and its outputs."""
    outputs = [np.full(shape, np.nan, np.float32) for shape in shapes]
    arrays = [np.ascontiguousarray(x, np.float32) for x in inputs] + outputs
    count = len(arrays)
    dims = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
    code = getattr(ctypes.CDLL(str(library)), name)(
        count,
        (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays)),
        (ctypes.c_int * count)(*(a.ndim for a in arrays)),
        (ctypes.POINTER(ctypes.c_int64) * count)(*(ctypes.cast(d, _INT64) for d in dims)),
        (ctypes.c_char_p * count)(*[dtype.encode()] * count),
        None,
        None,
    )
    return code, outputs


_INT64 = ctypes.POINTER(ctypes.c_int64)


def taps(x, kernel, stride, y_shape):
    """For each place (i, j) in the kernel, what of the padded images (N, C, H, W) meets it."""
    for i, j in np.ndindex(kernel, kernel):
        yield i, j, x[:, :, i::stride, j::stride][:, :, : y_shape[2], : y_shape[3]]


def padded(x, kernel, stride):
    far = kernel // 2 + stride
    return np.pad(x, ((0, 0), (0, 0), (kernel // 2, far), (kernel // 2, far)))


def convolution(x, w, stride):
    """y of the definition, in float64."""
    sides = [(side - 1) // stride + 1 for side in x.shape[2:]]
    y = np.zeros((len(x), len(w), *sides))
    for i, j, seen in taps(padded(x, w.shape[2], stride), w.shape[2], stride, y.shape):
        y += np.einsum("nchw,oc->nohw", seen, w[:, :, i, j], optimize=True)
    return y


def gradients(x, w, dy, stride):
    """dx and dw of Σ y · dy: every product of the definition goes back to its two factors."""
    kernel = w.shape[2]
    room, dw = padded(x, kernel, stride), np.zeros(w.shape)
    droom = np.zeros(room.shape)
    spread = taps(droom, kernel, stride, dy.shape)
    for (i, j, seen), (_, _, back) in zip(taps(room, kernel, stride, dy.shape), spread):
        dw[:, :, i, j] = np.einsum("nchw,nohw->oc", seen, dy, optimize=True)
        back += np.einsum("nohw,oc->nchw", dy, w[:, :, i, j], optimize=True)
    edge = kernel // 2
    return droom[:, :, edge : edge + x.shape[2], edge : edge + x.shape[3]], dw


def assert_close(found, expected, terms):
    """Off by no more than float32's rounding of sums of so many terms can be."""
    bound = 3e-7 * np.sqrt(terms) * (np.abs(expected).max() + 1e-6)
    assert np.abs(found - expected).max() <= max(bound, 2e-6 * np.abs(expected).max())


def check_convolution(library, rng, batch, inputs, outputs, kernel, stride, height, width):
    x, w = (
        rng.normal(size=(batch, inputs, height, width)),
        rng.normal(size=(outputs, inputs, kernel, kernel)),
    )
    x, w = x.astype(np.float32).astype(np.float64), w.astype(np.float32).astype(np.float64)
    y = convolution(x, w, stride)
    dy = rng.normal(size=y.shape).astype(np.float32).astype(np.float64)
    dx, dw = gradients(x, w, dy, stride)
    code, (found,) = call(library, "convolution_forward", (x, w), [y.shape])
    assert code == 0
    assert_close(found, y, inputs * kernel**2)
    code, both = call(library, "convolution_gradients", (dy, w, x), [x.shape, w.shape])
    assert code == 0
    assert_close(both[0], dx, outputs * kernel**2)
    assert_close(both[1], dw, y[:, 0].size)
    for name, of_both in zip(("input", "weight"), both):
        how = (dy, w, x), [of_both.shape]
        code, (alone,) = call(library, f"convolution_{name}_gradient", *how)
        assert code == 0 and np.array_equal(alone, of_both)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "kernel", "height", "width"),
    [
        *((1, 3, 16, 3, 8, 8), (1, 1, 1, 3, 1, 1), (5, 16, 32, 3, 33, 33), (2, 13, 7, 3, 9, 31)),
        *((3, 8, 8, 3, 1, 17), (100, 16, 16, 3, 8, 8), (2, 3, 64, 7, 33, 30), (1, 5, 6, 5, 11, 10)),
    ],
)
def test_convolutions_are_those_of_the_definition(
    library, batch, inputs, outputs, kernel, stride, height, width
):
    how = batch, inputs, outputs, kernel, stride, height, width
    check_convolution(library, np.random.default_rng(0), *how)


def test_convolutions_of_200_random_shapes(library):
    rng = np.random.default_rng(1)
    for _ in range(200):
        batch, inputs, outputs, stride = rng.integers((1, 1, 1, 1), (6, 41, 41, 3))
        kernel, (height, width) = rng.choice([3, 3, 3, 5, 7]), rng.integers(1, 34, 2)
        how = batch, inputs, outputs, kernel, stride, height, width
        check_convolution(library, rng, *map(int, how))


@pytest.mark.parametrize(
    ("x", "w", "y", "dtype"),
    [
        ((2, 8, 9, 9), (8, 8, 3, 3), (2, 8, 9, 9), "float16"),
        ((2, 8, 9, 9), (8, 4, 3, 3), (2, 8, 9, 9), "float32"),  # groups
        ((2, 8, 9, 9), (8, 8, 3, 3), (2, 8, 7, 7), "float32"),  # no padding
        ((2, 8, 9, 9), (8, 8, 3, 3), (2, 8, 3, 3), "float32"),  # stride 3
        ((2, 8, 9, 9), (8, 8, 3, 3), (2, 8, 9, 5), "float32"),  # strides 1 and 2
        ((2, 8, 9, 9), (8, 8, 2, 2), (2, 8, 9, 9), "float32"),
        ((2, 8, 9, 9), (8, 8, 3, 5), (2, 8, 9, 9), "float32"),
        ((2, 8, 9), (8, 8, 3), (2, 8, 9), "float32"),
        ((2, 8, 9, 9), (8, 8, 3, 3), (3, 8, 9, 9), "float32"),
    ],
)
def test_what_is_not_supported_is_refused(library, x, w, y, dtype):
    code, (found,) = call(library, "convolution_forward", (np.ones(x), np.ones(w)), [y], dtype)
    assert code != 0 and np.isnan(found).all()
    if dtype == "float32":
        given = np.ones(y), np.ones(w), np.ones(x)
        assert call(library, "convolution_gradients", given, [x, w])[0] != 0


@pytest.mark.parametrize(
    "settings",
    [
        *({"stride": 3}, {"padding": 0}, {"dilation": 2}, {"group": 2}, {"has_bias": True}),
        *({"pad_mode": "same", "padding": 0}, {"kernel_size": 4, "padding": 2}, {"stride": (1, 2)}),
    ],
)
def test_layers_that_are_not_supported_are_refused(library, settings):
    from sharpdro.cpu_kernels.layers import Convolution

    given = {"kernel_size": 3, "padding": 1, "pad_mode": "pad", **settings}
    with pytest.raises(ValueError, match="--cpu_kernels onednn has no convolution of"):
        Convolution(4, 4, **given)


def test_one_by_one_is_left_to_mindspore(library):
    from sharpdro.cpu_kernels.layers import Layers

    assert type(Layers().convolution(4, 8, 1)) is type(stock.convolution(4, 8, 1))
    assert type(Layers().convolution(4, 8, 3)) is not type(stock.convolution(4, 8, 3))


SUMS = """
import os, sys, zlib
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import numpy as np
from test_cpu_kernels import build, call
rng, library = np.random.default_rng(0), build.build_library()
for inputs, outputs, stride in ((3, 16, 1), (16, 16, 1), (16, 40, 2), (64, 64, 1), (128, 128, 1)):
    side = 8 if inputs > 16 else 32
    x, w = rng.normal(size=(30, inputs, side, side)), rng.normal(size=(outputs, inputs, 3, 3))
    y = (30, outputs, side // stride, side // stride)
    outputs = call(library, "convolution_forward", (x, w), [y])[1]
    outputs += call(library, "convolution_gradients", (outputs[0], w, x), [x.shape, w.shape])[1]
    print([zlib.crc32(output) for output in outputs])
"""


def test_bits_do_not_depend_on_threads(library):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    found = set()
    for threads in "12212":
        where = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        command = [sys.executable, "-c", SUMS, threads]
        found.add(subprocess.run(command, env=where, capture_output=True, check=True).stdout)
    assert len(found) == 1 and found.pop().count(b"\n") == 5


BUILD = "from sharpdro.cpu_kernels.build import build_library; print(build_library())"


def test_two_processes_may_compile_at_once(library, tmp_path):
    where = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    start = {"env": where, "cwd": tmp_path, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", BUILD], **start) for _ in range(2)]
    paths = {process.communicate()[0] for process in processes}
    assert len(paths) == 1
    path = Path(paths.pop().strip())
    assert list((tmp_path / "cache").rglob("*")) == [tmp_path / "cache" / "sharpdro", path]
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    before = path.stat().st_mtime_ns
    subprocess.run([sys.executable, "-c", BUILD], env=where, check=True, capture_output=True)
    assert path.stat().st_mtime_ns == before
    x, w = np.ones((1, 1, 1, 1)), np.ones((1, 1, 3, 3))
    assert call(path, "convolution_forward", (x, w), [(1, 1, 1, 1)])[1][0] == 1


@pytest.fixture
def unbuilt(monkeypatch):
    build.build_library.cache_clear()
    yield monkeypatch
    build.build_library.cache_clear()


def refused(capsys, tmp_path, *texts):
    own = ["--log_dir", tmp_path / "logs", "--data_dir", tmp_path / "data"]
    assert_refused(capsys, ["--cpu_kernels", "onednn", *own], "--cpu_kernels onednn", *texts)
    assert not (tmp_path / "logs").exists() and not (tmp_path / "data").exists()


def test_no_compiler_is_told(unbuilt, capsys, tmp_path):
    unbuilt.setenv("CXX", "no-such-compiler")
    refused(capsys, tmp_path, "finds no no-such-compiler", "leave the flag out")


def test_a_compiler_that_fails_is_told(unbuilt, capsys, tmp_path):
    unbuilt.setenv("CXX", "false")
    unbuilt.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused(capsys, tmp_path, "cannot compile kernels.cc (exit code 1)")
    assert list((tmp_path / "cache" / "sharpdro").iterdir()) == []


def test_a_folder_that_mindspore_could_not_name_is_told(unbuilt, capsys, tmp_path):
    unbuilt.setenv("XDG_CACHE_HOME", str(tmp_path / "a:b"))
    refused(capsys, tmp_path, "a:b", "set XDG_CACHE_HOME")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("MINDSPORE_VERSIONS", ("2.11.0",), "was made for MindSpore 2.11.0, not 2."),
        ("ONEDNN_VERSION", (3, 99), "was made for oneDNN 3.99 with a thread pool"),
        ("_THREADPOOL_RUNTIME", 2, "which is 3.10 with runtime 8"),
    ],
)
def test_other_versions_are_told(unbuilt, capsys, tmp_path, name, value, text):
    unbuilt.setattr(build, name, value)
    refused(capsys, tmp_path, text)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "x86_64"), ("Linux", "aarch64")])
def test_other_machines_are_told(unbuilt, capsys, tmp_path, system, machine):
    unbuilt.setattr(build.platform, "system", lambda: system)
    unbuilt.setattr(build.platform, "machine", lambda: machine)
    refused(capsys, tmp_path, f"needs Linux on x86-64, not {system} on {machine}")


def test_other_devices_are_told(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("mindspore.hal.is_available", lambda name: name != "Ascend")
    refused(capsys, tmp_path, "is not for GPU: leave it out, or choose --device_target CPU")


@pytest.fixture(scope="module")
def onednn_run(library, run):
    return run(*ONEDNN)


def test_run_is_recorded_and_repeated_to_the_bit(onednn_run, run, tmp_path):
    """Once more in a process of its own."""
    settings = json.loads((onednn_run / "settings.json").read_text())["settings"]
    assert settings["cpu_kernels"] == "onednn"
    assert "  CPU kernels: onednn\n" in (onednn_run / "log.txt").read_text()
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *ONEDNN]
    command += ["--data_dir", str(run.data_dir), "--log_dir", str(tmp_path / "logs")]
    subprocess.run(command, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    check_equal(tmp_path / "logs" / onednn_run.name, onednn_run)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_resumed_run_is_equal_and_other_kernels_are_refused(onednn_run, run, tmp_path, capsys):
    folder = tmp_path / onednn_run.name
    shutil.copytree(onednn_run, folder)
    (folder / "summary.json").unlink()
    shutil.copy(folder / "epoch_1.ckpt", folder / "last.ckpt")
    own = ("--log_dir", str(tmp_path), "--resume")
    capsys.readouterr()
    assert run.code(*ONEDNN, *own, "--cpu_kernels", "stock") == 2
    told = f"--cpu_kernels is stock, but {folder} was started with onednn"
    assert told in capsys.readouterr().err
    assert run.code(*ONEDNN, *own) == 0
    check_equal(folder, onednn_run)


def test_checkpoint_is_measured_with_either(onednn_run, run, tmp_path):
    """By the same kernels to the same bits; without them by far less than what training changes."""
    own = ("--eval_only", "--checkpoint", str(onednn_run / "last.ckpt"))
    own += ("--data_dir", str(run.data_dir))
    own_rows = [row for row in rows(onednn_run / "test.csv") if row["epoch"] == "2"]
    for kernels in ("stock", "onednn"):
        logs = tmp_path / kernels
        assert main.main([*own, "--log_dir", str(logs), "--cpu_kernels", kernels]) == 0
        (folder,) = logs.iterdir()
        found = evaluated_rows(folder)
        if kernels == "onednn":
            assert found == own_rows
        for row, expected in zip(found, own_rows, strict=True):
            loss, same = float(row["loss"]), float(expected["loss"])
            assert row["accuracy"] == expected["accuracy"] and abs(loss / same - 1) < 1e-5
