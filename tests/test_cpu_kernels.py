"""The operators of --cpu_kernels onednn against float64 NumPy, and how they are built."""

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from kernel_calls import call
from mindspore import nn, ops
from running import ERM, ROOT, TINY, assert_refused, check_equal, evaluated_rows, rows

import main
from dataset.specs import DATASETS
from sharpdro.cpu_kernels import build
from sharpdro.cpu_kernels.layers import Convolution
from sharpdro.device import CPU_KERNELS, prepare_kernels
from sharpdro.errors import RunError
from sharpdro.networks.build import create_network

ONEDNN = (*ERM, "--cpu_kernels", "onednn", "--save_step", "1")


@pytest.fixture(scope="module")
def library():
    try:
        return build.build_library()
    except RunError as error:
        pytest.skip(str(error))


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


def assert_close(found, expected, terms, size=None):
    """Off by no more than float32's rounding of sums of so many terms can be.

    `size` is that of what is added up, where much of it cancels.
    """
    size = np.abs(expected).max() if size is None else size
    assert np.abs(found - expected).max() <= max(3e-7 * np.sqrt(terms), 2e-6) * (size + 1e-6)


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
        *((2, 16, 24, 1, 9, 8), (1, 3, 5, 1, 1, 2)),
    ],
)
def test_convolutions_are_those_of_the_definition(
    library, batch, inputs, outputs, kernel, stride, height, width
):
    how = batch, inputs, outputs, kernel, stride, height, width
    check_convolution(library, np.random.default_rng(0), *how)


def test_convolutions_of_random_shapes(library):
    rng = np.random.default_rng(1)
    for _ in range(60):
        batch, inputs, outputs, stride = rng.integers((1, 1, 1, 1), (6, 41, 41, 3))
        kernel, (height, width) = rng.choice([1, 3, 3, 3, 5, 7]), rng.integers(1, 34, 2)
        how = batch, inputs, outputs, kernel, stride, height, width
        check_convolution(library, rng, *map(int, how))


def norm(x, gamma, beta, slope, statistics=None):
    """Batch norm with the activation, in float64; also mean, variance and the active region."""
    mean, variance = statistics or (x.mean((0, 2, 3)), x.var((0, 2, 3)))
    inverse = 1 / np.sqrt(variance + 1e-5)
    normed = (x - mean[:, None, None]) * inverse[:, None, None]
    v = normed * gamma[:, None, None] + beta[:, None, None]
    return np.where(v > 0, v, slope * v), (normed, inverse, mean, variance, v)


def norm_gradients(dy, gamma, slope, normed, inverse, v):
    """dx, dγ, dβ of Σ y · dy; the values within rounding of the kink may go either way."""
    g = np.where(v > 0, 1, slope) * dy
    dgamma, dbeta = (g * normed).sum((0, 2, 3)), g.sum((0, 2, 3))
    g *= gamma[:, None, None]
    axes = {"axis": (0, 2, 3), "keepdims": True}
    dx = g - g.mean(**axes) - normed * (g * normed).mean(**axes)
    return inverse[:, None, None] * dx, dgamma, dbeta


def random_norm(rng, shape):
    """x, γ (also negative and 0), β, running mean and variance, as float32 holds them."""
    channels = shape[1]
    x = rng.normal(rng.normal(0, 3, (channels, 1, 1)), rng.uniform(0.1, 2, (channels, 1, 1)), shape)
    gamma, beta = rng.normal(1, 1, channels), rng.normal(0, 0.5, channels)
    gamma[0] = 0
    drawn = x, gamma, beta, rng.normal(0, 1, channels), rng.uniform(0.5, 2, channels)
    return [value.astype(np.float32).astype(np.float64) for value in drawn]


