"""Reading CIFAR's pickles: right, and without executing them."""

import importlib.util
import os
import pickle

import fake_cifar
import numpy as np
import pytest
from mutations import Bomb
from reference import shared_file

from corruptions.errors import DataError
from dataset.prepare_dataset import read_clean
from dataset.readers.cifar import read_batch
from dataset.specs import CIFAR10, CIFAR100


def test_pixels_land_where_they_belong(tmp_path):
    data = np.zeros((2, 3072), np.uint8)
    data[0, 0] = 11  # red, row 0, column 0
    data[0, 1024 + 33] = 22  # green, row 1, column 1
    data[1, 2 * 1024 + 31] = 33  # blue, row 0, column 31
    fake_cifar.write_batch(tmp_path / "b", data, [3, 9])
    images, labels = read_batch(tmp_path / "b", 10)
    assert images.shape == (2, 32, 32, 3) and images.dtype == np.uint8
    assert images[0, 0, 0, 0] == 11 and images[0, 1, 1, 1] == 22 and images[1, 0, 31, 2] == 33
    assert images.sum() == 66
    assert labels.tolist() == [3, 9] and labels.dtype == np.int32


def test_whole_folder(tmp_path):
    fake_cifar.write_cifar10(tmp_path, per_class=2)
    splits = read_clean(CIFAR10, tmp_path)
    assert splits["train"][0].shape == (100, 32, 32, 3)
    assert np.bincount(splits["test"][1]).tolist() == [2] * 10


def test_cifar100_has_fine_labels(tmp_path):
    """The archive's two files hold 100 fine and 20 coarse labels."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 30), ("test", 7)):
        data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {
            b"filenames": [b"a"] * count,
            b"batch_label": b"x",
            b"fine_labels": [99 - i for i in range(count)],
            b"coarse_labels": [i % 20 for i in range(count)],
            b"data": data,
        }
        path = tmp_path / CIFAR100.clean_folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=4))
    splits = read_clean(CIFAR100, tmp_path)
    assert splits["train"][1].tolist() == list(range(99, 69, -1))
    images, labels = splits["test"]
    assert labels.tolist() == list(range(99, 92, -1)) and images.shape == (7, 32, 32, 3)
    assert np.array_equal(images[2, 5, 6], data[2, [0 + 166, 1024 + 166, 2048 + 166]])


def test_cifar100_sample_as_its_archive_is_written(tmp_path):
    """Real photographs, laid out by the unpacking tool beside the project."""
    box = np.load(shared_file("data/cifar100_sample.npz"))
    unpacking_tool().cifar100(tmp_path)
    for split, (images, labels) in read_clean(CIFAR100, tmp_path).items():
        assert np.array_equal(images, box[f"{split}_image"])
        assert np.array_equal(labels, box[f"{split}_fine_label"])


@pytest.mark.parametrize(
    "bomb",
    [
        lambda flag: Bomb(os.system, f"touch {flag}"),
        lambda flag: Bomb(eval, f"open({str(flag)!r}, 'w')"),
        lambda flag: Bomb(open, str(flag), "w"),
    ],
)
def test_code_in_a_pickle_is_not_run(tmp_path, bomb):
    flag = tmp_path / "ran"
    content = {b"data": bomb(flag), b"labels": [0]}
    (tmp_path / "b").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match="asks for .* which is not data"):
        read_batch(tmp_path / "b", 10)
    assert not flag.exists()


def _pickled(**content):
    return pickle.dumps({key.encode(): value for key, value in content.items()}, protocol=4)


GOOD = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a file of the CIFAR"),
        (b"hello world", "not a file of the CIFAR"),
        (_pickled(data=GOOD, labels=[0, 1])[:-500], "not a file of the CIFAR"),
        (pickle.dumps([1, 2]), "not a file of the CIFAR"),
        (_pickled(labels=[0, 1]), "not a file of the CIFAR"),
        (_pickled(data=GOOD.astype(float), labels=[0, 1]), "not uint8"),
        (_pickled(data=[1, 2], labels=[0, 1]), "not a file of the CIFAR"),
        (_pickled(data=GOOD[:, :5], labels=[0, 1]), "does not fit"),
        (_pickled(data=GOOD, labels=[0]), "does not fit"),
        (_pickled(data=GOOD, labels=["a", "b"]), "no integer labels"),
        (_pickled(data=GOOD[:0], labels=[]), "holds no images"),
        (_pickled(data=GOOD, labels=[0, 10]), r"labels 0 … 10, expected 0 … 9"),
        (_pickled(data=GOOD, labels=[-1, 1]), r"labels -1 … 1"),
    ],
)
def test_broken_files_are_named(tmp_path, content, text):
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=text) as caught:
        read_batch(tmp_path / "data_batch_3", 10)
    assert "data_batch_3" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    fake_cifar.write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data_batch_4 is missing"):
        read_clean(CIFAR10, tmp_path)


def unpacking_tool():
    path = shared_file("tools/unpack_data.py")
    spec = importlib.util.spec_from_file_location("unpack_data", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_python_2_pickles_of_the_official_archive(tmp_path):
    """The opcodes of the real files, as the unpacking tool beside the project writes them."""
    tool = unpacking_tool()
    images = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    writer = tool.Python2Pickle()
    writer.text(b"batch_label", b"training batch 1 of 5")
    writer.ints(b"labels", np.arange(300) % 10)
    writer.array(b"data", tool.rows(images))
    writer.texts(b"filenames", ["a.png"] * 300)
    writer.save(tmp_path / "data_batch_1")
    found, labels = read_batch(tmp_path / "data_batch_1", 10)
    assert np.array_equal(found, images)
    assert np.array_equal(labels, np.arange(300) % 10)
