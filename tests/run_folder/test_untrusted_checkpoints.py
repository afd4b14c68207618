"""Checkpoints that mean harm, or are of another model: refused in one line, nothing written."""

import importlib.util
import json
import os
import pickle
import zlib

import numpy as np
import pytest
from hostile_files import Bomb
from mindspore.train.checkpoint_pb2 import Checkpoint as Message
from running import ROOT

import main
from models import create_model
from sharpdro.errors import RunError
from sharpdro.networks.build import load_trained
from sharpdro.networks.pretrained import load_pretrained
from sharpdro.run_folder import checkpoint

SPEC = importlib.util.spec_from_file_location("flatness", ROOT / "scripts" / "flatness.py")
flatness = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(flatness)

SETTINGS = {
    **{"dataset": "synthetic", "model": "wideresnet", "depth": 10, "widen_factor": 1},
    **{"desc": "run", "corruption": "fog", "num_severity": 1, "method": "erm"},
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    path = tmp_path_factory.mktemp("valid") / "best.ckpt"
    checkpoint.save(path, create_model("wideresnet", 10, depth=10, widen_factor=1), 3, SETTINGS)
    assert load_trained(path).epoch == 3
    return path.read_bytes()


def changed(content, change):
    """A checkpoint's fields changed by a function, under a checksum that is right."""
    message = Message()
    message.ParseFromString(content[:-17])
    change({element.tag: element.tensor for element in message.value})
    body = message.SerializeToString()
    return body + b"crc_num" + zlib.crc32(body).to_bytes(10, "big")


def _shape(*dims):
    def change(tensors):
        tensors["stem.weight"].dims[:] = dims

    return change


def _empty(*dims):
    def change(tensors):
        tensors["stem.weight"].dims[:] = dims
        tensors["stem.weight"].tensor_content = b""

    return change


def _type(name):
    def change(tensors):
        tensors["stem.weight"].tensor_type = name

    return change


def _settings(**settings):
    def change(tensors):
        text = json.dumps({**SETTINGS, **settings})
        tensors["settings_json"].tensor_content = text.encode("utf-32-le")

    return change


def _text(content):
    def change(tensors):
        tensors["settings_json"].tensor_content = content

    return change


_OWN = {"dataset": "folder", "side": 32, "class_names": ["a", "b"]}
DAMAGE = {
    # MindSpore itself would make 64 GB of them, filled with whatever lies in memory.
    "gigantic": (_shape(2**34), "stem.weight has 1728 bytes, which is not what its shape says"),
    "gigabyte": (_shape(2**28), "stem.weight has 1728 bytes, which is not what its shape says"),
    "overflow": (_shape(2**62, 4), "stem.weight has 1728 bytes"),
    "negative": (_shape(-16, -3, 3, 3), "stem.weight has 1728 bytes"),
    "of no rows": (_empty(2**40, 0), "stem.weight has 0 bytes, which is not what its shape says"),
    "nothing": (_empty(2**62, 4, 0), "stem.weight has 0 bytes"),
    "short": (_shape(16), "stem.weight has 1728 bytes"),
    "unknown type": (_type("Quux"), "stem.weight holds 'Quux', which is unknown"),
    "empty": (_text(b""), "settings_json is an empty text"),
    "text": (_type("str"), ""),
    "characters": (_text(b"\xff" * 16), "codec can't decode"),
    "no settings": (_text("[3]".encode("utf-32-le")), "its settings are no table"),
    "nested": (_text(("[" * 10**5).encode("utf-32-le")), "recursion"),
    "folder": (_settings(desc="../../outside"), "desc is '../../outside'"),
    "half a character": (_settings(desc="a\ud800"), r"desc is 'a\ud800'"),
    "escapes": (_settings(desc="a\x1b[2J\r"), r"desc is 'a\x1b[2J\r'"),
    "method": (_settings(method="../../outside"), "method is '../../outside'"),
    "dataset": (_settings(dataset=["x"]), "dataset is ['x']"),
    "corruption": (_settings(corruption="../x"), "corruption is '../x'"),
    "severities": (_settings(num_severity=10**9), "num_severity is 1000000000"),
    "number": (_settings(num_test=float("nan")), "num_test is nan"),
    "no side": (_settings(dataset="folder", class_names=["a", "b"]), "side is None"),
    "large side": (_settings(dataset="arrays", side=10**9), "side is 1000000000"),
    "no classes": (_settings(dataset="folder", side=32), "class_names is None"),
    "classes": (_settings(**_OWN | {"class_names": ["a", ["b"]]}), "class_names is ['a', ['b']]"),
    "one class twice": (
        _settings(**_OWN | {"class_names": ["a"] * 2}),
        "class_names is ['a', 'a']",
    ),
    "fingerprint": (_settings(**_OWN, fingerprint="x" * 17), "fingerprint is 'xxxx"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_on_purpose(valid, tmp_path, capfd, name):
    change, reason = DAMAGE[name]
    path = tmp_path / "in" / "x.ckpt"
    path.parent.mkdir()
    path.write_bytes(changed(valid, change))
    flags = ["--eval_only", "--checkpoint", str(path), "--log_dir", str(tmp_path / "in" / "logs")]
    assert main.main([*flags, "--data_dir", str(tmp_path / "in" / "data")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and f"checkpoint {path} is damaged or was not" in error, error
    assert reason in error
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "x.ckpt"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        # Networks that would take hours or terabytes to make.
        ({"depth": 6 * 10**8 + 4}, "its parameters are not those of depth 600000004"),
        ({"widen_factor": 10**6}, "not those of depth 10, width 1000000"),
        ({"depth": 16}, "is of another model: blocks.1."),
        ({"widen_factor": 2}, "expected (32,"),
        ({"dataset": "cifar100"}, "classifier.weight has shape (10, 64), expected (100, 64)"),
        ({"model": "resnet18"}, "is of another model: conv1.weight is missing"),
        ({"model": "resnet18", "dataset": "imagenet30"}, "is of another model: "),
    ],
)
def test_other_models(valid, tmp_path, settings, reason):
    path = tmp_path / "x.ckpt"
    path.write_bytes(changed(valid, _settings(**settings)))
    with pytest.raises(RunError, match=r"x\.ckpt is of a") as refused:
        load_trained(path)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_another_type_of_number_is_another_model(valid, tmp_path):
    def change(tensors):
        tensors["stem.weight"].tensor_type = "Int32"

    (tmp_path / "x.ckpt").write_bytes(changed(valid, change))
    with pytest.raises(RunError, match="of another model: stem.weight holds Int32"):
        load_trained(tmp_path / "x.ckpt")


def _numbers(name, value):
    def change(tensors):
        array = np.frombuffer(tensors[name].tensor_content, np.float32).copy()
        array[-1] = value
        tensors[name].tensor_content = array.tobytes()

    return change


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("stem.weight", np.nan, "stem.weight holds values that are not finite"),
        ("classifier.bias", -np.inf, "classifier.bias holds values that are not finite"),
        ("norm.moving_variance", -1e-3, "norm.moving_variance holds negative variances"),
    ],
)
def test_numbers_of_no_network_are_not_measured(valid, tmp_path, capfd, name, value, text):
    """Where the accuracy would be that of always the same answer."""
    path = tmp_path / "x.ckpt"
    path.write_bytes(changed(valid, _numbers(name, value)))
    assert main.main(["--eval_only", "--checkpoint", str(path), "--log_dir", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and f"checkpoint {path}: {text}" in error, error
    assert list(tmp_path.iterdir()) == [path]
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    with pytest.raises(RunError, match=f"--pretrained .*x.ckpt: {text}"):
        load_pretrained(network, path)


@pytest.mark.parametrize("program", ["main", "flatness"])
def test_loss_that_is_not_finite_is_no_result(valid, tmp_path, capfd, program):
    """Of weights that are finite, each for itself."""
    path = tmp_path / "run" / "x.ckpt"
    path.parent.mkdir()
    path.write_bytes(changed(valid, _numbers("classifier.bias", -3e38)))
    content = changed(path.read_bytes(), _numbers("classifier.weight", 3e38))
    path.write_bytes(changed(content, _numbers("norm.beta", 3e38)))
    data = ["--data_dir", str(tmp_path / "data")]
    if program == "main":
        flags = ["--eval_only", "--checkpoint", str(path), "--log_dir", str(tmp_path / "out")]
        code = main.main([*flags, *data, "--num_test", "10"])
    else:
        flags = [str(path), *data, "-o", str(tmp_path / "out"), "--num_images", "10"]
        code = flatness.main([*flags, "--no-eigenvalue", "--no-surface"])
    assert code == 2
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith(f"{program}.py: error: the loss of ")
    assert "at severity 0 is not finite" in error
    for table in (tmp_path / "out").rglob("*.csv"):
        assert len(table.read_text().splitlines()) == 1, table


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    flag = tmp_path / "ran"
    content = pickle.dumps(Bomb(os.system, f"touch {flag}"))
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    for name in ("x.ckpt", "x.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError):
            load_pretrained(network, tmp_path / name)
    with pytest.raises(RunError):
        checkpoint.load(tmp_path / "x.ckpt")
    assert not flag.exists()


def test_pretrained_weights_of_gigantic_shapes(valid, tmp_path):
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    (tmp_path / "x.ckpt").write_bytes(changed(valid, _shape(2**28)))
    with pytest.raises(RunError, match="has 1728 bytes, which is not what its shape says"):
        load_pretrained(network, tmp_path / "x.ckpt")
    head = {"stem.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(head).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(99)
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"x.safetensors cannot be read: "):
        load_pretrained(network, tmp_path / "x.safetensors")


def test_numbers_beyond_float32_are_not_finite(tmp_path):
    from safetensors.numpy import save_file

    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    arrays = {
        (p.name.replace("gamma", "weight").replace("beta", "bias")): p.asnumpy().astype(float)
        for p in network.get_parameters()
    }
    arrays = {
        k.replace("moving_mean", "running_mean").replace("moving_variance", "running_var"): v
        for k, v in arrays.items()
    }
    arrays["stem.weight"] = np.full((16, 3, 3, 3), 1e300)
    save_file(arrays, tmp_path / "x.safetensors")
    with pytest.raises(RunError, match="stem.weight holds values that are not finite"):
        load_pretrained(network, tmp_path / "x.safetensors")