def check_norm(library, rng, shape, slope):
    x, gamma, beta, running_mean, running_variance = given = random_norm(rng, shape)
    how, per_channel, size = np.array([1e-5, slope, 0.1]), (shape[1],), x[:, 0].size
    y, (normed, inverse, mean, variance, v) = norm(x, gamma, beta, slope)
    code, found = call(library, "norm_forward", (*given, how), [shape] + 4 * [per_channel])
    assert code == 0
    unbiased = variance * size / max(size - 1, 1)
    moved = 0.9 * running_mean + 0.1 * mean, 0.9 * running_variance + 0.1 * unbiased
    for value, expected in zip(found, (y, mean, inverse, *moved), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    dy = rng.normal(size=shape).astype(np.float32) * (np.abs(v) > 1e-4)
    expected = norm_gradients(dy, gamma, slope, normed, inverse, v)
    code, found = call(
        library, "norm_gradients", (dy, x, gamma, beta, mean, inverse, how),
        [shape, per_channel, per_channel],
    )  # fmt: skip
    assert code == 0
    scale = np.abs(gamma * inverse)[:, None, None]
    assert_close(found[0], expected[0], size, np.abs(scale * dy).max())
    for value, truth in zip(found[1:], expected[1:], strict=True):
        assert_close(value, truth, size)
    y, _ = norm(x, gamma, beta, slope, (running_mean, running_variance))
    code, (found,) = call(library, "norm_evaluation", (*given, how), [shape])
    assert code == 0
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slope", [0, 0.1, 1])
@pytest.mark.parametrize(
    "shape", [(1, 3, 8, 8), (100, 16, 32, 32), (7, 13, 5, 9), (2, 5, 1, 1), (3, 9, 33, 31)]
)
def test_norms_are_those_of_the_definition(library, shape, slope):
    check_norm(library, np.random.default_rng(0), shape, slope)


def test_norms_of_random_shapes(library):
    rng = np.random.default_rng(1)
    for _ in range(60):
        batch, channels, height, width = rng.integers((1, 1, 2, 2), (9, 41, 34, 34))
        check_norm(library, rng, (batch, channels, height, width), rng.choice([0, 0.1, 1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("slope", [0, 0.1, 1])
def test_what_is_not_finite_does_not_vanish(library, bad, slope):
    """In the channel that has it, and no other."""
    how, shape = np.array([1e-5, slope, 0.1]), (3, 2, 9, 8)
    x, ones = np.random.default_rng(0).normal(size=shape), np.ones(2)
    x[1, 1, 4, 4] = bad
    given = x, ones, ones, ones, ones, how
    y, mean, *_ = call(library, "norm_forward", given, [shape] + 4 * [(2,)])[1]
    assert not np.isfinite(y[:, 1]).any() and not np.isfinite(mean[1])
    assert np.isfinite(y[:, 0]).all()
    (y,) = call(library, "norm_evaluation", given, [shape])[1]
    assert not np.isfinite(y[1, 1, 4, 4]) and np.isfinite(y).sum() == y.size - 1
    clean = np.where(np.isfinite(x), x, 0)
    given = x, clean, ones, ones, ones, ones, how
    dx, dgamma, dbeta = call(library, "norm_gradients", given, [shape, (2,), (2,)])[1]
    assert not np.isfinite(dx[:, 1]).any() and np.isfinite(dx[:, 0]).all()
    assert not np.isfinite(dgamma[1]) and not np.isfinite(dbeta[1])


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


class Gradients(nn.Cell):
    """Of the mean cross-entropy by all parameters."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.differentiate = ms.grad(self.loss, None, network.trainable_params())

    def loss(self, images, labels):
        return ops.cross_entropy(self.network(images), labels)

    def construct(self, images, labels):
        return self.differentiate(images, labels)


@pytest.mark.parametrize(
    ("name", "shape", "side"),
    [
        ("wideresnet", {"depth": 10, "widen_factor": 1}, 32),
        pytest.param("resnet18", {}, 64, marks=pytest.mark.slow),
    ],
)
def test_network_is_that_of_stock_kernels(library, name, shape, side):
    """Gradients, running statistics, logits in evaluation, to what one ReLU's kink may make."""
    rng, found = np.random.default_rng(0), {}
    images = ms.Tensor(rng.normal(size=(8, 3, side, side)).astype(np.float32))
    labels = ms.Tensor(rng.integers(0, 10, 8).astype(np.int32))
    for kernels in CPU_KERNELS:
        gc.collect()
        ms.set_seed(0)
        network, _ = create_network(name, DATASETS["cifar10"], cpu_kernels=kernels, **shape)
        gradients = Gradients(network).set_train()(images, labels)
        values = {p.name: g.asnumpy() for p, g in zip(network.trainable_params(), gradients)}
        values |= {p.name: p.asnumpy() for p in network.get_parameters() if "moving" in p.name}
        values["logits"] = network.set_train(False)(images).asnumpy()
        found[kernels] = {key.removeprefix("network."): v for key, v in values.items()}
    for kernels in ("onednn", "onednn_avx512"):
        assert found["stock"].keys() == found[kernels].keys()
        for key, expected in found["stock"].items():
            limit = 1e-5 if "moving" in key else 5e-3
            assert relative(found[kernels][key], expected) < limit, key


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
    given = {"kernel_size": 3, "padding": 1, "pad_mode": "pad", **settings}
    with pytest.raises(ValueError, match="--cpu_kernels onednn has no convolution of"):
        Convolution(4, 4, **given)


def test_one_by_one_is_left_to_mindspore_unless_it_has_avx512(library):
    """Where its convolutions would be very slow: none of them is left then."""
    for kernels, has_pointwise in (("onednn", False), ("onednn_avx512", True)):
        network, _ = create_network("wideresnet", DATASETS["cifar10"], 10, 1, kernels)
        cells = [cell for cell in network.cells_and_names() if isinstance(cell[1], nn.Conv2d)]
        own = {cell.kernel_size[0] for _, cell in cells if isinstance(cell, Convolution)}
        assert own == ({1, 3} if has_pointwise else {3})
        assert has_pointwise == all(isinstance(cell, Convolution) for _, cell in cells)


def test_onednn_avx512_names_the_instruction_set_before_anything_else_does(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    prepare_kernels("onednn_avx512")
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE"
    prepare_kernels()  # as create_train_step does
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX512_CORE"


def test_avx512_that_is_not_there_is_told(library, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(build, "_AVX512", {"avx512f", "no_such_thing"})
    own = ["--log_dir", tmp_path / "logs", "--data_dir", tmp_path / "data"]
    text = "--cpu_kernels onednn_avx512 needs a processor with AVX-512: choose onednn"
    assert_refused(capsys, ["--cpu_kernels", "onednn_avx512", *own], text)
    assert not list(tmp_path.iterdir())


SUMS = """
import ctypes, os, sys, zlib
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import numpy as np
from kernel_calls import call
from sharpdro.cpu_kernels.build import _check_versions, build_library
rng, library = np.random.default_rng(0), build_library()
onednn = ctypes.CDLL(str(_check_versions()[1]))  # as if there were so many cores
onednn.dnnl_threadpool_interop_set_max_concurrency(int(sys.argv[1]))
for inputs, outputs, stride in ((3, 16, 1), (16, 16, 1), (16, 40, 2), (64, 64, 1), (128, 128, 1)):
    side = 8 if inputs > 16 else 32
    x, w = rng.normal(size=(30, inputs, side, side)), rng.normal(size=(outputs, inputs, 3, 3))
    y = (30, outputs, side // stride, side // stride)
    outputs = call(library, "convolution_forward", (x, w), [y])[1]
    outputs += call(library, "convolution_gradients", (outputs[0], w, x), [x.shape, w.shape])[1]
    print([zlib.crc32(output) for output in outputs])
"""


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_bits_do_not_depend_on_cores(library, instructions):
    if instructions != "AVX2" and not build.has_avx512():
        pytest.skip("needs a processor with AVX-512")
    found = set()
    for cores in ("1", "2", "2", "4", "16"):
        where = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        where["ONEDNN_MAX_CPU_ISA"] = instructions
        command = [sys.executable, "-c", SUMS, cores]
        found.add(subprocess.run(command, env=where, capture_output=True, check=True).stdout)
    assert len(found) == 1 and found.pop().count(b"\n") == 5


BUILD = "from sharpdro.cpu_kernels.build import build_library; print(build_library())"


@pytest.mark.slow
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
    monkeypatch.setattr("sharpdro.device.is_available", lambda name: name != "Ascend")
    refused(capsys, tmp_path, "is not for GPU: leave it out, or choose --device_target CPU")


@pytest.fixture(scope="module")
def onednn_run(library, run):
    return run(*ONEDNN)


def test_run_is_recorded(onednn_run):
    settings = json.loads((onednn_run / "settings.json").read_text())["settings"]
    assert settings["cpu_kernels"] == "onednn"
    assert "  CPU kernels: onednn\n" in (onednn_run / "log.txt").read_text()


def run_alone(run, logs, *flags):
    """A run in a process of its own."""
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *flags]
    command += ["--data_dir", str(run.data_dir), "--log_dir", str(logs)]
    subprocess.run(command, check=True, cwd=logs.parent, stdout=subprocess.DEVNULL)
    (folder,) = logs.iterdir()
    return folder


@pytest.mark.slow
def test_run_is_repeated_to_the_bit_in_a_process_of_its_own(onednn_run, run, tmp_path):
    check_equal(run_alone(run, tmp_path / "logs", *ONEDNN), onednn_run)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


@pytest.mark.slow
def test_run_with_avx512_is_repeated_and_resumed_to_the_bit(library, run, tmp_path):
    try:
        build.check_machine("onednn_avx512")
    except RunError as error:
        pytest.skip(str(error))
    flags = *ERM, "--cpu_kernels", "onednn_avx512", "--save_step", "1"
    first = run_alone(run, tmp_path / "first", *flags)
    content = json.loads((first / "settings.json").read_text())
    assert content["settings"]["cpu_kernels"] == "onednn_avx512"
    assert content["environment"]["onednn_max_cpu_isa"] == "AVX512_CORE"
    (tmp_path / "second").mkdir()
    back_to_first_epoch(first, tmp_path / "second")
    check_equal(run_alone(run, tmp_path / "second", *flags, "--resume"), first)


def back_to_first_epoch(finished, parent):
    """A copy of a run as it was after its first epoch."""
    folder = shutil.copytree(finished, parent / finished.name)
    (folder / "summary.json").unlink()
    shutil.copy(folder / "epoch_1.ckpt", folder / "last.ckpt")
    return folder


def test_resuming_with_other_kernels_is_refused(onednn_run, run, tmp_path, capsys):
    folder = back_to_first_epoch(onednn_run, tmp_path)
    own = ("--log_dir", str(tmp_path), "--resume", "--cpu_kernels", "stock")
    capsys.readouterr()
    assert run.code(*ONEDNN, *own) == 2
    message = f"--cpu_kernels is stock, but {folder} was started with onednn"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_resumed_run_is_equal(onednn_run, run, tmp_path):
    folder = back_to_first_epoch(onednn_run, tmp_path)
    assert run.code(*ONEDNN, "--log_dir", str(tmp_path), "--resume") == 0
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
