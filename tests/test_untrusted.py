"""Files that come from elsewhere: refused in one line, nothing executed, nothing written.

Every reader gets files that were damaged, see damaging.py (lists and what else belongs to
ImageNet-30 in test_filelists.py and test_imagenet30.py). What a pickle may do is in test_cifar.py,
what an archive may hold in test_download.py, photographs in test_imagenet30.py.
"""

import json
import os
import pickle

import fake_cifar
import numpy as np
import pytest
from damaging import for_damaged
from networks import SmallNetwork

from corruptions import manifest
from corruptions.arrays import open_npy
from corruptions.command_line import readable
from corruptions.errors import DataError
from corruptions.frost_photographs import PUBLISHED, read_photographs
from dataset.cifar import read_batch
from dataset.specs import DATASETS
from sharpdro import checkpoint
from sharpdro.errors import RunError
from sharpdro.flatness.record import RECORD, Record
from sharpdro.measurements import read_measurements
from sharpdro.networks import create_network, load_trained
from sharpdro.pretrained import load_pretrained
from sharpdro.report.runs import read_run
from sharpdro.run_log import SUMMARY, RunLog, Table, epochs_of, until_step
from sharpdro.summary import read_evaluations

REFUSED = (DataError, RunError, OSError, ValueError)
SETTINGS = {
    **{"dataset": "cifar10", "model": "wideresnet", "depth": 10, "widen_factor": 1, "seed": 0},
    **{"method": "sharpdro", "corruption": "fog", "num_severity": 1, "lr": 0.1},
}


def evaluations(*before):
    lines = ["epoch,severity,loss,accuracy,count"]
    for epoch in (1, 2):
        lines += [f"{epoch},{s},0.5,0.25,40" for s in ("0", "1", "mean", "worst")]
    head = ",".join(before)
    return "".join(f"{head}{line}\n" for line in lines).encode()


def summary():
    rows = {s: {"loss": 0.5, "accuracy": 0.25, "count": 40} for s in ("0", "1", "mean", "worst")}
    one = {"epoch": 2, "validation": rows, "test": rows}
    content = {"finished": True, "total_epoch": 2, "best_metric": "worst"}
    return json.dumps({**content, "best": one, "last": one}).encode()


