"""Checkpoints: everything comes back, damage is noticed."""

import errno
import os

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from small_network import SmallNetwork

from sharpdro.errors import RunError
from sharpdro.methods.create import create_train_step
from sharpdro.run_folder import checkpoint
from sharpdro.training.optimizer import create_sgd


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


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o002, 0o664)])
def test_checkpoints_are_as_private_as_other_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "last.ckpt", SmallNetwork(), 1, {})
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "last.ckpt").stat().st_mode & 0o777 == mode
    assert checkpoint.load(tmp_path / "last.ckpt").epoch == 1


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


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"dataset": "mine"}, "has the dataset 'mine', which is not registered here: use the copy"),
        ({"model": "my_vit"}, "register the network in models/__init__.py"),
        ({"dataset": "../x"}, "is damaged or was not written by this program"),
        ({"method": "mine", "corruption": "rain", "dataset": "cifar10"}, None),
    ],
)
def test_what_is_not_registered_here_is_not_damaged(tmp_path, settings, text):
    """A dataset and network are needed; a method and corruption may be another copy's."""
    path = tmp_path / "x.ckpt"
    checkpoint.save(path, SmallNetwork(), 1, settings)
    if text is None:
        assert checkpoint.load(path).settings == settings
        return
    with pytest.raises(RunError) as refused:
        checkpoint.load(path)
    assert f"checkpoint {path} " in str(refused.value) and text in str(refused.value)
    assert ("damaged" in text) == ("damaged" in str(refused.value))


def test_another_model_is_refused_untouched(saved):
    step = make_step(channels=5)
    before = values(step)
    with pytest.raises(RunError, match=r"of another model: conv.weight has shape \(4, 3, 3, 3\)"):
        checkpoint.restore(step, checkpoint.load(saved[0]), saved[0])
    assert all(np.array_equal(before[name], value) for name, value in values(step).items())


def run_folder(parent, contents):
    """A run's directory with tables, and checkpoints of these contents."""
    folder = parent / "run"
    folder.mkdir()
    for table in ("train.csv", "val.csv", "test.csv"):
        (folder / table).write_text("epoch,step\n")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_the_one_before_takes_the_place_of_a_damaged_one(saved, tmp_path):
    good, said = saved[0].read_bytes(), []
    contents = {"last.ckpt": _flip(good, 300), "previous.ckpt": good}
    folder = run_folder(tmp_path, contents)
    stored, path = checkpoint.load_last(folder, said.append)
    assert stored.epoch == 7 and path == folder / "previous.ckpt"
    (text,) = said
    assert "last.ckpt is damaged" in text and f"going on from the one before, {path}" in text
    assert {name: (folder / name).read_bytes() for name in contents} == contents


def test_where_both_are_damaged_the_run_cannot_go_on(saved, tmp_path):
    good = saved[0].read_bytes()
    folder = run_folder(tmp_path, {"last.ckpt": b"", "previous.ckpt": good[:300]})
    with pytest.raises(RunError, match=r"last.ckpt is empty, and .*previous.ckpt is damaged"):
        checkpoint.load_last(folder)


def test_one_that_cannot_be_written_leaves_what_was_there(saved, tmp_path, monkeypatch):
    """As on a full disk, of which the operating system names no file."""
    path = tmp_path / "last.ckpt"
    path.write_bytes(saved[0].read_bytes())

    def fail(*_, **__):
        (tmp_path / ".last.partial.tmp").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ms, "save_checkpoint", fail)
    with pytest.raises(OSError, match=r"last.ckpt cannot be written: No space left on device"):
        checkpoint.save(path, make_step(), 8, {}, previous=tmp_path / "previous.ckpt")
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert path.read_bytes() == saved[0].read_bytes()
