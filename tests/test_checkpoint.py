"""Checkpoints: everything comes back, damage is noticed."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from networks import SmallNetwork

from sharpdro import checkpoint
from sharpdro.errors import RunError
from sharpdro.optimizer import create_sgd
from sharpdro.train_step import create_train_step


def make_step(channels=4):
    network = SmallNetwork(channels)
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.01)
    return create_train_step("sharpdro", network, optimizer, 3)


def values(cell):
    return {p.name: p.asnumpy().copy() for p in cell.get_parameters()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    step = make_step()
    images = np.random.default_rng(0).normal(0, 1, (4, 3, 5, 5)).astype(np.float32)
    labels = Tensor(np.array([0, 1, 2, 1], np.int32))
    step(Tensor(images), labels, labels)
    checkpoint.save(path, step, 7, {"lr": 0.1, "desc": "ü"})
    return path, values(step)


def test_everything_comes_back(saved):
    path, before = saved
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    stored = checkpoint.load(path)
    assert stored.epoch == 7 and stored.settings == {"lr": 0.1, "desc": "ü"}
    step = make_step()
    checkpoint.restore(step, stored, path)
    after = values(step)
    assert after.keys() == before.keys()
    assert {"group_weights", "accum.conv.weight", "stat.conv.weight"} < after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def test_mindspore_alone_can_load_the_network(saved):
    network = SmallNetwork()
    missing, _ = ms.load_param_into_net(network, ms.load_checkpoint(str(saved[0])))
    assert missing == []
    np.testing.assert_array_equal(network.conv.weight.asnumpy(), saved[1]["conv.weight"])


def _flip(content, place):
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"hello world",
        lambda content: _flip(content, len(content) // 3),
        lambda content: _flip(content, 200),
    ],
)
def test_damage_is_noticed(saved, tmp_path, damage):
    path = tmp_path / "x.ckpt"
    path.write_bytes(damage(saved[0].read_bytes()))
    with pytest.raises(RunError, match="x.ckpt is damaged or was not written") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [("x.ckpt", b"", "x.ckpt is empty"), ("x.json", b"{}", "x.json is no .ckpt file")],
)
def test_files_that_are_no_checkpoints_at_all(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=text):
        checkpoint.load(tmp_path / name)


def test_checkpoint_of_something_else(saved, tmp_path):
    path = tmp_path / "other.ckpt"
    ms.save_checkpoint(SmallNetwork(), str(path))
    with pytest.raises(RunError, match="damaged or was not written by this program"):
        checkpoint.load(path)
    with pytest.raises(RunError, match="does not exist"):
        checkpoint.load(tmp_path / "nothing.ckpt")


def test_another_model_is_refused_untouched(saved):
    step = make_step(channels=5)
    before = values(step)
    with pytest.raises(RunError, match=r"of another model: conv.weight has shape \(4, 3, 3, 3\)"):
        checkpoint.restore(step, checkpoint.load(saved[0]), saved[0])
    assert all(np.array_equal(before[name], value) for name, value in values(step).items())
