"""The environment that MindSpore finds, and devices that are not there."""

import os
import subprocess
import sys

import pytest
from running import ROOT

from sharpdro import device
from sharpdro.errors import RunError


@pytest.fixture
def environment(monkeypatch):
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch


@pytest.mark.parametrize(
    ("version", "expected"), [("2.8.0", None), ("2.9.0", "AVX2"), ("2.10.0", "AVX2")]
)
def test_slow_convolutions_are_avoided_where_they_are_slow(environment, version, expected):
    environment.setattr(device.importlib.metadata, "version", lambda name: version)
    device.prepare_kernels()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == expected


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_the_users_own_setting_stays(environment, name):
    environment.setenv(name, "AVX512_CORE")
    device.prepare_kernels()
    found = {name: os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")}
    expected = {"ONEDNN_MAX_CPU_ISA": None, "DNNL_MAX_CPU_ISA": None}
    assert found == {**expected, name: "AVX512_CORE"}


def test_missing_device_is_named(monkeypatch):
    monkeypatch.setattr("sharpdro.device.is_available", lambda name: name == "CPU")
    with pytest.raises(RunError, match="--device_target GPU: MindSpore finds no GPU") as caught:
        device.select_device("GPU")
    assert "\n" not in str(caught.value)


def test_auto_prefers_an_accelerator(monkeypatch):
    chosen = []
    monkeypatch.setattr("sharpdro.device.is_available", lambda name: name != "Ascend")
    monkeypatch.setattr("mindspore.set_device", chosen.append)
    assert device.select_device("auto") == "GPU" and chosen == ["GPU"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("Ascend", [("ascend.conv_allow_hf32", False), ("ascend.matmul_allow_hf32", False)]),
        ("GPU", [("gpu.conv_allow_tf32", False), ("gpu.matmul_allow_tf32", False)]),
        ("CPU", []),
    ],
)
def test_float32_is_asked_for_where_it_is_not_the_default(monkeypatch, target, expected):
    """By MindSpore's own functions of these names; on a CPU none of them is called."""
    called = []
    kinds = ("conv", "matmul")
    ascend = [f"ascend.{kind}_allow_hf32" for kind in kinds]
    for name in (*ascend, *(f"gpu.{kind}_allow_tf32" for kind in kinds)):
        place = f"mindspore.device_context.{name.replace('.', '.op_precision.')}"
        monkeypatch.setattr(place, lambda value, name=name: called.append((name, value)))
    device.compute_in_float32(target)
    assert called == expected


STALE = """
import sys
import mindspore as ms
from mindspore import Tensor, nn
from sharpdro.device import select_device

class Times(nn.Cell):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def construct(self, x):
        return x * self.factor

select_device("CPU")
print(Times(float(sys.argv[1]))(Tensor(1.0)).asnumpy())
"""


@pytest.mark.slow
def test_compiled_graphs_of_other_settings_are_never_taken(tmp_path):
    """As they are by MindSpore's cache: the second process would print 2.0, too."""
    (tmp_path / "times.py").write_text(STALE)
    wanted = {"MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(tmp_path / "cache")}
    wanted |= {"PYTHONPATH": str(ROOT)}
    for factor in ("2.0", "3.0"):
        command = [sys.executable, str(tmp_path / "times.py"), factor]
        done = subprocess.run(command, env=os.environ | wanted, capture_output=True, text=True)
        assert done.stdout == f"{factor}\n"