def npy(folder):
    np.save(folder / "x.npy", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    return (folder / "x.npy").read_bytes()


def cifar(folder):
    data, labels = fake_cifar.make_batch(np.random.default_rng(0), 1)
    content = {b"data": data[:2], b"labels": labels[:2], b"filenames": [b"a", b"b"]}
    return pickle.dumps(content, protocol=4)


def trained(folder):
    network, _ = create_network("wideresnet", DATASETS["cifar10"], 10, 1)
    checkpoint.save(folder / "x.ckpt", network, 3, SETTINGS)
    return (folder / "x.ckpt").read_bytes()


def read_table(path):
    table = Table(path, ["epoch", "step", "loss"], until_step(1, 2))
    return epochs_of(table.path)


def read_last(path):
    epochs_of(path)
    return read_evaluations(path)


def pretrained(path):
    return load_pretrained(create_network("wideresnet", DATASETS["cifar10"], 10, 1)[0], path)


MANIFEST = {"arrays": {"train/1/fog.npy": {"seed": 0, "shape": [3, 4, 5], "crc32": "00"}}}
MEASURED = evaluations("corruption,images_crc32,")
FOUND = {"0": {"slope": {"loss": 0.5}, "surface": [[0.1, 0.2], [0.3]]}}
RECORDED = {"settings": {"grid": 3}, "checkpoints": {"a": {"crc32": 1}}, "results": {"a": FOUND}}
LOGGED = b"epoch,step,loss\n1,1,0.5\n1,2,0.25\n2,1,\n2,2,0.5\n"
LOGGED_SETTINGS = json.dumps({"settings": SETTINGS, "environment": {}}).encode()
# By name of the file: a whole one, and what reads it.
READERS = {
    "data_batch_1": (cifar, lambda path: read_batch(path, 10)),
    "x.npy": (npy, open_npy),
    "manifest.json": (
        lambda folder: json.dumps(MANIFEST).encode(),
        lambda path: manifest.read(path.parent),
    ),
    "x.ckpt": (trained, checkpoint.load),
    "y.ckpt": (trained, load_trained),
    "z.ckpt": (trained, pretrained),
    "settings.json": (lambda folder: LOGGED_SETTINGS, lambda p: RunLog(p.parent).read_settings()),
    "summary.json": (lambda folder: summary(), lambda p: RunLog(p.parent).is_finished()),
    "train.csv": (lambda folder: LOGGED, read_table),
    "val.csv": (lambda folder: evaluations(), read_last),
    "test.csv": (lambda folder: MEASURED, read_measurements),
    RECORD: (lambda folder: json.dumps(RECORDED).encode(), lambda path: Record(path.parent)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What every reader is to get, undamaged."""
    folder = tmp_path_factory.mktemp("whole")
    return {name: make(folder) for name, (make, _) in READERS.items()}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, whole, name):
    """In a line that is not long and, of what is one file, names it."""
    path, read = tmp_path / name, READERS[name][1]
    path.write_bytes(whole[name])
    read(path)

    def check(content):
        path.write_bytes(content)
        try:
            read(path)
        except REFUSED as error:
            text = readable(error)  # as all programs do
            assert "\n" not in text and len(text) < 1000 and name in text, text
        assert sorted(p.name for p in tmp_path.iterdir()) == [name]

    for_damaged(whole[name], check)


@pytest.mark.parametrize("name", [SUMMARY, "settings.json", "val.csv", "train.csv"])
def test_reports_read_damaged_runs_or_leave_them_out(tmp_path, whole, name):
    def check(content):
        for other in (SUMMARY, "settings.json", "val.csv", "train.csv"):
            (tmp_path / other).write_bytes(whole[other])
        (tmp_path / name).write_bytes(content)
        try:
            read_run(tmp_path)
        except (ValueError, OSError) as error:
            assert str(tmp_path) in str(error)

    for_damaged(whole[name], check)


@pytest.mark.parametrize(
    "content",
    [
        {"descr": "|u1", "fortran_order": False, "shape": (10**15,)},
        {"descr": "|u1", "fortran_order": False, "shape": (2**32, 2**32)},
        {"descr": "|u1", "fortran_order": False, "shape": (-1, 3)},
        {"descr": "|O", "fortran_order": False, "shape": (1,)},
    ],
)
def test_arrays_that_declare_more_than_they_hold(tmp_path, content):
    text = str(content).encode().ljust(117) + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    (tmp_path / "x.npy").write_bytes(head + text + b"abc")
    with pytest.raises(DataError, match=r"x.npy is not a whole .npy array"):
        open_npy(tmp_path / "x.npy")


def test_pickled_objects_in_an_array_are_not_made(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.save(tmp_path / "x.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x.npy is not a whole .npy array"):
        open_npy(tmp_path / "x.npy")
    assert not (tmp_path / "ran").exists()


def test_checkpoint_that_declares_more_than_it_holds(tmp_path):
    from mindspore.train.checkpoint_pb2 import Checkpoint

    content = Checkpoint()
    value = content.value.add()
    value.tag = "conv1.weight"
    value.tensor.dims.extend([10**9, 10**9])
    value.tensor.tensor_type = "Float32"
    value.tensor.tensor_content = b"abcd"
    path = tmp_path / "x.ckpt"
    path.write_bytes(content.SerializeToString())
    for read in (checkpoint.load, pretrained):
        with pytest.raises(RunError, match="x.ckpt"):
            read(path)


@pytest.mark.parametrize(("name", "value"), [("depth", 6 * 10**6 + 4), ("widen_factor", 10**6)])
def test_checkpoint_whose_settings_name_a_gigantic_network(tmp_path, name, value):
    network, _ = create_network("wideresnet", DATASETS["cifar10"], 10, 1)
    checkpoint.save(tmp_path / "x.ckpt", network, 3, {**SETTINGS, name: value})
    with pytest.raises(RunError, match="x.ckpt is of .* are not those of"):
        load_trained(tmp_path / "x.ckpt")


@pytest.mark.parametrize("settings", [[], None, 3, {"dataset": []}, {"dataset": "cifar10"}])
def test_checkpoint_with_other_settings(tmp_path, settings):
    checkpoint.save(tmp_path / "x.ckpt", SmallNetwork(), 1, settings)
    with pytest.raises(RunError, match="x.ckpt is "):
        load_trained(tmp_path / "x.ckpt")


def test_frost_that_is_a_program(tmp_path):
    """Pillow hands PostScript to another program, whatever the file is called."""
    for name in PUBLISHED:
        (tmp_path / name).write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\n"
        )
    with pytest.raises(OSError, match=f"{PUBLISHED[0]} cannot be read as an image"):
        read_photographs(tmp_path)
